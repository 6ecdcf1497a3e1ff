// lutra in a process of its own for the end-to-end benchmark; the same protocol as tests/oracle/worker.mjs.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { loadModel } from '../../dist/index.js';

let session;

const handlers = {
  /** Bytes of its weights. */
  async open({ path, threads, contextSize, options = { npu: 'host' } }) {
    const model = await loadModel(path, { threads, contextSize, ...options });
    session = await model.createSession();
    return session.info().bytes.weights;
  },
  /** Times of a prefill (until the first token is there) and of the decoding that follows, in milliseconds. */
  async time({ tokens, count }) {
    session.reset();
    const start = performance.now();
    const events = session.generate(tokens, { maxTokens: count + 1, ignoreEos: true, temperature: 0 })[Symbol.asyncIterator]();
    await events.next();
    const filled = performance.now();
    for (let i = 0; i < count; i++) await events.next();
    const end = performance.now();
    await events.return();
    return { prefillMs: filled - start, decodeMs: end - filled };
  },
  /** Empties the context and fills it. */
  async fill({ tokens }) {
    session.reset();
    await session.prefill(tokens);
  },
  /** Empties the context, fills it, and says what that took. */
  async prefill({ tokens }) {
    session.reset();
    await session.prefill(tokens, { logits: 'none' });
    return session.timings();
  },
  /** Empties the context, fills it, and says what of this process is resident, and of its mapping of a file, in bytes; and what the logits were. */
  async resident({ tokens, file }) {
    session.reset();
    await session.prefill(tokens, { logits: 'none' });
    const kilobytes = (text, name) =>
      [...text.matchAll(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'gm'))].reduce((sum, [, kb]) => sum + 1024 * kb, 0);
    const total = readFileSync('/proc/self/smaps_rollup', 'utf8');
    const mappings = readFileSync('/proc/self/smaps', 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
    const memory = {
      rss: kilobytes(total, 'Rss'),
      pss: kilobytes(total, 'Pss'),
      peak: kilobytes(readFileSync('/proc/self/status', 'utf8'), 'VmHWM'),
      mapped: kilobytes(mappings.filter((mapping) => mapping.split('\n')[0].endsWith(file)).join('\n'), 'Rss'),
      bytes: session.info().bytes,
      timings: session.timings(),
    };
    session.reset();
    const logits = await session.prefill(tokens, { logits: 'all' });
    return { ...memory, logits: createHash('sha256').update(logits).digest('hex') };
  },
  /** Milliseconds of `count` tokens that follow the first `length` and `token`. */
  async decode({ length, token, count }) {
    session.truncate(length);
    const events = session.generate([token], { maxTokens: count + 1, ignoreEos: true, temperature: 0 })[Symbol.asyncIterator]();
    await events.next();
    const start = performance.now();
    for (let i = 0; i < count; i++) await events.next();
    const ms = performance.now() - start;
    await events.return();
    return ms;
  },
};

process.on('message', async ({ id, method, params }) => {
  try {
    process.send({ id, result: await handlers[method](params) });
  } catch (error) {
    process.send({ id, error: String(error?.stack ?? error) });
  }
});
process.on('disconnect', () => process.exit(0));
