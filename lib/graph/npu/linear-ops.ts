/** Products: with a weight (FullyConnected, Conv2d 1×1) and of two activations (MatMul). */
import { isFloat } from '../dtype.js';
import { arg, arity, check, checkType, defineOp, dim, type Targets } from '../schema.js';
import { formatType, type TensorType } from '../tensor.js';
import { activation, encoded, isU32s, QUANTS } from './checks.js';

/** [.., K] × weight → [.., N] with the encoding the caller asked for; HTP wants input and output of one type. */
function linearOutput(x: TensorType, w: TensorType, axes: { input: number; output: number }, target: Targets['encoding']): TensorType[] {
  const { quant } = w;
  const known = (quant.kind === 'axis' && quant.axis === axes.output) || (quant.kind === 'scale' && quant.offset === 0);
  check(w.dtype === 's8' && known, () => `weight ${formatType(w)} is not s8 with scales on axis ${axes.output}, or one scale and offset 0`);
  check(dim(w, axes.input) === dim(x, -1), () => `weight ${formatType(w)} for ${formatType(x)}`);
  const y: TensorType = { dtype: target.dtype, rows: x.rows, dims: [...x.dims.slice(0, -1), dim(w, axes.output)], quant: target.quant };
  activation(y, 'linear output');
  check(x.dtype === y.dtype, () => `linear from ${x.dtype} to ${y.dtype}; HTP has input and output of one type`);
  return [y];
}

function bias(inputs: readonly TensorType[], outputs: number): void {
  const b = inputs[2];
  if (b === undefined) return;
  checkType(b, 'bias', ['s32', 'f16'], 1);
  check(dim(b, 0) === outputs, () => `bias ${formatType(b)} for ${outputs} outputs`);
}

/** The last two dimensions as rows × columns, swapped when the node reads the operand transposed. */
function matrix(t: TensorType, transposed: boolean): [rows: number, cols: number] {
  check(t.dims.length >= 2, () => `MatMul of ${formatType(t)}`);
  return transposed ? [dim(t, -1), dim(t, -2)] : [dim(t, -2), dim(t, -1)];
}

/**
 * What the right side of a quantised MatMul may be. HTP accepts more: u8 by s8 is then wrong for some shapes and cannot be compiled for others, u16 by s8 the
 * latter, u16 by u16 is off by 4 steps, and u16 by u8 is wrong now and then unless the u8 is symmetric.
 */
const RIGHT = { u8: ['u8'], s8: ['u8', 's8'], u16: ['u8'] } as const;

export const LINEAR_OPS = {
  /** x [M, K], weight S8 [N, K] with scales on axis 0 [, bias [N]] → [M, N]. */
  FullyConnected: defineOp({}, 'encoding', (inputs, _, target) => {
    arity(inputs, 2, 3);
    const x = activation(arg(inputs, 0), 'FullyConnected input', ['u8', 's8', 'u16', 'f16'], 2);
    const w = arg(inputs, 1);
    checkType(w, 'FullyConnected weight', ['s8'], 2);
    bias(inputs, dim(w, 0));
    return linearOutput(x, w, { input: 1, output: 0 }, target);
  }),

  /** 1×1 only: x [1, 1, M, K], weight S8 [1, 1, K, N] with scales on axis 3 → [1, 1, M, N]. */
  Conv2d: defineOp({ stride: 'u32s', pad_amount: 'u32s' }, 'encoding', (inputs, a, target) => {
    arity(inputs, 2, 3);
    const x = activation(arg(inputs, 0), 'Conv2d input', QUANTS, 4);
    const w = arg(inputs, 1);
    checkType(w, 'Conv2d filter', ['s8'], 4);
    check(dim(w, 0) === 1 && dim(w, 1) === 1, () => `Conv2d filter ${formatType(w)} is not 1×1`);
    check(isU32s(a.stride, [2], [1, 1]) && isU32s(a.pad_amount, [2, 2], [0, 0, 0, 0]), () => 'Conv2d is 1×1 with stride 1 and no padding');
    bias(inputs, dim(w, 3));
    return linearOutput(x, w, { input: 2, output: 3 }, target);
  }),

  /** a [.., M, K] · b [.., K, N] → [.., M, N]; leading dimensions equal. */
  MatMul: defineOp({ transpose_in0: 'bool', transpose_in1: 'bool' }, 'encoding', (inputs, attrs, target) => {
    arity(inputs, 2);
    const a = activation(arg(inputs, 0), 'MatMul left side');
    const b = arg(inputs, 1);
    activation(b, 'MatMul right side', isFloat(a.dtype) ? [a.dtype] : RIGHT[a.dtype as keyof typeof RIGHT]);
    check(
      a.dtype !== 'u16' || (b.quant.kind === 'scale' && b.quant.offset === -128),
      () => `MatMul of u16 by ${formatType(b)}; HTP is right with offset -128 only`,
    );
    check(
      a.dims.length === b.dims.length && a.dims.slice(0, -2).every((d, i) => d === b.dims[i]),
      () => `MatMul of ${formatType(a)} and ${formatType(b)}: leading dimensions differ`,
    );
    const [m, k] = matrix(a, attrs.transpose_in0);
    const [inner, n] = matrix(b, attrs.transpose_in1);
    check(k === inner, () => `MatMul of ${formatType(a)} and ${formatType(b)}: ${k} columns against ${inner} rows`);
    return [encoded(a, [...a.dims.slice(0, -2), m, n], target, 'MatMul output')];
  }),
} as const;
