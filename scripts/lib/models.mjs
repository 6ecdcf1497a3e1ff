// Converts the models that demo and tests use into .cache/models, again whenever the converter, the kernels or the inputs have changed.
// Usage: node scripts/lib/models.mjs [NAME…]; prints the directories. Needs the build and the fetched files.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
const cache = resolve(root, process.env.LUTRA_CACHE || '.cache');
const gguf = join(cache, 'gguf', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const text = join(cache, 'text', 'lcet10.txt');

/** Nothing to choose, so that tests need not wait for it, and no rotation: what figures of the docs were measured on. */
const given = ['--precision', 'qkv=w8a8s,o=w8a8s,gateup=w8a16,down=w8a16', '--transform', 'none'];

/** Flags of `lutra convert` by name of the model directory. `bias`: the model is first written as one of Qwen2 with biases up to that. `asked`: made only when it is named. */
const models = {
  'smollm2-135m': { flags: given },
  'smollm2-135m-w8a16': { flags: ['--precision', 'all=w8a16', '--transform', 'none'] },
  // Every linear with 8-bit activations.
  'smollm2-135m-int8': { flags: ['--precision', 'qkv=w8a8,o=w8a8s,gateup=w8a8,down=w8a8s'] },
  // Chosen by the machine: ten minutes each.
  'smollm2-135m-auto': { flags: [], asked: true },
  'smollm2-135m-share100': { flags: ['--int8-share', '1'], asked: true },
  'smollm2-135m-share90': { flags: ['--int8-share', '0.9'], asked: true },
  // What the recipe is measured against: static ranges from the maximum, nothing repaired.
  'smollm2-135m-naive': { flags: ['--precision', 'all=w8a8', '--method', 'max', '--transform', 'none'] },
  // Of the benchmark of decoding.
  'smollm2-135m-head-w4g32': { flags: ['--lm-head', 'w4g32', '--cpu-only'], asked: true },
  'smollm2-135m-qwen2': { flags: given, bias: 0 },
  'smollm2-135m-qwen2-biased': { flags: given, bias: 0.1 },
};

/** Files that decide what a conversion gives. */
function sources(directory) {
  return readdirSync(join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function stampOf(model) {
  const hash = createHash('sha256').update(JSON.stringify(model));
  for (const directory of ['lib/convert', 'lib/calibrate', 'lib/choose', 'lib/graph', 'lib/models', 'native']) {
    for (const file of sources(directory)) hash.update(file.slice(root.length)).update(readFileSync(file));
  }
  if ('bias' in model) hash.update(readFileSync(join(root, 'scripts/lib/qwen2.mjs')));
  for (const file of [gguf, text]) hash.update(createHash('sha256').update(readFileSync(file)).digest());
  return hash.digest('hex');
}

function run(...args) {
  return spawnSync(process.execPath, args, { stdio: ['ignore', 2, 2] }).status === 0;
}

/** The directory of a model that is written before it is converted, or the GGUF file. */
function sourceOf(name, { bias }) {
  if (bias === undefined) return gguf;
  const source = join(cache, 'models', `${name}-source`);
  if (!run(join(root, 'scripts/lib/qwen2.mjs'), gguf, source, String(bias))) throw new Error(`${source} cannot be written`);
  return source;
}

function convert(name) {
  const model = models[name];
  if (!model) throw new Error(`no model '${name}'; known: ${Object.keys(models).join(', ')}`);
  for (const file of [gguf, text])
    if (!existsSync(file)) throw new Error(`${file} is missing: run scripts/fetch-model and scripts/fetch-text`);
  const directory = join(cache, 'models', name);
  const stampFile = `${directory}.stamp`;
  const stamp = stampOf(model);
  const fresh = existsSync(join(directory, 'lutra.json')) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  if (!fresh) {
    mkdirSync(join(cache, 'models'), { recursive: true });
    rmSync(stampFile, { force: true });
    const source = sourceOf(name, model);
    const done = run(join(root, 'dist/cli/main.js'), 'convert', source, '-o', directory, '--text', text, ...model.flags);
    if (source !== gguf) rmSync(source, { recursive: true });
    if (!done) throw new Error(`the conversion of ${name} failed`);
    writeFileSync(stampFile, stamp);
  }
  console.log(directory);
}

try {
  const names = process.argv.slice(2);
  for (const name of names.length > 0 ? names : Object.keys(models).filter((name) => !models[name].asked)) convert(name);
} catch (error) {
  console.error(`models: ${error.message}`);
  process.exitCode = 1;
}
