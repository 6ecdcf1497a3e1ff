/** Norms and softmax over the last axis. */
import { isFloat } from '../dtype.js';
import { arg, arity, check, checkType, defineOp, dim, type U32Tensor } from '../schema.js';
import { formatType, type TensorType } from '../tensor.js';
import { activation, encoded, FLOATS, isU32s, single } from './checks.js';

/** x, gamma, beta (zeros: HTP releases before 2.49 want one), floats of one type. */
function norm(inputs: readonly TensorType[], a: { epsilon: number; axes: U32Tensor }): TensorType[] {
  arity(inputs, 3);
  const x = activation(arg(inputs, 0), 'input', FLOATS);
  for (const [i, what] of [
    [1, 'gamma'],
    [2, 'beta'],
  ] as const) {
    const t = arg(inputs, i);
    checkType(t, what, [x.dtype], 1);
    check(dim(t, 0) === dim(x, -1), () => `${what} ${formatType(t)} for ${formatType(x)}`);
  }
  check(isU32s(a.axes, [1], [x.dims.length - 1]), () => 'the norm is not over the last axis');
  return [x];
}

/** [1, .., 1, rows, columns]. */
export function isRows(t: TensorType): boolean {
  return t.dims.slice(0, -2).every((d) => d === 1);
}

/** Offsets that HTP gives the result whatever is asked for; another one is accepted and means nothing. */
const SOFTMAX_OFFSETS: Partial<Record<string, number>> = { u8: 0, s8: 128 };

export const NORM_OPS = {
  /** Rows along one dimension: with two that are not 1 HTP's result is wrong, or not a number. */
  RmsNorm: defineOp({ epsilon: 'f32', axes: 'u32s' }, 'inferred', (inputs, attrs) => {
    const x = arg(inputs, 0);
    check(isRows(x), () => `RmsNorm of ${formatType(x)}; HTP is right for [rows, columns] with ones before them only`);
    return norm(inputs, attrs);
  }),
  LayerNorm: defineOp({ epsilon: 'f32', axes: 'u32s' }, 'inferred', norm),

  Softmax: defineOp({ axis: 'u32', beta: 'f32' }, 'encoding', (inputs, { axis }, target) => {
    const x = single(inputs, 'Softmax input');
    check(axis === x.dims.length - 1, () => `Softmax of ${formatType(x)} over axis ${axis}; HTP has the last one only`);
    const y = encoded(x, x.dims, target, 'Softmax output');
    const offset = SOFTMAX_OFFSETS[y.dtype];
    check(
      isFloat(y.dtype) || offset === undefined || (y.quant.kind === 'scale' && y.quant.offset === offset),
      () => `Softmax output ${formatType(y)}; HTP is right with offset ${offset} only`,
    );
    return [{ ...y, rows: x.rows }];
  }),
} as const;
