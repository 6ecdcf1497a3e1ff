/** A worker thread that is busy in one way until it is terminated, or that ends by itself in the middle of it. Says 'busy' once it is. */
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import * as lutra from '../../dist/index.js';
import { Random } from './random.mjs';
import { counters, expectations, runSchedule } from './schedule.mjs';

const { directory, mode, seed, options } = workerData;
const random = new Random(seed);
const busy = () => parentPort.postMessage('busy');
const prompt = Array.from({ length: 400 }, (_, i) => 3 + (i % 250));

const model = await lutra.loadModel(directory, options);

const modes = {
  async load() {
    busy();
    for (;;) (await model.createSession()).dispose();
  },
  async prefill() {
    const session = await model.createSession();
    busy();
    for (;;) {
      await session.prefill(prompt, { logits: 'none' });
      session.reset();
    }
  },
  async decode() {
    const session = await model.createSession();
    busy();
    for (;;) {
      await session.generate([5, 6, 7], { ignoreEos: true, maxTokens: 100 }).result();
      session.reset();
    }
  },
  async unread() {
    const session = await model.createSession();
    await session.generate([5, 6, 7], { ignoreEos: true })[Symbol.asyncIterator]().next();
    busy();
    await sleep(60_000);
  },
  async slow() {
    const session = await model.createSession();
    busy();
    for await (const _ of session.generate([5, 6, 7], { ignoreEos: true })) await random.pause(2);
  },
  async dispose() {
    busy();
    for (;;) {
      const session = await model.createSession();
      session.prefill(prompt).catch(() => {});
      await random.pause(2);
      await session.dispose();
    }
  },
  async mixed() {
    const expected = await expectations(model, random);
    busy();
    for (;;) await runSchedule({ lutra, model, expected, counts: counters(), own: false }, random.fork());
  },
  /** Ends with work under way. */
  async exit() {
    const session = await model.createSession();
    session.prefill(prompt).catch(() => {});
    busy();
    await random.pause(2);
    process.exit(7);
  },
};

await modes[mode]();
