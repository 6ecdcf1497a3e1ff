/** Lifetimes of models and sessions: disposal, garbage collection, and processes that end while something runs. Each in a process of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { loadModel } from '../../lib/runtime/model.js';
import { type Ended, type ScriptOptions, script } from './child.js';
import { qnnLibrary, root as repository, SOC } from './helpers.js';
import { makeTiny, type TinyModelFiles } from './tiny.js';

const CONTEXT = 8192;
const LIBRARIES = [
  { name: 'the host NPU', npu: 'host' },
  { name: "Qualcomm's runtime", npu: { library: qnnLibrary, soc: SOC } },
];

let root: string;
let files: TinyModelFiles;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-lifetime-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3, storages: ['q4_1', 'q8_0'], tied: false });
});
afterAll(() => rm(root, { recursive: true, force: true }));

const url = (file: string) => JSON.stringify(pathToFileURL(join(repository, file)));

/** Runs `body` after a prelude that loads the model and knows what the process holds. */
function run(npu: unknown, body: string, options?: ScriptOptions): Promise<Ended> {
  const prelude = `
    import { readdirSync, readFileSync } from 'node:fs';
    import { setTimeout as sleep } from 'node:timers/promises';
    import { loadModel } from ${url('dist/index.js')};
    const load = (options) => loadModel(${JSON.stringify(files.directory)},
      { npu: ${JSON.stringify(npu)}, contextSize: ${CONTEXT}, threads: 2, cache: ${JSON.stringify(join(root, 'cache'))}, ...options });
    const long = new Array(8000).fill(9);
    const codes = [];
    const code = (promise) => promise.then(() => 'done', (error) => error.code ?? String(error));
    const read = async (generation) => { for await (const _ of generation); };
    // Every engine maps the weights.
    const engines = () => readFileSync('/proc/self/maps', 'utf8').split('\\n').filter((line) => line.endsWith('/cpu.safetensors')).length;
    const held = () => ({ engines: engines(), threads: readdirSync('/proc/self/task').length, files: readdirSync('/proc/self/fd').length,
      mb: process.memoryUsage.rss() / 2 ** 20 });
    async function collect() { for (let i = 0; i < 12; i++) { globalThis.gc?.(); await sleep(3); } }
    const say = (value) => console.log('said ' + JSON.stringify(value));
  `;
  return script(prelude + body, options);
}

/** What the script said; its process must have ended well. */
async function said<T>(npu: unknown, body: string, options?: ScriptOptions): Promise<T[]> {
  const { code, signal, stdout, stderr } = await run(npu, body, options);
  expect({ code, signal, errors: stderr.replace(/.*LIBNATIVE.*/g, '').trim() }).toEqual({ code: 0, signal: null, errors: '' });
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('said '))
    .map((line) => JSON.parse(line.slice(5)) as T);
}

describe.each(LIBRARIES)('$name', ({ npu }) => {
  it('disposal in the middle ends what runs with one error, and frees everything', async () => {
    const answers = await said<string | number>(
      npu,
      `
      const opening = await load();
      const opened = code(opening.createSession());
      await opening.dispose();
      say(await opened);
      const model = await load();
      const sessions = [await model.createSession(), await model.createSession(), await model.createSession()];
      // Its session opens when it is iterated: it counts as begun with its first token.
      const borrowed = model.generate([5], { ignoreEos: true })[Symbol.asyncIterator]();
      await borrowed.next();
      await sessions[2].generate([5, 6, 7], { ignoreEos: true })[Symbol.asyncIterator]().next();
      const calls = [code(sessions[0].prefill(long)), code(read(sessions[1].generate([5, 6, 7], { ignoreEos: true }))), code(read(borrowed))];
      await sleep(10);
      await model.dispose();
      for (const call of calls) say(await call);
      say(engines());`,
    );
    expect(answers).toEqual(['LUTRA_DISPOSED', 'LUTRA_ABORTED', 'LUTRA_ABORTED', 'LUTRA_ABORTED', 0]);
  });

  it.each([
    ['process.exit(7)', 7],
    ['process.exitCode = 7; await model.dispose()', 7],
    ["setTimeout(() => { throw new Error('thrown'); })", 1],
  ])('ends by %s in the middle of a prefill, of a generation, of loading', async (end, status) => {
    for (const work of ['session.prefill(long)', 'read(session.generate([5, 6, 7], { ignoreEos: true }))', 'model.createSession()']) {
      const { code, signal } = await run(
        npu,
        `const model = await load(), session = await model.createSession(); ${work}.catch(() => {}); await sleep(8); ${end};`,
      );
      expect([work, code, signal]).toEqual([work, status, null]);
    }
  });

  it('loads and disposes fifty times without growing', async () => {
    const [early, late] = await said<{ engines: number; threads: number; files: number; mb: number }>(
      npu,
      `
      process.stdout; // a file of its own, opened when it is first used
      for (let i = 0; i < 50; i++) {
        const model = await load({ contextSize: 512 });
        await model.generate([5, 6, 7], { maxTokens: 3, ignoreEos: true }).result();
        await model.dispose();
        if (i === 14 || i === 49) { await collect(); say(held()); }
      }`,
      { flags: ['--expose-gc'] },
    );
    expect(late!.engines).toBe(0);
    expect(late!.threads).toBeLessThanOrEqual(early!.threads);
    expect(late!.files).toBeLessThanOrEqual(early!.files);
    expect(late!.mb - early!.mb).toBeLessThan(24);
  });
});

describe('garbage', () => {
  it('what nobody refers to is freed, whether its model lives or not', async () => {
    const counts = await said<number>(
      'host',
      `
      const model = await load();
      await (async () => { for (let i = 0; i < 5; i++) await (await model.createSession()).prefill([5, 6]); })();
      await collect();
      say(engines());
      await (async () => { const other = await load(); await other.generate([5], { maxTokens: 3 }).result(); await other.createSession(); })();
      await collect();
      say(engines());`,
      { flags: ['--expose-gc'] },
    );
    expect(counts).toEqual([0, 0]);
  });
});

describe('late signals and the event loop', () => {
  it('an abort that comes after the disposal does nothing', async () => {
    const answers = await said<string>(
      'host',
      `
      const model = await load(), session = await model.createSession();
      const abort = new AbortController();
      const calls = [code(session.prefill(long, { signal: abort.signal }))];
      const gone = session.dispose();
      abort.abort();
      await gone;
      for (const call of calls) say(await call);`,
    );
    expect(answers).toEqual(['LUTRA_ABORTED']);
  });

  it('a stopped generation whose tokens wait unread keeps the process until it has settled', async () => {
    const answers = await said<string>(
      'host',
      `
      const model = await load(), session = await model.createSession();
      for (let i = 0; i < 40; i++) {
        const events = session.generate([5, 6, 7], { ignoreEos: true })[Symbol.asyncIterator]();
        await events.next();
        // The native loop runs ahead meanwhile; its tokens are on their way when it is stopped.
        const end = performance.now() + (i % 8);
        while (performance.now() < end);
        await events.return();
        session.reset();
      }
      say('settled');`,
    );
    expect(answers).toEqual(['settled']);
  });

  it('questions are answered while a call is under way', async () => {
    const answers = await said<number>(
      'host',
      `
      const model = await load(), session = await model.createSession();
      await session.prefill([5, 6, 7]);
      const call = session.prefill(long.slice(1000), { logits: 'none' });
      say(session.timings().prefillTokens);
      await call;
      say(session.timings().prefillTokens);`,
    );
    expect(answers).toEqual([3, 7000]);
  });
});

describe('SIGINT', () => {
  it.each(['session.prefill(long)', 'read(session.generate([5, 6, 7], { ignoreEos: true }))'])(
    'ends the process in the middle of %s',
    async (work) => {
      const { signal, stderr } = await run(
        'host',
        `const model = await load(), session = await model.createSession(); const call = ${work}; await sleep(5); console.log('busy'); await call;`,
        { kill: 'SIGINT' },
      );
      expect([signal, stderr]).toEqual(['SIGINT', '']);
    },
  );

  it('in the middle of a conversion leaves the model that was there', async () => {
    const output = JSON.stringify(files.directory);
    const { signal } = await script(
      `
      import { convertModel } from ${url('dist/convert/index.js')};
      import { loadAddon } from ${url('dist/native/loader.js')};
      const convert = () => convertModel({ input: ${JSON.stringify(files.path)}, output: ${output}, addon: loadAddon(), precision: null, chunk: 8, threads: 1 });
      await convert();
      console.log('busy');
      for (;;) await convert();`,
      { kill: 'SIGINT' },
    );
    expect(signal).toBe('SIGINT');
    const model = await loadModel(files.directory, { npu: 'none', contextSize: 64 });
    expect((await model.generate([5, 6], { maxTokens: 3, ignoreEos: true }).result()).tokens).toHaveLength(3);
    await model.dispose();
  });
});
