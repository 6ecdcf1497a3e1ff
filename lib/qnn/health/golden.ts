/**
 * Small graphs with known answers, made of what every decoder is made of: linears in each precision, norm, gate and residual. Enough to tell a library that computes from one
 * that does not; whether it computes every form of every op right is what the conformance table is for.
 */
import type { GraphBuilder } from '../api/builder.js';
import { limitsOf } from '../api/dtype.js';
import { axis, rangeEncoding, type ScaleOffset } from '../api/encoding.js';
import { channelScales, dequantize, fromF16, quantize, toF16 } from '../api/values.js';

/** A change of the graphs or bounds: what was tested with others is tested again. */
export const GOLDEN_VERSION = 1;

const ROWS = 8;
const INPUTS = 64;
const OUTPUTS = 32;
const EPSILON = 1e-5;

/** A graph with one input `x` [ROWS, INPUTS] and one output `y`, both F16. */
export interface GoldenGraph {
  name: string;
  build(builder: GraphBuilder): void;
  /** The answer, computed from the definition. */
  expected(x: Float32Array): Float64Array;
  /** Largest Σ (found − expected)² / Σ expected² of a good library: 20 times what Qualcomm's has at least. */
  bound: number;
}

/** Reproducible numbers in [-range, range). */
function randoms(length: number, seed: number, range: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return (state / 1_073_741_823.5 - 1) * range;
  });
}

const weights = randoms(OUTPUTS * INPUTS, 7, 0.5);
const scales = channelScales(weights, [OUTPUTS, INPUTS], 0);
const codes = quantize(weights, 's8', axis(0, scales), [OUTPUTS, INPUTS]);
const gains = randoms(INPUTS, 5, 2);

/** Inputs for the n-th execution; some lie outside the range that 8 bits cover. */
export function goldenInput(n: number): Uint16Array {
  return toF16(randoms(ROWS * INPUTS, 11 + n, 4.5));
}

/** x · Wᵀ with x as it is given. */
function product(x: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: ROWS * OUTPUTS }, (_, i) => {
    const [row, output] = [Math.floor(i / OUTPUTS), i % OUTPUTS];
    let sum = 0;
    for (let k = 0; k < INPUTS; k++) sum += x[row * INPUTS + k]! * codes[output * INPUTS + k]!;
    return sum * scales[output]!;
  });
}

type Fixed = 'u8' | 's8' | 'u16';
const inputEncoding = (type: Fixed): ScaleOffset => rangeEncoding(type, -4, 4);
const outputEncoding = (type: Fixed): ScaleOffset => rangeEncoding(type, -24, 24);

/** The same with input and output rounded to a fixed-point type. */
function fixedProduct(type: Fixed, x: Float32Array): Float64Array {
  const { lo, hi } = limitsOf(type);
  const { scale, offset } = outputEncoding(type);
  const rounded = dequantize(quantize(x, type, inputEncoding(type)), inputEncoding(type));
  return product(rounded).map((value) => (Math.min(hi, Math.max(lo, Math.round(value / scale) - offset)) + offset) * scale);
}

function fixedLinear(type: Fixed, bound: number): GoldenGraph {
  return {
    name: `linear ${type}`,
    build(b) {
      const x = b.input('x', { dtype: 'f16', dims: [ROWS, INPUTS] });
      const y = b.output('y', { dtype: 'f16', dims: [ROWS, OUTPUTS] });
      const from = b.internal('from', { dtype: type, dims: [ROWS, INPUTS], encoding: inputEncoding(type) });
      const to = b.internal('to', { dtype: type, dims: [ROWS, OUTPUTS], encoding: outputEncoding(type) });
      const w = b.constant('w', { dtype: 's8', dims: [OUTPUTS, INPUTS], encoding: axis(0, scales), data: codes });
      b.node({ type: 'Quantize', inputs: [x], outputs: [from] });
      b.node({ type: 'FullyConnected', inputs: [from, w], outputs: [to] });
      b.node({ type: 'Dequantize', inputs: [to], outputs: [y] });
    },
    expected: (x) => fixedProduct(type, x),
    bound,
  };
}

const floatLinear: GoldenGraph = {
  name: 'linear f16',
  build(b) {
    const x = b.input('x', { dtype: 'f16', dims: [ROWS, INPUTS] });
    const y = b.output('y', { dtype: 'f16', dims: [ROWS, OUTPUTS] });
    const w = b.constant('w', { dtype: 's8', dims: [OUTPUTS, INPUTS], encoding: axis(0, scales), data: codes });
    b.op('FullyConnected', { inputs: [x, w], outputs: [y] });
  },
  expected: product,
  bound: 1e-5,
};

const convolution: GoldenGraph = {
  name: 'convolution u8',
  build(b) {
    const filter = Int8Array.from({ length: codes.length }, (_, i) => codes[(i % OUTPUTS) * INPUTS + Math.floor(i / OUTPUTS)]!);
    const x = b.input('x', { dtype: 'f16', dims: [ROWS, INPUTS] });
    const y = b.output('y', { dtype: 'f16', dims: [ROWS, OUTPUTS] });
    const from = b.internal('from', { dtype: 'u8', dims: [ROWS, INPUTS], encoding: inputEncoding('u8') });
    const from4 = b.internal('from4', { dtype: 'u8', dims: [1, 1, ROWS, INPUTS], encoding: inputEncoding('u8') });
    const to4 = b.internal('to4', { dtype: 'u8', dims: [1, 1, ROWS, OUTPUTS], encoding: outputEncoding('u8') });
    const to = b.internal('to', { dtype: 'u8', dims: [ROWS, OUTPUTS], encoding: outputEncoding('u8') });
    const w = b.constant('w', { dtype: 's8', dims: [1, 1, INPUTS, OUTPUTS], encoding: axis(3, scales), data: filter });
    const params = { stride: [1, 1], pad_amount: [[0, 0] as const, [0, 0] as const] };
    b.op('Quantize', { inputs: [x], outputs: [from] });
    b.op('Reshape', { inputs: [from], outputs: [from4] });
    b.op('Conv2d', { inputs: [from4, w], outputs: [to4], params });
    b.op('Reshape', { inputs: [to4], outputs: [to] });
    b.op('Dequantize', { inputs: [to], outputs: [y] });
  },
  expected: (x) => fixedProduct('u8', x),
  bound: 0.002,
};

/** x + n · sigmoid(n), n the norm of x. */
const gate: GoldenGraph = {
  name: 'norm, gate and residual',
  build(b) {
    const rows = { dtype: 'f16', dims: [ROWS, INPUTS] } as const;
    const x = b.input('x', rows);
    const y = b.output('y', rows);
    const [n, s, m] = [b.internal('n', rows), b.internal('s', rows), b.internal('m', rows)];
    const gain = b.constant('gain', { dtype: 'f16', dims: [INPUTS], data: toF16(gains) });
    const zeros = b.constant('zeros', { dtype: 'f16', dims: [INPUTS], data: new Uint16Array(INPUTS) });
    b.op('RmsNorm', { inputs: [x, gain, zeros], outputs: [n], params: { epsilon: EPSILON, axes: [1] } });
    b.op('Sigmoid', { inputs: [n], outputs: [s] });
    b.op('ElementWiseMultiply', { inputs: [n, s], outputs: [m] });
    b.op('ElementWiseAdd', { inputs: [x, m], outputs: [y] });
  },
  expected(x) {
    const out = new Float64Array(x.length);
    const gain = fromF16(toF16(gains));
    for (let row = 0; row < ROWS; row++) {
      const values = x.subarray(row * INPUTS, (row + 1) * INPUTS);
      const mean = values.reduce((sum, v) => sum + v * v, 0) / INPUTS;
      values.forEach((v, k) => {
        const n = (v / Math.sqrt(mean + EPSILON)) * gain[k]!;
        out[row * INPUTS + k] = v + n / (1 + Math.exp(-n));
      });
    }
    return out;
  },
  bound: 1e-5,
};

export const GOLDEN_GRAPHS: readonly GoldenGraph[] = [
  fixedLinear('u8', 0.002),
  fixedLinear('s8', 0.002),
  fixedLinear('u16', 1e-4),
  floatLinear,
  convolution,
  gate,
];

/** Σ (found − expected)² / Σ expected²; not a number when `found` holds something that is none. */
export function relativeError(found: Float32Array, expected: Float64Array): number {
  let error = 0;
  let power = 0;
  expected.forEach((value, i) => {
    error += (found[i]! - value) ** 2;
    power += value ** 2;
  });
  return error / power;
}
