/** What the node forms of the families have in common. */
import { isQuantType } from '../dtype.js';
import { arg, arity, check, checkType, dim, type Targets, type U32Tensor } from '../schema.js';
import { formatType, sameDims, sameQuant, type TensorType } from '../tensor.js';

export const FLOATS = ['f32', 'f16'] as const;
export const QUANTS = ['u8', 's8', 'u16'] as const;
export const ACTIVATIONS = [...FLOATS, ...QUANTS] as const;
/** Indices and positions: S32 without an encoding is QNN's INT32. */
export const INDICES = ['u32', 's32'] as const;

/** Quantised tensors carry scale and offset, anything else carries nothing. */
export function activation(t: TensorType, what: string, allowed: readonly TensorType['dtype'][] = ACTIVATIONS, rank?: number): TensorType {
  checkType(t, what, allowed, rank);
  check(t.quant.kind === (isQuantType(t.dtype) ? 'scale' : 'none'), () => `${what} ${formatType(t)} has the wrong kind of encoding`);
  return t;
}

export function isU32s(t: U32Tensor, dims: readonly number[], values: readonly number[]): boolean {
  return sameDims(t.dims, dims) && sameDims(t.values, values);
}

/** A vector parameter: its values. */
export function vectorOf(t: U32Tensor, what: string, length?: number): readonly number[] {
  check(t.dims.length === 1 && (length === undefined || t.values.length === length), () => `${what} is a tensor of [${t.dims.join(', ')}]`);
  return t.values;
}

/** The one input of an op, with its type checked. */
export function single(inputs: readonly TensorType[], what: string, allowed?: readonly TensorType['dtype'][]): TensorType {
  arity(inputs, 1);
  return activation(arg(inputs, 0), what, allowed);
}

/** `shape` in the type that the caller asked for, which is that of `like` but for its encoding. */
export function encoded(like: TensorType, shape: readonly number[], { dtype, quant }: Targets['encoding'], what: string): TensorType {
  const y: TensorType = { dtype, rows: 'fixed', dims: shape, quant };
  activation(y, what, [like.dtype]);
  return y;
}

/** Data moves as it is: same type, same encoding. */
export function sameType(a: TensorType, b: TensorType, what: string): void {
  check(
    a.dtype === b.dtype && sameQuant(a.quant, b.quant),
    () => `${what}: ${formatType(a)} and ${formatType(b)} differ in type or encoding`,
  );
}

/** Shape of an elementwise result: dimensions of length 1 stretch. Both sides have one rank. */
export function broadcast(a: TensorType, b: TensorType): number[] {
  check(a.dims.length === b.dims.length, () => `${formatType(a)} against ${formatType(b)}`);
  return a.dims.map((d, i) => {
    const e = dim(b, i);
    check(d === e || d === 1 || e === 1, () => `${formatType(a)} against ${formatType(b)}`);
    return Math.max(d, e);
  });
}

export function checkAxis(axis: number, t: TensorType, what: string): void {
  check(Number.isInteger(axis) && axis >= 0 && axis < t.dims.length, () => `${what} of ${formatType(t)} on axis ${axis}`);
}
