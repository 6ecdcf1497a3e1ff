// A quantised linear layer on an NPU library, without a model: y = x · Wᵀ in 8 bits.
//
//   node examples/qnn-linear.mjs                              on the host NPU, which is part of lutra
//   node examples/qnn-linear.mjs /path/libQnnHtp.so 57        on Qualcomm's runtime, compiled for SoC 57 (SM8650)
import { qnn } from 'lutra';

const [path, soc] = process.argv.slice(2);
const [rows, inputs, outputs] = [4, 64, 32];

// Something to compute with, the same on every run.
let state = 1;
const random = () => {
  state = (state * 48271) % 2147483647;
  return state / 1073741823.5 - 1;
};
const x = Float32Array.from({ length: rows * inputs }, random);
const w = Float32Array.from({ length: outputs * inputs }, random);

// What it should give, in floating point.
const expected = Float32Array.from({ length: rows * outputs }, (_, i) => {
  const [row, output] = [Math.floor(i / outputs), i % outputs];
  let sum = 0;
  for (let k = 0; k < inputs; k++) sum += x[row * inputs + k] * w[output * inputs + k];
  return sum;
});
const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

// Library, backend, device, context; each frees itself at the end of the program, or when dispose() is called.
const library = qnn.Library.open(path ?? 'host');
const backend = library.createBackend({ onLog: (level, line) => console.error(`${level}: ${line}`), logLevel: 'error' });
const device = backend.createDevice(soc ? { soc: Number(soc) } : {});
const context = device.createContext();

// Encodings say how integers stand for reals: one scale for activations, one per output channel for the weight.
const xEncoding = qnn.rangeEncoding('u8', -1, 1);
const yEncoding = qnn.rangeEncoding('u8', -largest, largest);
const wEncoding = qnn.axis(0, qnn.channelScales(w, [outputs, inputs], 0));

const builder = context.createGraph('linear');
const xTensor = builder.input('x', { dtype: 'u8', dims: [rows, inputs], encoding: xEncoding });
const yTensor = builder.output('y', { dtype: 'u8', dims: [rows, outputs], encoding: yEncoding });
const wTensor = builder.constant('w', {
  dtype: 's8',
  dims: [outputs, inputs],
  encoding: wEncoding,
  data: qnn.quantize(w, 's8', wEncoding, [outputs, inputs]),
});
builder.op('FullyConnected', { inputs: [xTensor, wTensor], outputs: [yTensor] });

// Asking is possible too: why a node would be refused, in the library's words.
const refusal = builder.validate({ type: 'NoSuchOp', inputs: [xTensor], outputs: [yTensor] });
console.log(`NoSuchOp: ${refusal ? refusal.code : 'accepted'}`);

const graph = await builder.finalizeAsync({ inputs: [xTensor], outputs: [yTensor] });

const profile = backend.createProfile();
const result = graph.execute({ x: qnn.quantize(x, 'u8', xEncoding) }, { profile });
const again = await graph.executeAsync({ x: qnn.quantize(x, 'u8', xEncoding) });

const y = qnn.dequantize(result.y, yEncoding);
const error = y.reduce((sum, value, i) => sum + (value - expected[i]) ** 2, 0) / expected.reduce((sum, value) => sum + value ** 2, 0);
const same = result.y.every((code, i) => code === again.y[i]);

console.log(`library: ${library.info.name}, build ${library.info.buildId}, core API ${library.info.apiVersion}`);
console.log(`first outputs: ${Array.from(y.subarray(0, 4), (value) => value.toFixed(3)).join(' ')}`);
console.log(`expected:      ${Array.from(expected.subarray(0, 4), (value) => value.toFixed(3)).join(' ')}`);
console.log(`error (NMSE): ${error.toExponential(2)}; synchronous and asynchronous agree: ${same}`);
for (const event of profile.events()) console.log(`profile: ${event.identifier}: ${event.value} ${event.unit}`);
if (!(error < 1e-3) || !same) process.exitCode = 1;
