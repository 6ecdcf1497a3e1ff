// An 8-bit linear under static ranges that outliers do not fit into: as an NPU alone computes it, and with the CPU's repair.
//
//   node examples/kernels-shadow.mjs
import { kernels } from 'lutra';

const [inputs, outputs, rows] = [1024, 256, 8];

// Something to compute with, the same on every run: nearly normal numbers.
let state = 1;
const uniform = () => {
  state = (state * 48271) % 2147483647;
  return state / 2147483647 - 0.5;
};
const normal = () => uniform() + uniform() + uniform() + uniform();
const codes = Int8Array.from({ length: inputs * outputs }, () => 254 * uniform());
const scales = new Float32Array(outputs).fill(0.001);
const x = Float32Array.from({ length: rows * inputs }, normal);
for (let row = 0; row < rows; row++) for (const channel of [17, 400, 999]) x[row * inputs + channel] *= 100;

// The product in float64.
const right = new Float64Array(rows * outputs);
for (let row = 0; row < rows; row++) {
  for (let k = 0; k < inputs; k++) {
    for (let o = 0; o < outputs; o++) right[row * outputs + o] += x[row * inputs + k] * codes[k * outputs + o] * scales[o];
  }
}
const error = (y) => {
  const off = right.reduce((sum, value, i) => sum + (y[i] - value) ** 2, 0);
  return off / right.reduce((sum, value) => sum + value ** 2, 0);
};

// A range that holds all but the three channels, and one for outputs that some of them do not fit into.
const linear = { inputs, outputs, codes, scales, input: { scale: 1.8 / 127 }, output: { scale: 4 / 127 } };
const alone = kernels.shadowLinear(linear, x, { repair: false });
const repaired = kernels.shadowLinear(linear, x, { threads: 2 });
console.log(`error of the 8-bit linear alone (NMSE): ${error(alone.y).toExponential(2)}`);
console.log(
  `repaired: ${error(repaired.y).toExponential(2)}, from ${repaired.repairedInputs} of ${x.length} inputs and ${repaired.repairedOutputs} of ${right.length} outputs`,
);
if (!(error(repaired.y) < 1e-3 && error(alone.y) > 0.1)) process.exitCode = 1;
