// What the end-to-end benchmarks share: engines in processes of their own, and figures of samples.
import { fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('../../', import.meta.url));
export const cache = resolve(root, process.env.LUTRA_CACHE || '.cache');
export const gguf = join(cache, 'gguf', 'SmolLM2-135M-Instruct.Q4_1.gguf');
export const WORKERS = { lutra: 'tests/bench/lutra-worker.mjs', 'node-llama-cpp': 'tests/oracle/worker.mjs' };

/** Ends the benchmark with one line when a file is missing. */
export function need(path) {
  if (existsSync(path)) return;
  console.error(`bench: ${path} is missing: run scripts/test`);
  process.exit(1);
}

/** A child process that answers one request at a time. */
export function start(engine) {
  const child = fork(join(root, WORKERS[engine]), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  let waiting;
  let id = 0;
  child.on('message', ({ result, error }) => (error === undefined ? waiting.resolve(result) : waiting.reject(new Error(error))));
  child.on('exit', (code) => waiting?.reject(new Error(`${engine} ended with code ${code}`)));
  return {
    call: (method, params) =>
      new Promise((done, reject) => {
        waiting = { resolve: done, reject };
        child.send({ id: id++, method, params });
      }),
    close: () => child.disconnect(),
  };
}

/** Value below which a share of the samples lies. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  return sorted[below] + (at - below) * (sorted[Math.ceil(at)] - sorted[below]);
}

export const median = (values) => quantile(values, 0.5);

/** Lists of counts on the command line, or the end with one line. */
export function counts(name, text) {
  const values = text.split(',').map(Number);
  if (values.every((n) => Number.isInteger(n) && n >= 1)) return values;
  console.error(`bench: --${name} needs a list of counts, not '${text}'`);
  process.exit(2);
}

export function progress(line) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
}
