/** How an op is described: typed attributes, what the caller chooses about the output, and inference with checks. */
import type { DType, FloatType } from './dtype.js';
import { LutraError } from './errors.js';
import { formatType, type Quant, type TensorType } from './tensor.js';

/** A small constant tensor given to a QNN op as a parameter. */
export interface U32Tensor {
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

/** The same of signed values. A plan cannot hold one. */
export interface I32Tensor {
  readonly dims: readonly number[];
  readonly values: readonly number[];
}

/** Attribute types: f64 only for CPU steps; f32, u32, i32, bool, u32s and i32s are parameters of QNN ops (u32 and bool also of steps). */
export interface AttrTypes {
  f64: number;
  f32: number;
  u32: number;
  i32: number;
  bool: boolean;
  u32s: U32Tensor;
  i32s: I32Tensor;
}
export type AttrType = keyof AttrTypes;
export type AttrValue = AttrTypes[AttrType];
/** Names in the order in which they are encoded. */
export type AttrSchema = Readonly<Record<string, AttrType>>;
export type Attrs<S extends AttrSchema> = { readonly [K in keyof S]: AttrTypes[S[K]] };

/** What the caller says about the output because inputs do not determine it. */
export interface Targets {
  inferred: null;
  float: { readonly dtype: FloatType };
  encoding: { readonly dtype: DType; readonly quant: Quant };
  shape: { readonly dims: readonly number[] };
}
export type TargetKind = keyof Targets;

/** What inference knows beside the inputs: rows of a chunk. */
export interface Env {
  readonly chunk: number;
}

export interface OpDef<S extends AttrSchema, T extends TargetKind> {
  readonly attrs: S;
  readonly target: T;
  /** Types of the outputs. Throws LutraError LUTRA_BAD_PLAN when the inputs, attributes or target do not fit together. */
  readonly infer: (inputs: readonly TensorType[], attrs: Attrs<S>, target: Targets[T], env: Env) => TensorType[];
}

/** Writes an op down with its attribute types inferred from `attrs`. */
export function defineOp<const S extends AttrSchema, const T extends TargetKind>(
  attrs: S,
  target: T,
  infer: OpDef<S, T>['infer'],
): OpDef<S, T> {
  return { attrs, target, infer };
}

export function badPlan(message: string): LutraError {
  return new LutraError(
    'LUTRA_BAD_PLAN',
    message,
    'The plan is inconsistent. Convert the model again with this version; if it stays, report a defect.',
  );
}

/** Throws LUTRA_BAD_PLAN unless `condition`. `message` is a function so that the happy path formats nothing. */
export function check(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw badPlan(message());
}

/** Input `i`, which must be there. */
export function arg(inputs: readonly TensorType[], i: number): TensorType {
  const t = inputs[i];
  if (t === undefined) throw badPlan(`input ${i} is missing`);
  return t;
}

export function arity(inputs: readonly TensorType[], min: number, max = min): void {
  check(
    inputs.length >= min && inputs.length <= max,
    () => `${inputs.length} inputs where ${min === max ? min : `${min} to ${max}`} are expected`,
  );
}

/** Dimension `i`, counted from the end when negative. */
export function dim(t: TensorType, i: number): number {
  const d = t.dims[i < 0 ? t.dims.length + i : i];
  if (d === undefined) throw badPlan(`${formatType(t)} has no dimension ${i}`);
  return d;
}

export function checkType(t: TensorType, what: string, allowed: readonly DType[], rank?: number): void {
  check(allowed.includes(t.dtype), () => `${what} is ${formatType(t)}; allowed: ${allowed.join(', ')}`);
  check(rank === undefined || t.dims.length === rank, () => `${what} is ${formatType(t)}; rank ${rank} is expected`);
}
