// Decoding of SmolLM2 by lutra and by node-llama-cpp, interleaved, beside a plain read of memory: tokens a second, and the share of what memory allows.
// Usage: npm run --silent bench:decode -- [--json] [--rounds 15] [--threads 1,2] [--contexts 128,2048]
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadAddon } from '../../dist/native/loader.js';
import { inspectModel } from '../../dist/runtime/inspect.js';
import { Tokenizer } from '../../dist/runtime/tokenizer.js';
import { writeQ40Gguf } from '../oracle/gguf.mjs';
import { cache, counts, gguf, median, need, progress, quantile, root, start } from './contenders.mjs';

const TOKENS = 32;
/** Below this on one thread node-llama-cpp is not itself on this machine, and a ratio says nothing. */
const PEER_FLOOR = 130;
const READ_BYTES = 8 * 2 ** 20;
const READS = 8;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '15' },
    threads: { type: 'string', default: '1,2' },
    contexts: { type: 'string', default: '128,2048' },
  },
});
const [rounds] = counts('rounds', flags.rounds);

const model = join(cache, 'models', 'smollm2-135m');
const q40 = join(cache, 'bench', 'SmolLM2-135M-Instruct.Q4_0.gguf');
for (const path of [gguf, model]) need(path);
mkdirSync(join(cache, 'bench'), { recursive: true });
if (!existsSync(q40)) await writeQ40Gguf(gguf, q40);
/** The same with a smaller lm_head; made again when the converter has changed. */
const smallHead = join(cache, 'models', 'smollm2-135m-head-w4g32');
if (
  spawnSync(process.execPath, [join(root, 'scripts/lib/models.mjs'), 'smollm2-135m-head-w4g32'], { stdio: ['ignore', 2, 2] }).status !== 0
)
  process.exit(1);

const contenders = [
  { engine: 'lutra', weights: 'Q4_1', path: model, kv: 'f16' },
  { engine: 'lutra', weights: 'Q4_1', path: model, kv: 'int8' },
  { engine: 'lutra', weights: 'Q4_1, lm_head w4g32', path: smallHead, kv: 'f16' },
  { engine: 'node-llama-cpp', weights: 'Q4_1', path: gguf, kv: 'f16' },
  { engine: 'node-llama-cpp', weights: 'Q4_0', path: q40, kv: 'f16' },
];
const { kvBytesPerToken } = await inspectModel(model);
const kernels = loadAddon().kernels;
const arena = kernels.arena(1024);

/** Milliseconds a token of every contender, and bytes a millisecond of plain reads. */
async function measure(threads, tokens) {
  const running = contenders.map(({ engine }) => start(engine));
  const bytes = [];
  const length = tokens.length - 1;
  for (const [i, { call }] of running.entries()) {
    const { path, kv, engine } = contenders[i];
    const options = engine === 'lutra' ? { options: { npu: 'none', kv } } : { kv: 'F16' };
    bytes.push(await call('open', { path, threads, contextSize: tokens.length + TOKENS + 8, ...options }));
    await call('fill', { tokens: tokens.slice(0, length) });
  }
  const samples = contenders.map(() => []);
  const reads = new Map();
  for (let round = 0; round < rounds; round++) {
    progress(`${threads} threads, context ${tokens.length}: round ${round + 1} of ${rounds}`);
    // The order turns from round to round, so that nobody always follows the same neighbour.
    for (let i = 0; i < running.length; i++) {
      const which = (i + round) % running.length;
      samples[which].push((await running[which].call('decode', { length, token: tokens[length], count: TOKENS })) / TOKENS);
    }
    for (const { name, us } of kernels.timeReads(arena, READ_BYTES, threads, READS)) reads.set(name, [...(reads.get(name) ?? []), ...us]);
  }
  for (const { close } of running) close();
  const line = Math.max(...[...reads.values()].map((us) => READ_BYTES / (quantile(us, 0.1) / 1000)));
  return { samples, bytes, line };
}

const tokenizer = await Tokenizer.load(model);
const text = tokenizer.encode(await readFile(join(cache, 'text', 'alice29.txt'), 'utf8'));
const rows = [];
const ratios = [];
for (const threads of counts('threads', flags.threads)) {
  for (const context of counts('contexts', flags.contexts)) {
    const { samples, bytes, line } = await measure(threads, text.slice(1000, 1000 + context));
    const group = contenders.map(({ engine, weights, kv }, i) => {
      const ms = quantile(samples[i], 0.1);
      // Every weight once, keys and values of the context as it grows.
      const touched = engine === 'lutra' ? bytes[i] + (context + TOKENS / 2) * kvBytesPerToken[kv] : undefined;
      return {
        engine,
        weights,
        kv,
        threads,
        context,
        tokensPerSecond: 1000 / ms,
        medianTokensPerSecond: 1000 / median(samples[i]),
        readLineGbPerSecond: line / 1e6,
        lineShare: touched === undefined ? null : touched / ms / line,
      };
    });
    rows.push(...group);
    for (const ours of group.filter(({ engine }) => engine === 'lutra')) {
      for (const peer of group.filter(({ engine }) => engine !== 'lutra')) {
        ratios.push({
          weights: ours.weights,
          kv: ours.kv,
          peer: peer.weights,
          threads,
          context,
          ratio: ours.tokensPerSecond / peer.tokensPerSecond,
        });
      }
    }
  }
}
progress('');
kernels.dropArena(arena);
const peer = rows.find(({ engine, threads, context }) => engine === 'node-llama-cpp' && threads === 1 && context <= 128);
const valid = peer === undefined || peer.tokensPerSecond >= PEER_FLOOR;
if (flags.json) console.log(JSON.stringify({ cpu: cpus()[0]?.model, rounds, valid, rows, ratios }));
else {
  for (const row of rows) {
    const share =
      row.lineShare === null ? '' : `, ${(100 * row.lineShare).toFixed(0)} % of the read line (${row.readLineGbPerSecond.toFixed(1)} GB/s)`;
    console.log(
      `${row.engine.padEnd(15)} ${row.weights.padEnd(20)} KV ${row.kv.padEnd(4)} ${row.threads} threads, context ${String(row.context).padStart(4)}: ${row.tokensPerSecond.toFixed(1).padStart(6)} tokens/s, median ${row.medianTokensPerSecond.toFixed(1).padStart(6)}${share}`,
    );
  }
  for (const { weights, kv, peer: other, threads, context, ratio } of ratios)
    console.log(`lutra ${weights}, KV ${kv} ÷ node-llama-cpp ${other}, ${threads} threads, context ${context}: ${ratio.toFixed(2)}`);
  if (!valid) console.log(`void: node-llama-cpp reached less than ${PEER_FLOOR} tokens/s on 1 thread`);
}
