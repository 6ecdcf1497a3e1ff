// What observing costs: windows of a text through the float model with `observe` steps and without, in turn. Fails when the ratio of the medians is above 1.5.
// Usage: npm run bench:calibrate [-- --model DIR --text FILE --rounds 9 --threads 2]; needs the build, scripts/fetch-text and a converted model.
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = fileURLToPath(new URL('../../', import.meta.url));
const load = (path) => import(join(root, 'dist', path));
const [
  { ObservedModel },
  { scanTexts, textWindows, tokenPieces },
  { buildPlan },
  { encodePlan },
  { loadAddon },
  { openModelDirectory },
  { Tokenizer },
] = await Promise.all(
  [
    'calibrate/observe.js',
    'calibrate/text.js',
    'models/index.js',
    'graph/index.js',
    'native/loader.js',
    'runtime/model-dir.js',
    'runtime/tokenizer.js',
  ].map(load),
);

const BAR = 1.5;
const WINDOW = 256;
const cache = resolve(root, process.env.LUTRA_CACHE || '.cache');
const { values: flags } = parseArgs({
  options: {
    model: { type: 'string', default: join(cache, 'models/smollm2-135m') },
    text: { type: 'string', default: join(cache, 'text/lcet10.txt') },
    rounds: { type: 'string', default: '9' },
    threads: { type: 'string', default: String(loadAddon().cpuInfo().bigCores) },
  },
});

const { path, spec: found, cpu } = await openModelDirectory(flags.model);
const spec = { ...found, transform: 'none', linears: {} };
const tokenizer = await Tokenizer.load(path);
const common = { files: [cpu.path], threads: Number(flags.threads) };
const observed = await ObservedModel.open({ ...common, spec, linears: {}, calibrate: 'inputs', windowTokens: WINDOW, addon: loadAddon() });
const plan = encodePlan(buildPlan(spec, { mode: 'reference', contextSize: WINDOW, chunk: WINDOW }));
const plain = await loadAddon().openEngine({ ...common, plan, npu: { kind: 'none' } });

async function forward(tokens) {
  plain.truncate(0);
  await plain.prefill(tokens, 'none', 'cpu');
}

async function timed(run) {
  const start = performance.now();
  await run();
  return performance.now() - start;
}

const times = { float: [], observed: [] };
let round = -1; // the first one is for caches
for await (const { tokens } of textWindows(
  tokenPieces(await scanTexts([flags.text]), (text) => tokenizer.encode(text)),
  WINDOW,
)) {
  const float = await timed(() => forward(tokens));
  const both = await timed(() => observed.run(tokens));
  if (++round === 0) continue;
  times.float.push(float);
  times.observed.push(both);
  if (round >= Number(flags.rounds)) break;
}
await Promise.all([plain.dispose(), observed.dispose()]);

const at = (list, share) => [...list].sort((a, b) => a - b)[Math.floor((list.length - 1) * share)];
for (const [name, list] of Object.entries(times)) {
  console.log(`${name.padEnd(9)} median ${at(list, 0.5).toFixed(0)} ms a window of ${WINDOW}, p10 ${at(list, 0.1).toFixed(0)} ms`);
}
const ratio = at(times.observed, 0.5) / at(times.float, 0.5);
console.log(
  `ratio of medians ${ratio.toFixed(3)}, of p10 ${(at(times.observed, 0.1) / at(times.float, 0.1)).toFixed(3)}; bar ${BAR}; ${flags.threads} threads`,
);
if (ratio > BAR) process.exitCode = 1;
