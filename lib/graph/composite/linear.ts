/** MatMul of two activations, LinearINT8 with a weight. */
import type { Encoding } from '../cpu-builder.js';
import { isFloat } from '../dtype.js';
import { activation, QUANTS } from '../npu/checks.js';
import { LINEAR_OPS } from '../npu/linear-ops.js';
import { arg, arity, check, checkType, dim } from '../schema.js';
import { elements, formatType, sameDims, type TensorType } from '../tensor.js';
import { checkEncoding, composite, operand, sameKind, type To } from './composite.js';

export interface MatMulAttrs extends To {
  /** Reads the left side [.., K, M] instead of [.., M, K]. */
  readonly transposeA?: boolean;
  /** Reads the right side [.., N, K] instead of [.., K, N], as keys are. */
  readonly transposeB?: boolean;
}

/** The weight's layout by its rank: [out, in], or a Conv2d filter [1, 1, in, out], whose input rows are contiguous. */
function weightSize(w: TensorType): { inputs: number; outputs: number; axis: number } {
  checkType(w, 'weight', ['s8']);
  const filter = w.dims.length === 4;
  check(
    filter ? dim(w, 0) === 1 && dim(w, 1) === 1 : w.dims.length === 2,
    () => `weight ${formatType(w)} is neither [out, in] nor [1, 1, in, out]`,
  );
  return filter ? { inputs: dim(w, 2), outputs: dim(w, 3), axis: 3 } : { inputs: dim(w, 1), outputs: dim(w, 0), axis: 0 };
}

/** S32 in steps of x's scale times the weight's, which is what the accumulator counts in. */
function checkBias(b: TensorType, x: TensorType, w: TensorType, outputs: number): void {
  checkType(b, 'bias', ['s32'], 1);
  check(dim(b, 0) === outputs, () => `bias ${formatType(b)} for ${outputs} outputs`);
  if (w.quant.kind === 'axis') check(b.quant.kind === 'axis' && b.quant.axis === 0, () => `bias ${formatType(b)} has no scale per output`);
  if (w.quant.kind === 'scale' && x.quant.kind === 'scale') {
    const step = Math.fround(x.quant.scale * w.quant.scale);
    check(
      b.quant.kind === 'scale' && b.quant.scale === step && b.quant.offset === 0,
      () => `bias ${formatType(b)}; its step must be ${step}`,
    );
  }
}

export const LINEAR = {
  /** a [.., M, K] · b [.., K, N] → [.., M, N]; ranks and leading dimensions equal. Grouped heads: view the queries as [kvHeads, heads per group · rows, d]. */
  MatMul: composite<MatMulAttrs>(
    (inputs, { transposeA = false, transposeB = false, to }) => {
      const a = activation(arg(inputs, 0), 'left');
      return LINEAR_OPS.MatMul.infer(inputs, { transpose_in0: transposeA, transpose_in1: transposeB }, sameKind(a, { to }), { chunk: 0 });
    },
    (b, inputs, { transposeA = false, transposeB = false, to }, name) => {
      const left = operand(inputs, 0);
      return [b.matMul(left, operand(inputs, 1), { a: transposeA, b: transposeB }, to ?? b.tensor(left), name)];
    },
  ),

  /** x [.., K] quantised, weight S8 per output channel or with one scale [, bias S32] → [.., N] in the encoding `to`, which saturates. */
  LinearINT8: composite<{ readonly to: Encoding }>(
    (inputs, { to }) => {
      arity(inputs, 2, 3);
      const x = activation(arg(inputs, 0), 'input', QUANTS);
      const w = arg(inputs, 1);
      const { inputs: k, outputs: n, axis } = weightSize(w);
      check(k === dim(x, -1), () => `weight ${formatType(w)} for ${formatType(x)}`);
      const perChannel = w.quant.kind === 'axis' && w.quant.axis === axis;
      const perTensor = w.quant.kind === 'scale' && w.quant.offset === 0;
      check(perChannel || perTensor, () => `weight ${formatType(w)} has neither scales on axis ${axis} nor one scale and offset 0`);
      if (inputs.length === 3) checkBias(arg(inputs, 2), x, w, n);
      checkEncoding(to);
      check(to.dtype === x.dtype, () => `a result of ${to.dtype} for ${formatType(x)}; HTP has input and output of one type`);
      check(!isFloat(to.dtype), () => `a result of ${to.dtype}`);
      return [{ dtype: to.dtype, quant: to.quant, rows: 'fixed', dims: [...x.dims.slice(0, -1), n] }];
    },
    (b, inputs, { to }, name) => {
      const [x, weight, bias] = [operand(inputs, 0), operand(inputs, 1), inputs[2]];
      const { dims } = b.tensor(x);
      const { inputs: k, outputs: n } = weightSize(b.tensor(weight));
      const rows = elements(dims) / k;
      const filter = b.tensor(weight).dims.length === 4;
      const flat = filter ? [1, 1, rows, k] : [rows, k];
      const shaped = sameDims(flat, dims);
      const input = shaped ? x : b.reshape(x, flat, `${name}.rows`);
      const as = shaped ? name : `${name}.product`;
      const y = filter ? b.conv1x1(input, weight, to, as, bias) : b.fullyConnected(input, weight, to, as, bias);
      return [shaped ? y : b.reshape(y, [...dims.slice(0, -1), n], name)];
    },
  ),
} as const;
