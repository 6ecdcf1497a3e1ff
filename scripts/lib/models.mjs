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

/** Flags of `lutra convert` by name of the model directory. */
const models = {
  'smollm2-135m': [],
  'smollm2-135m-w8a16': ['--precision', 'all=w8a16'],
  // What the recipe is measured against: static ranges from the maximum, nothing repaired.
  'smollm2-135m-naive': ['--precision', 'all=w8a8', '--method', 'max'],
};

/** Files that decide what a conversion gives. */
function sources(directory) {
  return readdirSync(join(root, directory), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

function stampOf(flags) {
  const hash = createHash('sha256').update(JSON.stringify(flags));
  for (const directory of ['lib/convert', 'lib/calibrate', 'lib/graph', 'lib/models', 'native']) {
    for (const file of sources(directory)) hash.update(file.slice(root.length)).update(readFileSync(file));
  }
  for (const file of [gguf, text]) hash.update(createHash('sha256').update(readFileSync(file)).digest());
  return hash.digest('hex');
}

function convert(name) {
  const flags = models[name];
  if (!flags) throw new Error(`no model '${name}'; known: ${Object.keys(models).join(', ')}`);
  for (const file of [gguf, text])
    if (!existsSync(file)) throw new Error(`${file} is missing: run scripts/fetch-model and scripts/fetch-text`);
  const directory = join(cache, 'models', name);
  const stampFile = `${directory}.stamp`;
  const stamp = stampOf(flags);
  const fresh = existsSync(join(directory, 'lutra.json')) && existsSync(stampFile) && readFileSync(stampFile, 'utf8') === stamp;
  if (!fresh) {
    mkdirSync(join(cache, 'models'), { recursive: true });
    rmSync(stampFile, { force: true });
    const args = [join(root, 'dist/cli/main.js'), 'convert', gguf, '-o', directory, '--text', text, ...flags];
    const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', 2, 2] });
    if (status !== 0) throw new Error(`the conversion of ${name} failed`);
    writeFileSync(stampFile, stamp);
  }
  console.log(directory);
}

try {
  const names = process.argv.slice(2);
  for (const name of names.length > 0 ? names : Object.keys(models)) convert(name);
} catch (error) {
  console.error(`models: ${error.message}`);
  process.exitCode = 1;
}
