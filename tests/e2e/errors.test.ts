/** Mistakes that take more than one call to make: files that vanish, the engine behind the API, libraries that are no QNN. The tables are in bad-input/. */
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { LutraError, type LutraErrorCode } from '../../lib/graph/errors.js';
import { encodePlan } from '../../lib/graph/index.js';
import { buildPlan } from '../../lib/models/index.js';
import { loadAddon } from '../../lib/native/loader.js';
import { type LoadOptions, loadModel, type Model } from '../../lib/runtime/model.js';
import { root as repository } from './helpers.js';
import { makeTiny, openTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

let root: string;
let files: TinyModelFiles;
let model: Model;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-errors-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
  model = await loadModel(files.directory, { npu: 'host', contextSize: 64, threads: 1 });
});
afterAll(async () => {
  await model?.dispose();
  await rm(root, { recursive: true, force: true });
});
/** After each mistake: the process and the model that was loaded before still work. */
afterEach(async () => {
  expect((await model.generate([5, 6, 7], { maxTokens: 3, ignoreEos: true }).result()).tokens).toHaveLength(3);
});

async function expectError(code: LutraErrorCode, call: () => unknown, says: RegExp | string = ''): Promise<void> {
  const error = await Promise.resolve()
    .then(call)
    .then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
  if (!(error instanceof LutraError)) throw new Error(`expected ${code}, got ${String(error)}`, { cause: error });
  expect(`${error.code}: ${error.message}`).toMatch(new RegExp(`^${code}: `));
  expect(error.message).toMatch(says instanceof RegExp ? says : new RegExp(says.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')));
  expect(error.message.length).toBeGreaterThan(15);
  expect(error.remedy, error.message).not.toBe('');
}

/** Loads, opens a session, disposes: whatever goes wrong on the way. */
async function tryModel(directory: string, options: LoadOptions = {}): Promise<void> {
  const loaded = await loadModel(directory, { npu: 'host', contextSize: 64, threads: 1, ...options });
  try {
    await loaded.createSession();
  } finally {
    await loaded.dispose();
  }
}

let copies = 0;
/** A copy of the model that a test may spoil. */
function copy(): string {
  const directory = join(root, `copy${copies++}`);
  cpSync(files.directory, directory, { recursive: true });
  return directory;
}

describe('model directories', () => {
  it('the copy itself opens', () => tryModel(copy()));

  it('weights that vanish or shrink after the model was loaded', async () => {
    const directory = copy();
    const loaded = await loadModel(directory, { npu: 'host', contextSize: 64, threads: 1 });
    await truncate(join(directory, 'cpu.safetensors'), 3000);
    await expectError('LUTRA_BAD_FILE', () => loaded.createSession(), 'cpu.safetensors');
    await rm(join(directory, 'cpu.safetensors'));
    await expectError('LUTRA_NOT_FOUND', () => loaded.createSession(), 'cpu.safetensors');
    await loaded.dispose();
    await expectError('LUTRA_DISPOSED', () => loaded.createSession());
  });
});

describe('the engine', () => {
  it('refuses what it cannot use', async () => {
    const addon = loadAddon();
    const graph = buildPlan(files.spec, { mode: 'npu', contextSize: 64 });
    const weights = ['cpu', 'npu'].map((kind) => join(files.directory, `${kind}.safetensors`));
    const options = { plan: encodePlan(graph), files: weights, npu: { kind: 'host' }, threads: 1 } as const;
    const open = (change: object) => () => addon.openEngine({ ...options, ...change } as never);
    await expectError('LUTRA_INVALID_ARGUMENT', () => addon.openEngine(undefined as never));
    await expectError('LUTRA_INVALID_ARGUMENT', open({ threads: 0 }), 'threads');
    await expectError('LUTRA_INVALID_ARGUMENT', open({ files: 'x' }), 'files');
    await expectError('LUTRA_INVALID_ARGUMENT', open({ npu: { kind: 'gpu' } }), 'gpu');
    await expectError('LUTRA_NOT_FOUND', open({ files: [join(root, 'none.safetensors')] }), 'none.safetensors');
    await expectError('LUTRA_NOT_FOUND', open({ files: weights.slice(0, 1) }), /'layers|zeros/);
    await expectError('LUTRA_BAD_PLAN', open({ plan: new Uint8Array(100) }), 'magic');
    await expectError('LUTRA_BAD_PLAN', open({ npu: { kind: 'none' } }), 'NPU');
    const engine = await openTiny(files, graph);
    const ids = Uint32Array.from(tinyTokens(1, 9));
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.prefill([1, 2] as never, 'last', 'npu'), 'tokens');
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.prefill(new Uint32Array(), 'last', 'npu'));
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.prefill(Uint32Array.of(4_000_000_000), 'last', 'npu'), '4000000000');
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.prefill(ids, 'some' as never, 'npu'), 'some');
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.prefill(ids, 'last', 'gpu' as never), 'gpu');
    await expectError('LUTRA_CONTEXT_FULL', () => engine.prefill(new Uint32Array(65), 'last', 'npu'), '65');
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.generate({} as never, () => {}), 'maxTokens');
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.truncate(1));
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.truncate(-1));
    await expectError('LUTRA_INVALID_ARGUMENT', () => engine.peek('x'), 'nothing has run');
    expect(await engine.prefill(ids, 'last', 'npu')).toHaveLength(files.arch.vocab);
    await engine.dispose();
    await expectError('LUTRA_DISPOSED', () => engine.length());
    await expectError('LUTRA_DISPOSED', () => engine.prefill(ids, 'last', 'npu'));
  });
});

describe('QNN libraries', () => {
  /** Compiles one of the fake libraries of the native tests. */
  function fake(name: string, source: string, ...defines: string[]): string {
    const file = join(root, `${name}.so`);
    const flags = ['-std=c++20', '-shared', '-fPIC', '-I', 'native', ...defines.map((define) => `-D${define}`)];
    execFileSync(process.env.CXX ?? 'c++', [...flags, join('tests/native/fake_qnn', `${source}.cc`), '-o', file], { cwd: repository });
    return file;
  }

  async function expectRefused(code: LutraErrorCode, library: string, says: string): Promise<void> {
    await expectError(code, () => tryModel(files.directory, { npu: { library, soc: 57 }, cache: join(root, 'cache') }), says);
    await expectError(code, () => tryModel(files.directory, { npu: { library }, cache: false }), says);
    await expectError(code, () => loadAddon().qnnInfo({ kind: 'library', path: library }), says);
  }

  it('missing, a directory, text, or of another kind', async () => {
    await expectRefused('LUTRA_LIBRARY_NOT_FOUND', join(root, 'libNone.so'), 'libNone.so');
    await expectRefused('LUTRA_LIBRARY_NOT_FOUND', root, root);
    await writeFile(join(root, 'libText.so'), 'not a library at all, but a text that is long enough to look at');
    await expectRefused('LUTRA_LIBRARY_NOT_FOUND', join(root, 'libText.so'), 'libText.so');
    const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
    await expectRefused('LUTRA_NOT_QNN', sharedObjects.find((file) => /\/libm[.-]/.test(file)) ?? '', 'libm');
    await expectRefused('LUTRA_NOT_QNN', fake('not_qnn', 'not_qnn'), 'not_qnn');
  });

  it('too old, too new, or without a provider', async () => {
    await expectRefused('LUTRA_QNN_VERSION', fake('old', 'provider', 'FAKE_MINOR=26'), '2.26');
    await expectRefused('LUTRA_QNN_VERSION', fake('new', 'provider', 'FAKE_MAJOR=3', 'FAKE_MINOR=0'), '3.0');
    await expectRefused('LUTRA_NOT_QNN', fake('empty', 'provider', 'FAKE_PROVIDERS=0'), 'provider');
    await expectRefused('LUTRA_NOT_QNN', fake('failing', 'provider', 'FAKE_STATUS=1003'), '1003');
  });
});
