// lutra against node-llama-cpp 3.22.1 on the same GGUF, interleaved: whatever else the machine does hits both.
// Usage: npm run --silent bench:e2e -- [--json] [--pairs 9] [--threads 1,2] [--cpu DIR: that model on the CPU alone]
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Tokenizer } from '../../dist/runtime/tokenizer.js';
import { cache, counts, gguf, median, need, progress, start } from './contenders.mjs';

const PREFILL = 512;
const DECODE = 64;
/** Below this node-llama-cpp is not itself on this machine, and a ratio says nothing. */
const LLAMA_PREFILL_FLOOR = 200;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    pairs: { type: 'string', default: '9' },
    threads: { type: 'string', default: '1,2' },
    cpu: { type: 'string' },
  },
});
const [pairs] = counts('pairs', flags.pairs);
const threadCounts = counts('threads', flags.threads);

const ours =
  flags.cpu === undefined
    ? [
        { engine: 'lutra', precision: 'default', path: join(cache, 'models', 'smollm2-135m') },
        { engine: 'lutra', precision: 'w8a8', path: join(cache, 'models', 'smollm2-135m-naive') },
      ]
    : [{ engine: 'lutra', precision: 'cpu', path: flags.cpu, options: { npu: 'none' } }];
const contenders = [...ours, { engine: 'node-llama-cpp', precision: 'q4_1', path: gguf }];
for (const { path } of contenders) need(path);

/** Speeds of all contenders at one thread count: per contender and phase, one figure a round. */
async function measure(threads, tokens) {
  const engines = contenders.map(({ engine }) => start(engine));
  const speeds = contenders.map(() => ({ prefill: [], decode: [] }));
  for (const [i, { call }] of engines.entries())
    await call('open', { path: contenders[i].path, threads, contextSize: 1024, options: contenders[i].options });
  for (const { call } of engines) await call('time', { tokens, count: DECODE }); // warm
  for (let round = 0; round < pairs; round++) {
    // The order turns from round to round, so that nobody always follows the same neighbour.
    for (let i = 0; i < engines.length; i++) {
      const which = (i + round) % engines.length;
      const { prefillMs, decodeMs } = await engines[which].call('time', { tokens, count: DECODE });
      speeds[which].prefill.push((1000 * tokens.length) / prefillMs);
      speeds[which].decode.push((1000 * DECODE) / decodeMs);
    }
    progress(`${threads} threads: round ${round + 1} of ${pairs}`);
  }
  progress('');
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
