// Decoding beside a busy loop on one core: two threads must not be slower than one, because the slower one's work is taken over.
// Usage: npm run --silent bench:busy -- [--json] [--rounds 15] [--model DIR] [--core 1]; wants taskset. Fails below the bar.
import { spawn } from 'node:child_process';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { cache, counts, median, need, progress, start } from './contenders.mjs';

const TOKENS = 64;
const PROMPT = Array.from({ length: 16 }, (_, i) => 100 + i);
/** Two threads beside the loop, as a share of one thread beside it. */
const BAR = 0.9;

const { values: flags } = parseArgs({
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '15' },
    core: { type: 'string', default: '1' },
    model: { type: 'string', default: join(cache, 'models', 'smollm2-135m') },
  },
});
const [rounds] = counts('rounds', flags.rounds);
need(flags.model);

/** Runs `work` while a process of its own spins on the core. */
async function besideLoop(work) {
  const loop = spawn('taskset', ['-c', flags.core, process.execPath, '-e', 'for (;;);'], { stdio: ['ignore', 'ignore', 'inherit'] });
  await new Promise((done, reject) => {
    loop.once('spawn', done);
    loop.once('error', (e) => reject(new Error(`taskset, of Debian's util-linux, cannot run: ${e.message}`)));
  });
  try {
    return await work();
  } finally {
    loop.kill('SIGKILL');
  }
}

const sessions = [1, 2].map((threads) => ({ threads, ...start('lutra'), alone: [], beside: [] }));
for (const { threads, call } of sessions) {
  await call('open', { path: flags.model, threads, contextSize: 256, options: { npu: 'none' } });
  await call('time', { tokens: PROMPT, count: TOKENS }); // warm
}
const speed = async ({ call }) => (1000 * TOKENS) / (await call('time', { tokens: PROMPT, count: TOKENS })).decodeMs;
for (let round = 0; round < rounds; round++) {
  progress(`round ${round + 1} of ${rounds}`);
  // The order turns from round to round, so that nobody always follows the same neighbour.
  const order = round % 2 === 0 ? sessions : [...sessions].reverse();
  for (const one of order) one.alone.push(await speed(one));
  await besideLoop(async () => {
    for (const one of order) one.beside.push(await speed(one));
  });
}
progress('');
for (const { close } of sessions) close();

const [one, two] = sessions;
const rows = sessions.flatMap(({ threads, alone, beside }) => [
  { threads, loop: false, tokensPerSecond: median(alone) },
  { threads, loop: true, tokensPerSecond: median(beside) },
]);
const ratio = median(two.beside.map((value, round) => value / one.beside[round]));
if (flags.json) console.log(JSON.stringify({ cpu: cpus()[0]?.model, rounds, rows, ratio, bar: BAR }));
else {
  for (const { threads, loop, tokensPerSecond } of rows) {
    console.log(`${threads} threads, ${loop ? 'beside a busy loop' : 'alone'}: ${tokensPerSecond.toFixed(1)} tokens/s`);
  }
  console.log(`2 threads ÷ 1 thread beside a busy loop: ${ratio.toFixed(2)} (bar ${BAR})`);
}
process.exitCode = ratio >= BAR ? 0 : 1;
