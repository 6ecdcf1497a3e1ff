/** Graphs that are compiled ahead of time: used where everything fits, else refused with the field that does not. */
import { readFileSync, writeFileSync } from 'node:fs';
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION, parsePrecision } from '../../lib/convert/precision.js';
import { sealJson } from '../../lib/files/sealed.js';
import { compileModel } from '../../lib/runtime/compile.js';
import type { CompiledRecord } from '../../lib/runtime/compiled.js';
import { loadModel } from '../../lib/runtime/model.js';
import type { Placement } from '../../lib/runtime/placement.js';
import { lutra, qnnLibrary } from './helpers.js';
import { makeTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

const SOCS = [57, 69, 87] as const;
const PROMPT = tinyTokens(1, 20);

let root: string;
let files: TinyModelFiles;
let compiled: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-compile-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
  compiled = join(files.directory, 'compiled');
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Tokens that the model says on a SoC, and how its graphs came about. */
async function answer(
  soc: number,
  options: { directory?: string; compiled?: string | false; contextSize?: number } = {},
): Promise<{ tokens: number[]; placement: Placement }> {
  const { directory = files.directory, contextSize = 64, ...rest } = options;
  const model = await loadModel(directory, {
    npu: { library: qnnLibrary, soc },
    npuCheck: false,
    contextSize,
    threads: 1,
    cache: false,
    ...rest,
  });
  try {
    const session = await model.createSession();
    const generation = session.generate(PROMPT, { maxTokens: 12, temperature: 0, ignoreEos: true });
    const { tokens } = await generation.result();
    return { tokens: [...tokens], placement: session.placement() };
  } finally {
    await model.dispose();
  }
}

async function changed(name: string, change: (record: CompiledRecord) => object): Promise<string> {
  const folder = join(root, name);
  await cp(compiled, folder, { recursive: true });
  const file = join(folder, 'soc57.json');
  const { checksum: _, ...record } = JSON.parse(readFileSync(file, 'utf8')) as CompiledRecord & { checksum: string };
  writeFileSync(file, sealJson({ ...record, ...change(record) }));
  return folder;
}

describe("compiled with Qualcomm's runtime for x86-64", () => {
  it('makes a binary for each SoC, whose metadata is what it should be, and leaves nothing else', async () => {
    const progress: number[] = [];
    const records = await compileModel(files.directory, {
      library: qnnLibrary,
      socs: SOCS,
      npuCheck: false,
      onProgress: (done) => progress.push(done),
    });
    expect(records.map(({ soc }) => soc)).toEqual([
      { id: 57, name: 'SM8650', arch: 75 },
      { id: 69, name: 'SM8750', arch: 79 },
      { id: 87, name: 'SM8850', arch: 81 },
    ]);
    for (const { binary, library, soc } of records) {
      expect(binary.buildId).toBe(library.buildId);
      expect(binary.socModel).toBe(soc.id);
      expect(binary.graphs).toBeGreaterThan(1);
    }
    expect(progress).toEqual([0, 1, 2, 3]);
    expect((await readdir(compiled)).sort()).toEqual(SOCS.flatMap((soc) => [`soc${soc}.json`, `soc${soc}.qnnctx`]));
  });

  it.each(SOCS)('SoC %i: loaded graphs say the same as built ones, with another context size too', async (soc) => {
    const built = await answer(soc, { compiled: false });
    expect(built.placement).toMatchObject({ context: 'built', compiled: null });
    for (const contextSize of [64, 128]) {
      const loaded = await answer(soc, { contextSize });
      expect(loaded.placement).toMatchObject({ context: 'loaded', compiled: { file: join(compiled, `soc${soc}.qnnctx`), field: null } });
      expect(loaded.tokens).toEqual(built.tokens);
    }
  });

  const refused = async (folder: string, soc: number, field: string, why: RegExp, directory?: string) => {
    const { placement, tokens } = await answer(soc, { compiled: folder, ...(directory ? { directory } : {}) });
    expect(placement.context).toBe('built');
    expect(placement.compiled).toMatchObject({ file: null, field });
    expect(placement.compiled?.why).toMatch(why);
    expect(tokens).toHaveLength(12);
  };

  it('a SoC that nothing was made for', async () => {
    await refused(compiled, 43, 'soc', /for SoC 57, 69, 87, this is SoC 43/);
    // The library's own choice on this machine, in a process of its own: it serves one choice at a time.
    const { stderr } = await lutra([
      'run',
      files.directory,
      '-p',
      'a b',
      '--raw',
      '-n',
      '2',
      '--npu',
      qnnLibrary,
      '--no-npu-check',
      '--no-cache',
    ]);
    expect(stderr).toMatch(/compiled graphs are not used: soc: there are graphs for SoC 57, 69, 87, this is SoC 30/);
  });

  it('a record for another SoC under this name', async () => {
    await refused(await changed('soc', ({ soc }) => ({ soc: { ...soc, id: 69 } })), 57, 'soc', /SoC 69, this is SoC 57/);
  });

  it('an older build of the library', async () => {
    const folder = await changed('build', ({ library }) => ({ library: { ...library, buildId: 'v2.30.0.250101000000' } }));
    await refused(folder, 57, 'buildId', /v2\.30\.0.*v2\./);
  });

  it('another library', async () => {
    await refused(await changed('library', ({ library }) => ({ library: { ...library, name: 'OTHER' } })), 57, 'library', /OTHER/);
  });

  it('a flipped bit anywhere in the binary or the record', async () => {
    for (const [i, name] of ['soc57.qnnctx', 'soc57.qnnctx', 'soc57.qnnctx', 'soc57.json'].entries()) {
      const folder = join(root, `flip${i}`);
      await cp(compiled, folder, { recursive: true });
      const bytes = readFileSync(join(folder, name));
      const at = Math.floor((bytes.length * (2 * i + 1)) / 8);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << i);
      writeFileSync(join(folder, name), bytes);
      await refused(folder, 57, name.endsWith('json') ? 'record' : 'sha256', /was changed after it was written/);
    }
  });

  it('a binary that is gone, and a record that is no record', async () => {
    const folder = join(root, 'gone');
    await cp(compiled, folder, { recursive: true });
    await rm(join(folder, 'soc57.qnnctx'));
    await refused(folder, 57, 'file', /ENOENT/);
    await refused(await changed('version', () => ({ version: 9 })), 57, 'record', /version 1/);
  });

  it('a model with other weights, and one with other graphs', async () => {
    const other = await makeTiny(root, 'other', DEFAULT_PRECISION, { seed: 4 });
    await refused(compiled, 57, 'weights', /other NPU weights/, other.directory);
    await refused(await changed('graphs', () => ({ graphs: '0' })), 57, 'graphs', /other graphs/);
  });

  it('from the command line', async () => {
    const output = join(root, 'cli');
    const { stdout, code } = await lutra([
      'compile',
      files.directory,
      '--library',
      qnnLibrary,
      '--soc',
      '57,69',
      '-o',
      output,
      '--no-npu-check',
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/SM8650 \(v75\): \d+ graphs, .*soc57\.json\nSM8750/);
    const run = await lutra([
      'run',
      files.directory,
      '-p',
      'a b',
      '--raw',
      '-n',
      '2',
      '--npu',
      qnnLibrary,
      '--soc',
      '43',
      '--compiled',
      output,
      '--no-npu-check',
      '--no-cache',
    ]);
    expect(run.stderr).toMatch(/compiled graphs are not used: soc: there are graphs for SoC 57, 69, this is SoC 43/);
  });

  it('what cannot be compiled', async () => {
    const cpu = await makeTiny(root, 'cpu', null);
    const attempt = (directory: string, socs: number[], library = qnnLibrary) =>
      compileModel(directory, { library, socs, npuCheck: false });
    await expect(attempt(cpu.directory, [57])).rejects.toMatchObject({ code: 'LUTRA_UNSUPPORTED' });
    await expect(attempt(files.directory, [])).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(attempt(files.directory, [57, 57])).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(attempt(files.directory, [65_000])).rejects.toMatchObject({ code: 'LUTRA_QNN_CALL' });
    await expect(attempt(files.directory, [57], '/nowhere.so')).rejects.toMatchObject({ code: 'LUTRA_LIBRARY_NOT_FOUND' });
    expect((await readdir(compiled)).every((name) => /^soc(57|69|87)\.(json|qnnctx)$/.test(name))).toBe(true);
  });
});

it('precisions of a model are part of what its graphs are', async () => {
  const [one, two] = await Promise.all([
    makeTiny(root, 'w8a16', parsePrecision('all=w8a16'), { seed: 3 }),
    makeTiny(root, 'w8f16', parsePrecision('all=w8f16'), { seed: 3 }),
  ]);
  const [first] = await compileModel(one.directory, { library: qnnLibrary, socs: [57], npuCheck: false });
  const [second] = await compileModel(two.directory, { library: qnnLibrary, socs: [57], npuCheck: false });
  expect(first?.graphs).not.toBe(second?.graphs);
});
