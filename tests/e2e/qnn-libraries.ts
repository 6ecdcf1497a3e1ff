/** The QNN libraries that the typed API is tested on, and graphs to test it with. */
import { qnn } from '../../lib/index.js';
import { qnnLibrary, SOC } from './helpers.js';

export interface TestLibrary {
  name: string;
  open(): qnn.Library;
  device: { soc?: number };
}

export const HOST: TestLibrary = { name: 'host NPU', open: () => qnn.Library.open('host'), device: {} };
export const HTP: TestLibrary = { name: "Qualcomm's runtime", open: () => qnn.Library.open(qnnLibrary), device: { soc: SOC } };
export const LIBRARIES = [HOST, HTP];

/** Reproducible numbers in [-1, 1). */
export function randoms(length: number, seed = 1): Float32Array {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 1_073_741_823.5 - 1;
  });
}

/** y = x · Wᵀ in 8 bits, its exact answer in integers, and inputs. */
export function linear(context: qnn.Context, name = 'linear', { rows = 4, inputs = 32, outputs = 16 } = {}) {
  const xEncoding = qnn.scaleOffset(1 / 127, -128);
  const yEncoding = qnn.scaleOffset(0.05, -128);
  const w = randoms(outputs * inputs, 7);
  const wEncoding = qnn.axis(0, qnn.channelScales(w, [outputs, inputs], 0));
  const codes = qnn.quantize(w, 's8', wEncoding, [outputs, inputs]);
  const builder = context.createGraph(name);
  const x = builder.input('x', { dtype: 'u8', dims: [rows, inputs], encoding: xEncoding });
  const y = builder.output('y', { dtype: 'u8', dims: [rows, outputs], encoding: yEncoding });
  const weight = builder.constant('w', { dtype: 's8', dims: [outputs, inputs], encoding: wEncoding, data: codes });
  builder.op('FullyConnected', { inputs: [x, weight], outputs: [y] });
  const data = qnn.quantize(randoms(rows * inputs, 11), 'u8', xEncoding);
  const expected = Uint8Array.from({ length: rows * outputs }, (_, i) => {
    const [row, output] = [Math.floor(i / outputs), i % outputs];
    let sum = 0;
    for (let k = 0; k < inputs; k++) sum += (data[row * inputs + k]! - 128) * codes[output * inputs + k]!;
    return Math.min(255, Math.max(0, Math.round((sum * xEncoding.scale * wEncoding.scales[output]!) / yEncoding.scale) + 128));
  });
  return { builder, x, y, data, expected };
}

/** Largest difference of two arrays of codes. */
export function steps(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length || a.length === 0) throw new Error(`${a.length} and ${b.length} values`);
  let most = 0;
  for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs(a[i]! - b[i]!));
  return most;
}

/** silu(x) = x · sigmoid(x) in F16. */
export function silu(context: qnn.Context, name = 'silu', rows = 2) {
  const builder = context.createGraph(name);
  const x = builder.input('x', { dtype: 'f16', dims: [rows, 8] });
  const s = builder.internal('s', x);
  const y = builder.output('y', x);
  builder.op('Sigmoid', { inputs: [x], outputs: [s] });
  builder.op('ElementWiseMultiply', { inputs: [x, s], outputs: [y] });
  return builder.finalize({ inputs: [x], outputs: [y] });
}
