/** Where nodes of the NPU go: a plan under construction ({@link GraphBuilder}) or a graph on its own ({@link NpuGraphBuilder}). */
import { DTYPES, type DType, type FloatType } from './dtype.js';
import { toHalf } from './half.js';
import type { NpuAttrs, NpuOp, TargetOf } from './ops.js';
import { badPlan, check } from './schema.js';
import { elements, NO_QUANT, type Quant, sameDims, sameQuant, type TensorId, type TensorType } from './tensor.js';

/** Elements of a constant as they lie in memory; F16 as bits. */
export type ConstantArray = Uint8Array | Int8Array | Uint16Array | Int32Array | Uint32Array | Float32Array;

export interface Constant {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly quant: Quant;
  readonly data: ConstantArray;
}

export interface NodeSink {
  tensor(id: TensorId): TensorType;
  /** Adds a node; `names` are those of its outputs, the first also its own. Throws LUTRA_BAD_PLAN. */
  addNodes<K extends NpuOp>(
    op: K,
    inputs: readonly TensorId[],
    attrs: NpuAttrs<K>,
    target: TargetOf<K>,
    names: readonly string[],
  ): TensorId[];
  /** A tensor of fixed values. The same name with the same values gives the same id; with other values it is an error. */
  constant(name: string, value: Constant): TensorId;
}

/** Values as a constant of a float type. Throws LUTRA_BAD_PLAN when one is no finite number of that type. */
export function floatConstant(dtype: FloatType, dims: readonly number[], values: ArrayLike<number>): Constant {
  const data = dtype === 'f16' ? Uint16Array.from(values, toHalf) : Float32Array.from(values);
  const finite = data instanceof Uint16Array ? data.every((h) => (h & 0x7c00) !== 0x7c00) : data.every(Number.isFinite);
  check(finite, () => `a constant of [${dims.join(', ')}] has a value that ${dtype} cannot hold`);
  return checked({ dtype, dims, quant: NO_QUANT, data });
}

/** Indices or positions; QNN's INT32 or UINT32. */
export function indexConstant(dtype: 's32' | 'u32', dims: readonly number[], values: ArrayLike<number>): Constant {
  return checked({ dtype, dims, quant: NO_QUANT, data: dtype === 's32' ? Int32Array.from(values) : Uint32Array.from(values) });
}

function checked(constant: Constant): Constant {
  const { dims, data, dtype } = constant;
  check(
    elements(dims) === data.length && data.BYTES_PER_ELEMENT === DTYPES[dtype].bytes,
    () => `a constant of [${dims.join(', ')}] with ${data.length} values`,
  );
  return constant;
}

/** Constants of a graph by name. */
export class ConstantTable {
  private readonly byName = new Map<string, { id: TensorId; value: Constant }>();

  /** The id of a constant; `declare` makes it when the name is new. */
  add(name: string, value: Constant, declare: () => TensorId): TensorId {
    const known = this.byName.get(name);
    if (known === undefined) {
      const id = declare();
      this.byName.set(name, { id, value: checked(value) });
      return id;
    }
    const same =
      known.value.dtype === value.dtype &&
      sameDims(known.value.dims, value.dims) &&
      sameQuant(known.value.quant, value.quant) &&
      known.value.data.every((v, i) => v === value.data[i]);
    if (!same) throw badPlan(`two constants named ${name}`);
    return known.id;
  }

  /** In the order of their making. */
  entries(): { name: string; id: TensorId; value: Constant }[] {
    return [...this.byName].map(([name, { id, value }]) => ({ name, id, value }));
  }
}
