/** What the public API makes of an NPU library that fails, hangs, crashes or computes nonsense. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { loadModel, type Model } from '../../lib/runtime/model.js';
import { compileFaulty, FaultyLibrary } from './faulty.js';
import { root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

const entry = pathToFileURL(join(repository, 'dist/index.js')).href;
const PROMPT = tinyTokens(1, 20);

let root: string;
let files: TinyModelFiles;
let compiled: string;
let expected: number[];
let copies = 0;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-faults-'));
  compiled = compileFaulty(root);
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
  const host = await loadModel(files.directory, { npu: 'host', contextSize: 64, threads: 1 });
  expected = await generated(host);
  await host.dispose();
});
afterAll(() => rm(root, { recursive: true, force: true }));

function faulty(...faults: string[]): FaultyLibrary {
  return new FaultyLibrary(compiled, join(root, `library${copies++}`), faults);
}

function load(library: FaultyLibrary, options: { npuTimeoutMs?: number } = {}): Promise<Model> {
  return loadModel(files.directory, {
    npu: { library: library.path },
    contextSize: 64,
    threads: 1,
    cache: join(root, 'cache'),
    ...options,
  });
}

async function generated(model: Model): Promise<number[]> {
  return (await model.generate(PROMPT, { maxTokens: 8, ignoreEos: true }).result()).tokens;
}

/** Node is alive and so is the engine: the same prompt without this library. */
async function expectHostWorks(): Promise<void> {
  const host = await loadModel(files.directory, { npu: 'host', contextSize: 64, threads: 1 });
  expect(await generated(host)).toEqual(expected);
  await host.dispose();
}

describe('a call that does not return', () => {
  it('in a prefill: the request rejects, the session is lost, everything else goes on', async () => {
    const library = faulty();
    const model = await load(library, { npuTimeoutMs: 150 });
    const session = await model.createSession();
    await session.prefill(PROMPT, { logits: 'none' });
    library.set([`hang graphExecute ${library.calls('graphExecute') + 2} 0`]);
    const start = performance.now();
    await expect(session.prefill(PROMPT)).rejects.toMatchObject({
      code: 'LUTRA_NPU_HUNG',
      message: expect.stringMatching(/graphExecute of segment 1/),
    });
    expect(performance.now() - start).toBeLessThan(5000);
    expect(session.tokens).toEqual(PROMPT);
    await expect(session.prefill(PROMPT)).rejects.toMatchObject({ code: 'LUTRA_NPU_HUNG' });
    await expectHostWorks();
    await model.dispose();
    await expectHostWorks();
    // The call comes back after all: what was left behind is freed.
    library.set([]);
    await expect.poll(() => library.live(), { timeout: 5000 }).toEqual({ log: 0, backend: 0, device: 0, context: 0 });
  });

  it('while the session is disposed of: disposal resolves', async () => {
    const library = faulty();
    const model = await load(library, { npuTimeoutMs: 100 });
    const session = await model.createSession();
    await session.prefill(PROMPT);
    library.set(['hang contextFree 1 0']);
    const start = performance.now();
    await session.dispose();
    expect(performance.now() - start).toBeGreaterThan(900);
    expect(performance.now() - start).toBeLessThan(5000);
    await expectHostWorks();
    library.set([]);
    await expect.poll(() => library.live(), { timeout: 5000 }).toEqual({ log: 0, backend: 0, device: 0, context: 0 });
  });

  it.each([
    ['by itself', 'await session.prefill([5, 6, 7]).catch((error) => console.log(error.code)); await model.dispose();', 0],
    ['though nobody disposed', 'await session.prefill([5, 6, 7]).catch((error) => console.log(error.code));', 0],
    [
      'by process.exit while the call is under way',
      "session.prefill([5, 6, 7]); setTimeout(() => process.exit(7), 100); console.log('LUTRA_NPU_HUNG');",
      7,
    ],
  ])('lets the process end %s', async (_how, code, exitCode) => {
    const library = faulty('hang graphExecute 1 0');
    const source = `import { loadModel } from ${JSON.stringify(entry)};
      const model = await loadModel(${JSON.stringify(files.directory)}, { npu: { library: ${JSON.stringify(library.path)} }, contextSize: 64, threads: 1, cache: false, npuTimeoutMs: 150 });
      const session = await model.createSession();
      ${code}`;
    const start = performance.now();
    const ended = await new Promise((done) => {
      execFile(process.execPath, ['--input-type=module', '-e', source], { timeout: 30_000 }, (error, stdout, stderr) =>
        done({ code: error ? (error.code ?? error.signal ?? null) : 0, stdout, stderr }),
      );
    });
    expect(ended).toEqual({ code: exitCode, stdout: 'LUTRA_NPU_HUNG\n', stderr: '' });
    expect(performance.now() - start).toBeLessThan(15_000);
  });
});
