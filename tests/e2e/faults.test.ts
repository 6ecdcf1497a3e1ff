/** What the public API makes of an NPU library that fails, hangs, crashes or computes nonsense. */
import { execFile, execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { LutraError } from '../../lib/graph/errors.js';
import { type LoadOptions, loadModel, type Model } from '../../lib/runtime/model.js';
import { compileFaulty, FaultyLibrary, SLOT, type SlotName } from './faulty.js';
import { lutraJson, root as repository } from './helpers.js';
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
/** Threads, open files and memory of this process. */
const resources = () => ({
  threads: readdirSync('/proc/self/task').length,
  files: readdirSync('/proc/self/fd').length,
  megabytes: process.memoryUsage.rss() / 2 ** 20,
});
let before: ReturnType<typeof resources>;
beforeAll(() => {
  before = resources();
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
  const after = resources();
  expect(after.threads).toBeLessThanOrEqual(before.threads + 1);
  expect(after.files).toBeLessThanOrEqual(before.files + 2);
  // A hundred libraries that are never unloaded.
  expect(after.megabytes).toBeLessThan(before.megabytes + 100);
});

function faulty(...faults: string[]): FaultyLibrary {
  return new FaultyLibrary(compiled, join(root, `library${copies++}`), faults);
}

function load(library: FaultyLibrary, options: LoadOptions = {}): Promise<Model> {
  return loadModel(files.directory, {
    npu: { library: library.path },
    contextSize: 64,
    threads: 1,
    cache: join(root, 'cache'),
    ...options,
  });
}

/** Loads with the library named by the environment, which may fall back. */
async function loadAuto(library: FaultyLibrary, options: LoadOptions = {}): Promise<Model> {
  vi.stubEnv('LUTRA_QNN_LIBRARY', library.path);
  try {
    return await load(library, { ...options, npu: 'auto' });
  } finally {
    vi.unstubAllEnvs();
  }
}

/** What becomes of a call that must fail. */
async function failure(call: Promise<unknown>): Promise<LutraError> {
  const error = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof LutraError)) throw new Error(`expected a LutraError, got ${String(error)}`, { cause: error });
  expect(error.message.length).toBeGreaterThan(15);
  expect(error.remedy).not.toBe('');
  return error;
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

/** Everything that the self-test, loading and a prompt call. */
const SLOTS = Object.keys(SLOT).filter((name) => name !== 'backendGetSupportedOperations') as SlotName[];
const FREES: readonly string[] = ['contextFree', 'deviceFree', 'backendFree', 'logFree'];
/** Done without, or their failing comes too late to matter. */
const HARMLESS: readonly string[] = [
  ...FREES,
  'backendGetBuildId',
  'logCreate',
  'deviceGetInfrastructure',
  'contextGetBinarySize',
  'contextGetBinary',
  'contextCreateFromBinary',
  'graphRetrieve',
];

describe('a library that is unfit, at its first use', () => {
  const deaths = ['segv', 'abort', 'exit'];
  const crashes = SLOTS.map((slot, i) => ({ faults: [`crash ${slot} 1 ${deaths[i % 3]}`], says: 'it crashed' }));
  const hangs = ['backendCreate', 'graphFinalize', 'graphExecute', 'contextFree'].map((slot) => ({
    faults: [`hang ${slot} 1 0`],
    says: 'it hung',
  }));
  const numbers = ['noise', 'zeros', 'nan', 'stale', 'shift'].map((how) => ({
    faults: [`wrong ${how} 1 1000000`],
    says: 'it computed wrong numbers',
  }));
  const ops = [
    ['swap ElementWiseAdd ElementWiseSubtract'],
    ['swap ElementWiseMultiply ElementWiseAdd'],
    ['swap Sigmoid Tanh'],
    ['weights'],
    ['wrong stale 2 2'],
  ].map((faults) => ({ faults, says: 'it computed wrong numbers' }));
  const pointers = ['garbage provider', 'garbage build'].map((fault) => ({ faults: [fault], says: 'it crashed' }));

  it.each([...crashes, ...hangs, ...numbers, ...ops, ...pointers])('$faults.0: quarantined, because $says', async ({ faults, says }) => {
    const library = faulty(...faults);
    const error = await failure(load(library, { npuTimeoutMs: 100 }));
    expect(error).toMatchObject({ code: 'LUTRA_QNN_QUARANTINED', message: expect.stringContaining(says) });
    expect(error.message).toContain(library.path);
    // It is remembered: nobody calls the library again.
    const calls = SLOTS.map((slot) => library.calls(slot));
    expect((await failure(load(library))).message).toBe(error.message);
    const instead = await loadAuto(library);
    const session = await instead.createSession();
    expect(session.placement()).toMatchObject({
      npu: expect.stringContaining('LUTRA_HOST'),
      why: `instead of ${library.path}: ${error.message}`,
    });
    expect(await generated(instead)).toEqual(expected);
    expect(SLOTS.map((slot) => library.calls(slot))).toEqual(calls);
    await instead.dispose();
  });

  it.each([
    ['version 2 26', 'LUTRA_QNN_VERSION'],
    ['version 3 0', 'LUTRA_QNN_VERSION'],
    ['providers 0', 'LUTRA_NOT_QNN'],
    ['null graphExecute', 'LUTRA_NOT_QNN'],
    ['fail deviceCreate 1 1000000 14001', 'LUTRA_QNN_CALL'],
    ['fail graphFinalize 1 1000000 1002', 'LUTRA_QNN_CALL'],
    ['fail backendValidateOpConfig 1 1000000 3110', 'LUTRA_QNN_NODE'],
    ['fail contextCreateFromBinary 1 1000000 5005', 'LUTRA_QNN_CALL'],
    ['binary corrupt', 'LUTRA_QNN_CALL'],
    ['binary short', 'LUTRA_QNN_CALL'],
  ])('%s: it says so itself, %s, and is asked again', async (fault, code) => {
    const library = faulty(fault);
    const error = await failure(load(library));
    expect(error.code).toBe(code);
    const instead = await loadAuto(library);
    const session = await instead.createSession();
    expect(session.placement().why).toContain(`instead of ${library.path}: `);
    await instead.dispose();
    library.set([]);
    const model = await load(library);
    expect(await generated(model)).toEqual(expected);
    await model.dispose();
  });
});

describe('a library that was fit once', () => {
  /** A library that has passed its self-test; `faults` get the number of executions so far. */
  async function passed(faults: (executions: number) => string[], options: LoadOptions = {}): Promise<FaultyLibrary> {
    const library = faulty();
    await (await load(library, options)).dispose();
    library.set(faults(library.calls('graphExecute')));
    return library;
  }

  it.each(['noise', 'zeros', 'nan', 'stale', 'shift'])('computes %s: caught by the chunk that every model begins with', async (how) => {
    const library = await passed((executions) => [`wrong ${how} ${executions + 1} 1000000`]);
    const model = await load(library);
    const error = await failure(model.createSession());
    expect(error).toMatchObject({
      code: 'LUTRA_QNN_QUARANTINED',
      message: expect.stringMatching(/for the model .*it computed wrong numbers \(output '/),
    });
    await model.dispose();
    expect(library.live()).toEqual({ log: 0, backend: 0, device: 0, context: 0 });
    const instead = await loadAuto(library);
    expect(await generated(instead)).toEqual(expected);
    await instead.dispose();
  });

  it('the chunk is computed once, not by every session', async () => {
    const library = await passed(() => []);
    const model = await load(library);
    await model.createSession();
    const checked = library.calls('graphExecute');
    await model.createSession();
    const another = await load(library);
    await another.createSession();
    expect(library.calls('graphExecute')).toBe(checked);
    expect(checked).toBeGreaterThan(0);
    await another.dispose();
    await model.dispose();
  });

  it('hangs: it is quarantined, other sessions and processes do without', async () => {
    const library = await passed(() => [], { npuTimeoutMs: 150 });
    const model = await loadAuto(library, { npuTimeoutMs: 150 });
    expect(await generated(model)).toEqual(expected);
    library.set([`hang graphExecute ${library.calls('graphExecute') + 1} 0`]);
    expect((await failure(generated(model))).code).toBe('LUTRA_NPU_HUNG');
    // Nobody demanded the library: the same model goes on without.
    expect(await generated(model)).toEqual(expected);
    expect(await failure(load(library))).toMatchObject({
      code: 'LUTRA_QNN_QUARANTINED',
      message: expect.stringMatching(/it hung \(.*graphExecute of segment 0/),
    });
    const cli = (...args: string[]) =>
      lutraJson<{ quarantined: { library: string; cause: string }[] }>(['qnn', 'quarantine', '--cache', join(root, 'cache'), ...args]);
    expect((await cli()).quarantined).toContainEqual(expect.objectContaining({ library: library.path, cause: 'hung' }));
    await cli('--clear');
    expect((await cli()).quarantined).toEqual([]);
    library.set([]);
    await model.dispose();
    await expect.poll(() => library.live(), { timeout: 5000 }).toEqual({ log: 0, backend: 0, device: 0, context: 0 });
  });

  it.each([
    ['cut off', (text: string) => text.slice(0, text.length / 2)],
    ['of nothing', () => ''],
    ['of another shape', (text: string) => text.replace('"good":true', '"good":"yes"')],
    ['about another file', (text: string) => text.replace(/"bytes":\d+/, '"bytes":1')],
  ])('a record %s is no record: the library is tested again', async (_what, spoil) => {
    const cache = join(root, `records${copies}`);
    const code = `import { loadModel } from ${JSON.stringify(entry)};
      await loadModel(${JSON.stringify(files.directory)}, { npu: { library: process.argv[1] }, contextSize: 64, cache: ${JSON.stringify(cache)} });`;
    const library = faulty();
    const start = () => execFileSync(process.execPath, ['--input-type=module', '-e', code, library.path]);
    start();
    const tests = library.calls('backendCreate');
    start();
    expect(library.calls('backendCreate')).toBe(tests);
    for (const name of readdirSync(cache)) writeFileSync(join(cache, name), spoil(readFileSync(join(cache, name), 'utf8')));
    start();
    expect(library.calls('backendCreate')).toBe(2 * tests);
  });
});

describe('a call that fails', () => {
  /** A start with one prompt. What fails is tried once more and then works. Resolves to the errors. */
  async function start(library: FaultyLibrary): Promise<LutraError[]> {
    const errors: LutraError[] = [];
    const note = (thrown: unknown): undefined => {
      if (!(thrown instanceof LutraError)) throw thrown;
      errors.push(thrown);
    };
    const model = await load(library, { npuCheck: false });
    const session = (await model.createSession().catch(note)) ?? (await model.createSession());
    const logits = await session.prefill(PROMPT).catch(note);
    if (!logits) {
      expect(session.tokens).toEqual([]);
      await session.prefill(PROMPT);
    }
    expect((await session.generate([], { maxTokens: 8, ignoreEos: true }).result()).tokens).toEqual(expected);
    await model.dispose();
    return errors;
  }

  it('is one typed error wherever it comes, nothing leaks, and the next request works', async () => {
    const sound = faulty();
    // The second start takes the graphs out of the binary that the first has written.
    const twice = async (library: FaultyLibrary) => [...(await start(library)), ...(await start(library))];
    expect(await twice(sound)).toEqual([]);
    const struck: string[] = [];
    for (const slot of SLOTS) {
      const last = sound.calls(slot);
      for (const nth of new Set([1, Math.ceil(last / 2), last])) {
        const which = `${slot} ${nth}`;
        const library = faulty(`fail ${which} ${nth} 1100`);
        const codes = (await twice(library)).map((error) => error.code);
        if (HARMLESS.includes(slot)) expect(codes, which).toEqual([]);
        else expect(codes, which).toEqual([slot === 'backendValidateOpConfig' ? 'LUTRA_QNN_NODE' : 'LUTRA_QNN_CALL']);
        expect(library.calls(slot), which).toBeGreaterThanOrEqual(nth);
        expect(library.live(), which).toEqual({ log: 0, backend: 0, device: 0, context: 0 });
        struck.push(which);
      }
    }
    expect(struck.length).toBeGreaterThan(40);
  });

  it.each(SLOTS)('an empty %s is done without, or the error names it', async (slot) => {
    const library = faulty(`null ${slot}`);
    const model = await load(library, { npuCheck: false });
    const outcome = await generated(model).catch((error: unknown) => error);
    await model.dispose();
    if (HARMLESS.includes(slot) && slot !== 'contextFree' && slot !== 'backendFree') expect(outcome).toEqual(expected);
    else if (outcome instanceof LutraError)
      expect(outcome).toMatchObject({ code: 'LUTRA_NOT_QNN', message: expect.stringContaining(slot) });
    else expect([slot, outcome]).toEqual(['deviceCreate', expected]);
    expect(library.live()).toMatchObject(slot.endsWith('Free') ? {} : { backend: 0, context: 0 });
  });

  it('a log that floods from other threads holds nothing up', async () => {
    const library = faulty('flood 2');
    let lines = 0;
    const model = await load(library, { onLog: () => lines++ });
    expect(await generated(model)).toEqual(expected);
    await model.dispose();
    expect(lines).toBeGreaterThan(0);
  });
});

describe('a call that does not return', () => {
  it('in a prefill: the request rejects, the session is lost, everything else goes on', async () => {
    const library = faulty();
    const model = await load(library, { npuTimeoutMs: 150, npuCheck: false });
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
    const model = await load(library, { npuTimeoutMs: 100, npuCheck: false });
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
      const model = await loadModel(${JSON.stringify(files.directory)}, { npu: { library: ${JSON.stringify(library.path)} }, contextSize: 64, threads: 1, cache: false, npuCheck: false, npuTimeoutMs: 150 });
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
