/** What the compiler refuses of the kernel API, and what it takes: as tests/types/qnn.ts. */
import { kernels } from '../../lib/index.js';

const shape = { rows: 16, columns: 64 };
const values = new Float32Array(1024);
const codes = new Uint8Array(1024);
const scales = new Float32Array(32);
const blocks = new Uint8Array(576);

const weight: kernels.Weight = kernels.pack({ ...shape, format: 'w2g32', values });
kernels.pack({ ...shape, format: 'w3rowz', codes, scales, offsets: scales });
kernels.pack({ ...shape, format: 'q4_0', blocks });
// @ts-expect-error: no such format
kernels.pack({ ...shape, format: 'w5g32', values });
// @ts-expect-error: no such group
kernels.pack({ ...shape, format: 'w2g16', values });
// @ts-expect-error: GGUF's types are packed from blocks
kernels.pack({ ...shape, format: 'q4_0', values });
// @ts-expect-error: low-bit formats have no blocks
kernels.pack({ ...shape, format: 'w4g32', blocks });
// @ts-expect-error: codes need scales
kernels.pack({ ...shape, format: 'w2g32', codes });
// @ts-expect-error: values are F32
kernels.pack({ ...shape, format: 'w2g32', values: new Float64Array(1024) });
// @ts-expect-error: no weights
kernels.pack({ ...shape, format: 'w2g32' });
// @ts-expect-error: weights are made by pack and fromBytes
new kernels.Weight();

const x = new Float32Array(64);
const y: Float32Array = kernels.gemv(weight, x, { n: 1, y: x, threads: 2, kernel: 'lut-portable' });
// @ts-expect-error: activations are F32
kernels.gemv(weight, [1, 2, 3]);
// @ts-expect-error: no such option
kernels.gemv(weight, x, { thread: 2 });
// @ts-expect-error: values are no packed weight
kernels.gemv(values, x);
// @ts-expect-error: what a weight is does not change
weight.rows = 3;

const linear: kernels.ShadowLinear = {
  inputs: 64,
  outputs: 16,
  codes: new Int8Array(1024),
  scales,
  input: { scale: 0.1 },
  output: { scale: 0.2, zeroPoint: 3, signed: false },
};
const repaired: kernels.ShadowResult = kernels.shadowLinear(linear, x, { base: y, quantized: codes, repair: true, threads: 2 });
kernels.shadowLinear(linear, new Uint16Array(64));
// @ts-expect-error: signed codes
kernels.shadowLinear({ ...linear, codes }, x);
// @ts-expect-error: a range has a scale
kernels.shadowLinear({ ...linear, input: { zeroPoint: 3 } }, x);
// @ts-expect-error: activations are F32 or F16
kernels.shadowLinear(linear, new Float64Array(64));
// @ts-expect-error: no such option
kernels.shadowLinear(linear, x, { repairs: false });
// @ts-expect-error: what a result is does not change
repaired.repairedInputs = 0;

const { name, chosen }: kernels.Kernel = kernels.list()[0] as kernels.Kernel;
export const used = [
  y,
  repaired.y,
  name,
  chosen.map(({ format, from, to }: kernels.Choice) => `${format satisfies kernels.Format} ${from + to}`),
];
