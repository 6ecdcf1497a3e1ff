// What an addon computes, for comparison with another one: `node tests/prebuild/job.mjs [MODEL…]` prints a JSON object with a digest of products by kernel and format,
// and the tokens that each model directory answers with, on the CPU alone and with the host NPU. Which addon it is, PREBUILDS_ONLY or LUTRA_PREBUILD says (node-gyp-build's variables).
import { createHash } from 'node:crypto';
import { kernels, loadModel } from '../../dist/index.js';
import { loadAddon } from '../../dist/native/loader.js';

const TOKENS = 24;
const PROMPT = 'In the beginning there was nothing but a river, and an otter that swam in it.';

/** Uniform numbers from −1 to 1, the same everywhere. */
let state = 20;
const uniform = () => {
  state = (state * 48271) % 2147483647;
  return (2 * state) / 2147483647 - 1;
};
const below = (limit) => Math.floor(((uniform() + 1) / 2) * limit);

function digestOf(format, names) {
  const digests = Object.fromEntries(names.map((name) => [name, createHash('sha256')]));
  for (let shape = 0; shape < 3; shape++) {
    // The same numbers however many kernels there are.
    const [rows, columns, n, threads] = [1 + below(90), 32 * (1 + below(12)), 1 + below(5), 1 + below(2)];
    const values = Float32Array.from({ length: rows * columns }, uniform);
    const weight = kernels.pack({ rows, columns, format, values });
    const x = Float32Array.from({ length: n * columns }, uniform);
    for (const name of names) digests[name].update(weight.toBytes()).update(kernels.gemv(weight, x, { kernel: name, threads }));
    weight.dispose();
  }
  return names.map((name) => [`${name} ${format}`, digests[name].digest('hex').slice(0, 16)]);
}

/** Weights of every low-bit format, and what every kernel that runs here makes of them. */
function products() {
  const available = kernels.list().filter((kernel) => kernel.available);
  const formats = [...new Set(available.flatMap((kernel) => kernel.formats))].filter((format) => format.startsWith('w')).sort();
  return Object.fromEntries(
    formats.flatMap((format) =>
      digestOf(
        format,
        available.filter((kernel) => kernel.formats.includes(format)).map(({ name }) => name),
      ),
    ),
  );
}

/** Tokens after a prompt that is longer than a chunk of the tiny models: greedy ones, and drawn ones, because the likeliest of a random model soon repeat themselves. */
async function tokensOf(directory, npu) {
  const model = await loadModel(directory, { npu, contextSize: 128, threads: 1 });
  const options = { maxTokens: TOKENS, ignoreEos: true };
  const { tokens: greedy } = await model.generate(PROMPT, options).result();
  const { tokens: drawn } = await model.generate(PROMPT, { ...options, temperature: 50, seed: 3 }).result();
  await model.dispose();
  return { greedy, drawn };
}

const models = [];
for (const directory of process.argv.slice(2))
  models.push({ none: await tokensOf(directory, 'none'), host: await tokensOf(directory, 'host') });
const { isa } = loadAddon().cpuInfo();
console.log(JSON.stringify({ platform: `${process.platform}-${process.arch}`, isa, products: products(), models }));
