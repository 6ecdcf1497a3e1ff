// lutra in a process of its own for the end-to-end benchmark; the same protocol as tests/oracle/worker.mjs.
import { loadModel } from '../../dist/index.js';

let session;

const handlers = {
  async open({ path, threads, contextSize }) {
    const model = await loadModel(path, { npu: 'host', threads, contextSize });
    session = await model.createSession();
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
};

process.on('message', async ({ id, method, params }) => {
  try {
    process.send({ id, result: await handlers[method](params) });
  } catch (error) {
    process.send({ id, error: String(error?.stack ?? error) });
  }
});
process.on('disconnect', () => process.exit(0));
