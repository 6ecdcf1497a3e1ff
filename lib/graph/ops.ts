/** Both op tables and what encoder, decoder and printer ask of them without knowing the op. */
import { CPU_OPS, type CpuOp } from './cpu-ops.js';
import { NPU_OPS, type NpuOp } from './npu-ops.js';
import { type AttrSchema, type AttrType, type AttrValue, badPlan, type Env, type TargetKind, type Targets } from './schema.js';
import type { TensorType } from './tensor.js';

export { CPU_OP_NAMES, CPU_OPS, type CpuAttrs, type CpuOp } from './cpu-ops.js';
export { NPU_OP_NAMES, NPU_OPS, type NpuAttrs, type NpuOp } from './npu-ops.js';

/** Attributes as the encoder and the decoder handle them: names and values in schema order. */
export type AnyAttrs = Readonly<Record<string, AttrValue>>;
export type TargetOf<K extends CpuOp | NpuOp> = K extends CpuOp
  ? Targets[(typeof CPU_OPS)[K]['target']]
  : K extends NpuOp
    ? Targets[(typeof NPU_OPS)[K]['target']]
    : never;

/** An op with its parameter types forgotten; safe because every use goes through {@link inferOp}, which checks attributes against the schema. */
interface ErasedOp {
  readonly attrs: AttrSchema;
  readonly target: TargetKind;
  readonly infer: (inputs: readonly TensorType[], attrs: never, target: never, env: Env) => TensorType[];
}

export function isCpuOp(name: string): name is CpuOp {
  return Object.hasOwn(CPU_OPS, name);
}

export function isNpuOp(name: string): name is NpuOp {
  return Object.hasOwn(NPU_OPS, name);
}

function definition(op: CpuOp | NpuOp): ErasedOp {
  return isCpuOp(op) ? CPU_OPS[op] : NPU_OPS[op];
}

/** Names and types of an op's attributes in encoded order. */
export function attrSchema(op: CpuOp | NpuOp): [name: string, type: AttrType][] {
  return Object.entries(definition(op).attrs);
}

export function targetKind(op: CpuOp | NpuOp): TargetKind {
  return definition(op).target;
}

function isValueOf(type: AttrType, value: AttrValue | undefined): boolean {
  switch (type) {
    case 'f64':
      return typeof value === 'number' && Number.isFinite(value);
    case 'f32':
      return typeof value === 'number' && Number.isFinite(value) && Math.fround(value) === value;
    case 'u32':
      return isU32(value);
    case 'i32':
      return isI32(value);
    case 'bool':
      return typeof value === 'boolean';
    case 'u32s':
      return isTensorOf(value, isU32);
    case 'i32s':
      return isTensorOf(value, isI32);
    default:
      return type satisfies never;
  }
}

function isU32(value: AttrValue | undefined): boolean {
  return typeof value === 'number' && value >>> 0 === value && !Object.is(value, -0);
}

function isI32(value: AttrValue | undefined): boolean {
  return typeof value === 'number' && (value | 0) === value && !Object.is(value, -0);
}

function isTensorOf(value: AttrValue | undefined, isElement: (value: number) => boolean): boolean {
  return (
    typeof value === 'object' &&
    value.dims.length <= 4 &&
    value.dims.every(isU32) &&
    value.values.every(isElement) &&
    value.dims.reduce((n, d) => n * d, 1) === value.values.length
  );
}

/** The target that an op with this output was given. */
export function targetFrom(kind: TargetKind, output: TensorType | undefined): Targets[TargetKind] {
  if (kind === 'inferred') return null;
  if (output === undefined) throw badPlan('an output is missing');
  switch (kind) {
    case 'float': {
      if (output.dtype !== 'f32' && output.dtype !== 'f16') throw badPlan(`output is ${output.dtype}, not a float`);
      return { dtype: output.dtype };
    }
    case 'encoding':
      return { dtype: output.dtype, quant: output.quant };
    case 'shape':
      return { dims: output.dims };
    default:
      return kind satisfies never;
  }
}

/** Checks attributes against the schema and infers. `names`: of the outputs, for the message. Throws LUTRA_BAD_PLAN. */
export function inferOp(
  op: CpuOp | NpuOp,
  inputs: readonly TensorType[],
  attrs: AnyAttrs,
  target: Targets[TargetKind],
  env: Env,
  names: readonly string[],
): TensorType[] {
  try {
    return inferChecked(op, inputs, attrs, target, env);
  } catch (error) {
    if (error instanceof Error) error.message = `${op} ${names.join(', ')}: ${error.message}`;
    throw error;
  }
}

function inferChecked(
  op: CpuOp | NpuOp,
  inputs: readonly TensorType[],
  attrs: AnyAttrs,
  target: Targets[TargetKind],
  env: Env,
): TensorType[] {
  const def = definition(op);
  const names = Object.keys(def.attrs);
  if (Object.keys(attrs).length !== names.length)
    throw badPlan(`${op} has attributes ${Object.keys(attrs).join(', ')}; expected: ${names.join(', ')}`);
  for (const [name, type] of Object.entries(def.attrs)) {
    if (!isValueOf(type, attrs[name])) throw badPlan(`${op}: attribute ${name} is not a ${type}`);
  }
  return def.infer(inputs, attrs as never, target as never, env);
}
