/**
 * Random schedules of generate, abort, dispose and terminate on a tiny model.
 *
 *   node --expose-gc tests/stress/sessions.mjs DIRECTORY [--schedules 200] [--seed 1] [--first 0] [--workers 0.1]
 *
 * `--first`: number of the first schedule, to begin with one that failed; `--workers`: share of schedules with worker threads that are terminated. Prints one JSON
 * object; a schedule that is not as it should be ends the process with code 1 and its number on standard error, one that hangs with code 3, one that nothing keeps alive with 13. LUTRA_PREBUILD
 * chooses the addon.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Worker } from 'node:worker_threads';
import * as lutra from '../../dist/index.js';
import { Random } from './random.mjs';
import { counters, expectations, runSchedule } from './schedule.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    schedules: { type: 'string', default: '200' },
    seed: { type: 'string', default: '1' },
    first: { type: 'string', default: '0' },
    workers: { type: 'string', default: '0.1' },
  },
});
const directory = positionals[0];
const [schedules, seed, first, share] = [values.schedules, values.seed, values.first, values.workers].map(Number);
const every = Math.round(1 / share); // schedules from one with workers to the next
const CONTEXT = 512;
const PATIENCE_MS = 120_000;
const MODES = ['start', 'load', 'prefill', 'decode', 'unread', 'slow', 'dispose', 'mixed', 'exit'];

const counts = counters();
const turn = () => new Promise((resolve) => setTimeout(resolve, 1));

/** Native engines alive in this process: each maps the weights of its model. */
function engines() {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith('/cpu.safetensors')).length;
}

/** Pipes, events and the like. Not files: Node itself loses the one that a terminated worker was just opening, as any `fs.promises.open` in a worker shows. */
function descriptors() {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return !readlinkSync(`/proc/self/fd/${fd}`).startsWith('/');
    } catch {
      return false; // the one that lists the directory
    }
  }).length;
}

const resources = () => ({
  engines: engines(),
  threads: readdirSync('/proc/self/task').length,
  descriptors: descriptors(),
  rssBytes: process.memoryUsage.rss(),
});

const options = (random) => ({ npu: random.chance(0.8) ? 'host' : 'none', contextSize: CONTEXT, threads: 1 + random.below(3) });

/** A worker in one of its modes, terminated (or ending by itself) at a random moment. */
async function terminated(random) {
  counts.workers++;
  const mode = random.pick(MODES);
  const workerData = { directory, mode: mode === 'start' ? 'load' : mode, seed: random.below(2 ** 32), options: options(random) };
  const worker = new Worker(new URL('./worker.mjs', import.meta.url), { workerData });
  const failed = new Promise((_, reject) => worker.once('error', reject));
  const ended = new Promise((resolve) => worker.once('exit', resolve));
  if (mode === 'exit') return assert.equal(await Promise.race([ended, failed]), 7);
  if (mode === 'start') await random.pause(100);
  else await Promise.race([new Promise((resolve) => worker.once('message', resolve)), failed]);
  await random.pause(20);
  const code = await Promise.race([worker.terminate(), failed]);
  if (code === undefined) return assert.equal(await ended, 0); // it had ended by itself
  assert.ok(code === 1 || (code === 0 && mode === 'start'), `a worker in mode ${mode} ended with ${code}`);
}

/** Frees what nobody holds. */
async function collect() {
  for (let i = 0; i < 20; i++) {
    globalThis.gc();
    await turn();
  }
}

/** Models that live for many schedules, and what they say when nobody disturbs them. */
async function open(npu) {
  const model = await lutra.loadModel(directory, { npu, contextSize: CONTEXT, threads: 2 });
  return { lutra, model, npu, expected: await expectations(model, new Random(9)), counts, own: false };
}

// The first model starts threads of Node's own.
await (await open('host')).model.dispose();
await collect();
const before = resources();
const shared = [await open('host'), await open('none')];

async function world(random) {
  if (!random.chance(0.25)) return random.pick(shared);
  const chosen = options(random);
  const { expected } = shared.find((one) => one.npu === chosen.npu);
  return { lutra, model: await lutra.loadModel(directory, chosen), expected, counts, own: true };
}

let at = first;
const began = performance.now();
const watchdog = { at, since: began };
setInterval(() => {
  if (watchdog.at !== at) Object.assign(watchdog, { at, since: performance.now() });
  if (performance.now() - watchdog.since < PATIENCE_MS) return;
  console.error(`schedule ${at} of seed ${seed} hangs`);
  process.exit(3);
}, 1000).unref();

// Node ends with 13, without a word, when a promise is awaited and nothing is left that could settle it.
process.on('exit', (code) => {
  if (code === 13) console.error(`schedule ${at} of seed ${seed} waits for something that keeps no process alive`);
});

let early;
for (; at < first + schedules; at++) {
  const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(at + 1, 0x85ebca6b));
  try {
    const parts = [world(random).then((chosen) => runSchedule(chosen, random.fork()))];
    if ((at + 1) % every === 0) for (let i = 1 + random.below(2); i > 0; i--) parts.push(terminated(random.fork()));
    await Promise.all(parts);
  } catch (error) {
    console.error(`schedule ${at} of seed ${seed} failed:`, error);
    process.exit(1);
  }
  if (at % 8 === 0) {
    globalThis.gc();
    await turn();
  }
  // The first third fills allocators and caches.
  if (at === first + Math.floor(schedules / 3)) early = resources();
}

for (const { model } of shared) await model.dispose();
await collect();
const seconds = Math.round((performance.now() - began) / 1000);
console.log(JSON.stringify({ schedules, seed, seconds, ...counts, before, early, late: resources() }));
