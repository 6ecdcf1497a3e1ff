// lutra against node-llama-cpp 3.22.1 on the same GGUF, interleaved: whatever else the machine does hits both.
// Usage: npm run --silent bench:e2e -- [--json] [--pairs 9] [--threads 1,2]
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Tokenizer } from '../../dist/runtime/tokenizer.js';

const PREFILL = 512;
const DECODE = 64;
/** Below this node-llama-cpp is not itself on this machine, and a ratio says nothing. */
const LLAMA_PREFILL_FLOOR = 200;

const root = fileURLToPath(new URL('../../', import.meta.url));
const cache = resolve(root, process.env.LUTRA_CACHE || '.cache');
const { values: flags } = parseArgs({
  options: { json: { type: 'boolean' }, pairs: { type: 'string', default: '9' }, threads: { type: 'string', default: '1,2' } },
});
const pairs = Number(flags.pairs);
const threadCounts = flags.threads.split(',').map(Number);
if (!(Number.isInteger(pairs) && pairs >= 1) || !threadCounts.every((n) => Number.isInteger(n) && n >= 1)) {
  console.error('bench: --pairs needs a count, --threads a list of counts');
  process.exit(2);
}

const gguf = join(cache, 'gguf', 'SmolLM2-135M-Instruct.Q4_1.gguf');
const contenders = [
  { engine: 'lutra', precision: 'default', worker: 'tests/bench/lutra-worker.mjs', path: join(cache, 'models', 'smollm2-135m') },
  { engine: 'lutra', precision: 'w8a8', worker: 'tests/bench/lutra-worker.mjs', path: join(cache, 'models', 'smollm2-135m-naive') },
  { engine: 'node-llama-cpp', precision: 'q4_1', worker: 'tests/oracle/worker.mjs', path: gguf },
];
for (const { path } of contenders) {
  if (!existsSync(path)) {
    console.error(`bench: ${path} is missing: run scripts/test`);
    process.exit(1);
  }
}

/** A child process that answers one request at a time. */
function start({ worker, path }, threads) {
  const child = fork(join(root, worker), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  let waiting;
  let id = 0;
  child.on('message', ({ result, error }) => (error === undefined ? waiting.resolve(result) : waiting.reject(new Error(error))));
  child.on('exit', (code) => waiting?.reject(new Error(`${worker} ended with code ${code}`)));
  const call = (method, params) =>
    new Promise((done, reject) => {
      waiting = { resolve: done, reject };
      child.send({ id: id++, method, params });
    });
  return {
    open: () => call('open', { path, threads, contextSize: 1024 }),
    time: (tokens) => call('time', { tokens, count: DECODE }),
    close: () => child.disconnect(),
  };
}

const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** Speeds of all contenders at one thread count: per contender and phase, one figure a round. */
async function measure(threads, tokens) {
  const engines = contenders.map((contender) => start(contender, threads));
  const speeds = contenders.map(() => ({ prefill: [], decode: [] }));
  for (const engine of engines) await engine.open();
  for (const engine of engines) await engine.time(tokens); // warm
  for (let round = 0; round < pairs; round++) {
    // The order turns from round to round, so that nobody always follows the same neighbour.
    for (let i = 0; i < engines.length; i++) {
      const which = (i + round) % engines.length;
      const { prefillMs, decodeMs } = await engines[which].time(tokens);
      speeds[which].prefill.push((1000 * tokens.length) / prefillMs);
      speeds[which].decode.push((1000 * DECODE) / decodeMs);
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${threads} threads: round ${round + 1} of ${pairs} `);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  for (const engine of engines) engine.close();
  return speeds;
}

const tokenizer = await Tokenizer.load(contenders[0].path);
const text = await readFile(join(cache, 'text', 'alice29.txt'), 'utf8');
const tokens = tokenizer.encode(text.slice(4000, 12000)).slice(0, PREFILL);

const rows = [];
const ratios = [];
for (const threads of threadCounts) {
  const speeds = await measure(threads, tokens);
  const llama = speeds.at(-1);
  for (const phase of ['prefill', 'decode']) {
    contenders.forEach(({ engine, precision }, i) => {
      const tokensPerSecond = median(speeds[i][phase]);
      rows.push({ engine, threads, phase, tokens: phase === 'prefill' ? PREFILL : DECODE, tokensPerSecond, precision });
      if (engine === 'lutra')
        ratios.push({ precision, threads, phase, ratio: median(speeds[i][phase].map((speed, round) => speed / llama[phase][round])) });
    });
  }
}
const floor = rows.find((row) => row.engine === 'node-llama-cpp' && row.phase === 'prefill' && row.threads === 1);
const valid = floor === undefined || floor.tokensPerSecond >= LLAMA_PREFILL_FLOOR;
if (flags.json) console.log(JSON.stringify({ cpu: cpus()[0]?.model, pairs, valid, rows, ratios }));
else {
  for (const { engine, precision, threads, phase, tokens: count, tokensPerSecond } of rows) {
    console.log(
      `${engine.padEnd(15)} ${precision.padEnd(8)} ${threads} threads  ${phase.padEnd(8)} ${String(count).padStart(4)} tokens ${tokensPerSecond.toFixed(1).padStart(9)} tokens/s`,
    );
  }
  for (const { precision, threads, phase, ratio } of ratios)
    console.log(`lutra ${precision} ÷ node-llama-cpp, ${threads} threads, ${phase}: ${ratio.toFixed(2)}`);
  if (!valid) console.log(`void: node-llama-cpp reached less than ${LLAMA_PREFILL_FLOOR} tokens/s on 1 thread`);
}
