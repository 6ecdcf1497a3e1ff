// A matrix in 2 bits and its product with a vector, on the kernels that lutra decodes with.
//
//   node examples/kernels-gemv.mjs [FORMAT]      w2g64m unless given: see docs/kernels.md
import { kernels } from 'lutra';

const [format = 'w2g64m'] = process.argv.slice(2);
const [rows, columns] = [1024, 1024];

// Something to compute with, the same on every run: sums of uniform numbers are nearly normal, as weights are.
let state = 1;
const uniform = () => {
  state = (state * 48271) % 2147483647;
  return state / 2147483647 - 0.5;
};
const normal = () => uniform() + uniform() + uniform() + uniform();
const values = Float32Array.from({ length: rows * columns }, () => 0.05 * normal());
const x = Float32Array.from({ length: columns }, normal);

const weight = kernels.pack({ rows, columns, format, values });
console.log(
  `${format}: ${weight.byteLength} bytes for ${rows} × ${columns}, ${((8 * weight.byteLength) / (rows * columns)).toFixed(2)} bits a weight`,
);

// The product, and what it should be for the values that the codes stand for.
const y = kernels.gemv(weight, x, { threads: 2 });
const held = kernels.dequantize(weight);
let error = 0;
let power = 0;
for (let row = 0; row < rows; row++) {
  let sum = 0;
  for (let column = 0; column < columns; column++) sum += held[row * columns + column] * x[column];
  error += (y[row] - sum) ** 2;
  power += sum ** 2;
}
console.log(`error of the product (NMSE): ${(error / power).toExponential(2)}`);

// Every kernel of this build that takes the format, and which one was used.
for (const { name, formats, available, chosen } of kernels.list()) {
  if (!formats.includes(format)) continue;
  const choice = chosen.find((one) => one.format === format);
  console.log(
    `${name}: ${available ? 'runs here' : 'not on this processor'}${choice ? `, chosen for ${choice.from} to ${choice.to} rows` : ''}`,
  );
}

// Kept in a file, it is the same weight again.
const again = kernels.Weight.fromBytes(weight.toBytes());
const same = kernels.gemv(again, x).every((value, i) => value === y[i]);
console.log(`after a way through bytes they agree: ${same}`);
again.dispose();
weight.dispose();
if (!(error / power < 1e-4) || !same) process.exitCode = 1;
