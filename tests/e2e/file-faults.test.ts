/** Files that fail under the program: every fault is one typed error, nothing on disk is lost or half there, and the next request works. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { loadModel } from '../../lib/runtime/model.js';
import { type CliResult, lutra, root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

const shim = join(repository, 'build/tests/native/libfault_shim.so');
const hostLibrary = join(repository, 'build/Release/libQnnHost.so');

let root: string;
let files: TinyModelFiles;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'lutra-faults-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Environment in which the calls that `fault` names fail (tests/native/fault_shim.cc). */
const under = (fault: string): NodeJS.ProcessEnv => ({ LD_PRELOAD: shim, LUTRA_FAULT: fault });

function errorOf({ stdout, stderr }: CliResult): { code: string; message: string; remedy: string } {
  expect(stdout.trim().split('\n'), stderr).toHaveLength(1);
  return (JSON.parse(stdout) as { error: { code: string; message: string; remedy: string } }).error;
}

async function expectFault(args: string[], fault: string, code: string): Promise<void> {
  const result = await lutra([...args, '--json'], under(fault));
  expect(result.code, result.stderr).toBe(1);
  const error = errorOf(result);
  expect(error, fault).toMatchObject({ code, remedy: expect.stringMatching(/./) });
  expect(result.stderr).not.toMatch(/\n\s+at /);
}

/** Names and contents. */
function digest(directory: string): string {
  const hash = createHash('sha256');
  for (const name of readdirSync(directory).sort()) hash.update(name).update(readFileSync(join(directory, name)));
  return hash.digest('hex');
}

const convert = (output: string): string[] => [
  ...['convert', files.path, '-o', output, '--text', join(root, 'model.txt'), '--precision', 'down=w8a16'],
  ...['--windows', '1', '--window-tokens', '16', '--chunk', '8', '--threads', '1'],
];

describe('lutra convert', () => {
  it.each([
    ['open:EACCES:1:model.gguf', 'LUTRA_IO'],
    ['read:EIO:1:model.gguf', 'LUTRA_IO'],
    ['read:EIO:4+:model.gguf', 'LUTRA_IO'],
    ['open:EACCES:1:model.txt', 'LUTRA_IO'],
    ['read:EIO:1:model.txt', 'LUTRA_IO'],
    // The first one is of its journal, without which a conversion begins anew.
    ['open:EACCES:2:cpu.safetensors', 'LUTRA_IO'],
    ['write:ENOSPC:1:cpu.safetensors', 'LUTRA_IO'],
    ['write:ENOSPC:9+:cpu.safetensors', 'LUTRA_IO'],
    ['fsync:EIO:1:cpu.safetensors', 'LUTRA_IO'],
    ['mmap:ENOMEM:1:cpu.safetensors', 'LUTRA_IO'],
    ['write:EIO:3:npu.safetensors', 'LUTRA_IO'],
    ['write:ENOSPC:1:tokenizer.json', 'LUTRA_IO'],
    ['write:ENOSPC:1:lutra.json', 'LUTRA_IO'],
    ['fsync:EIO:1:lutra.json', 'LUTRA_IO'],
    ['rename:EACCES:1:.lutra-tmp-', 'LUTRA_IO'],
  ])('%s leaves no new directory, and an old one as it was', async (fault, code) => {
    const place = mkdtempSync(join(root, 'convert-'));
    await expectFault(convert(join(place, 'fresh')), fault, code);
    expect(readdirSync(place)).toEqual([]);
    cpSync(files.directory, join(place, 'old'), { recursive: true });
    const before = digest(join(place, 'old'));
    await expectFault(convert(join(place, 'old')), fault, code);
    expect(readdirSync(place)).toEqual(['old']);
    expect(digest(join(place, 'old'))).toBe(before);
  });

  it('goes on where reads and writes are short', async () => {
    const place = mkdtempSync(join(root, 'short-'));
    expect((await lutra(convert(join(place, 'whole')))).code).toBe(0);
    for (const [i, fault] of ['read:SHORT:9:model.gguf', 'write:SHORT:3:cpu.safetensors', 'write:SHORT:1+:lutra.json'].entries()) {
      const output = join(place, `short${i}`);
      const { code, stderr } = await lutra(convert(output), under(fault));
      expect(code, stderr).toBe(0);
      expect(digest(output), fault).toBe(digest(join(place, 'whole')));
    }
  });
});

describe('reading a model', () => {
  const run = (): string[] => [
    'run',
    files.directory,
    '--prompt',
    'hello',
    '--max-tokens',
    '2',
    '--raw',
    '--npu',
    'host',
    '--context',
    '64',
  ];

  it.each([
    ['open:EACCES:1:lutra.json', 'LUTRA_IO'],
    ['read:EIO:1:lutra.json', 'LUTRA_IO'],
    ['read:EIO:1:tokenizer.json', 'LUTRA_IO'],
    ['open:EACCES:1:cpu.safetensors', 'LUTRA_IO'],
    ['read:EIO:2:cpu.safetensors', 'LUTRA_IO'],
    ['read:EIO:9:npu.safetensors', 'LUTRA_IO'],
    ['mmap:ENOMEM:1:cpu.safetensors', 'LUTRA_IO'],
    ['mmap:EACCES:1:npu.safetensors', 'LUTRA_IO'],
  ])('lutra run under %s', (fault, code) => expectFault(run(), fault, code));

  it('lutra run reads on where reads are short', async () => {
    const { code, stderr } = await lutra(run(), under('read:SHORT:1+:tokenizer_config.json'));
    expect(code, stderr).toBe(0);
  });

  it('lutra inspect --verify and lutra eval', async () => {
    await expectFault(['inspect', files.directory, '--verify'], 'read:EIO:60:npu.safetensors', 'LUTRA_IO');
    const text = join(root, 'model.txt');
    const windows = ['--windows', '1', '--window-tokens', '16'];
    await expectFault(['eval', files.directory, '--text', text, ...windows], 'read:EIO:1:model.txt', 'LUTRA_IO');
    await expectFault(['eval', files.directory, '--text', text, ...windows], 'mmap:ENOMEM:2:cpu.safetensors', 'LUTRA_IO');
  });

  it('a library that cannot be opened, and a cache that cannot be written, which is no error', async () => {
    const cache = join(root, 'contexts');
    // The verdict about the library lies beside them.
    const contexts = () => readdirSync(cache).filter((name) => !name.endsWith('.verdict.json'));
    const args = [
      'run',
      files.directory,
      '--prompt',
      'hello',
      '-n',
      '2',
      '--raw',
      '--npu',
      hostLibrary,
      '--cache',
      cache,
      '--context',
      '64',
    ];
    await expectFault(args, 'dlopen:EIO:1+:libQnnHost', 'LUTRA_LIBRARY_NOT_FOUND');
    for (const fault of ['write:ENOSPC:1:.qnnctx', 'rename:EIO:1:.qnnctx']) {
      const { code, stderr } = await lutra(args, under(fault));
      expect(code, stderr).toBe(0);
      expect(contexts(), fault).toEqual([]);
    }
    expect((await lutra(args)).code).toBe(0);
    expect(contexts()).toHaveLength(1);
    for (const fault of ['mmap:ENOMEM:1:.qnnctx', 'open:EIO:1:.qnnctx']) expect((await lutra(args, under(fault))).code, fault).toBe(0);
  });
});

describe('the JavaScript API', () => {
  /** Loads twice in one process: the first time under the fault, which strikes once. */
  function twice(fault: string): Promise<string> {
    const script = join(root, 'twice.mjs');
    const source = `import { loadModel } from ${JSON.stringify(join(repository, 'dist/index.js'))};
      for (const attempt of [1, 2]) {
        let model;
        try {
          model = await loadModel(${JSON.stringify(files.directory)}, { npu: 'host', contextSize: 64, threads: 1 });
          const { tokens } = await model.generate([5, 6, 7], { maxTokens: 2, ignoreEos: true }).result();
          console.log(tokens.length);
        } catch (error) {
          console.log(error.code);
        }
        await model?.dispose();
      }`;
    if (!existsSync(script)) writeFileSync(script, source);
    return new Promise((done) => {
      execFile(process.execPath, [script], { env: { ...process.env, ...under(fault) } }, (_error, stdout) => done(stdout));
    });
  }

  it.each(['read:EIO:1:lutra.json', 'read:EIO:5:npu.safetensors', 'mmap:ENOMEM:1:cpu.safetensors', 'open:EACCES:2:cpu.safetensors'])(
    'works again after %s',
    async (fault) => expect(await twice(fault)).toBe('LUTRA_IO\n2\n'),
  );

  it('gives LUTRA_IO when weights are truncated under a session, and goes on with another model', async () => {
    const directory = join(root, 'shrinking');
    cpSync(files.directory, directory, { recursive: true });
    const options = { npu: 'none', contextSize: 64, threads: 2 } as const;
    const [model, other] = [await loadModel(directory, options), await loadModel(files.directory, options)];
    const session = await model.createSession();
    await session.prefill(tinyTokens(1, 9));
    truncateSync(join(directory, 'cpu.safetensors'), 0);
    for (let i = 0; i < 3; i++) {
      await expect(session.prefill(tinyTokens(2, 9))).rejects.toMatchObject({
        code: 'LUTRA_IO',
        message: expect.stringContaining('cpu.safetensors'),
      });
      await expect(session.generate([5, 6]).result()).rejects.toMatchObject({ code: 'LUTRA_IO' });
    }
    expect((await other.generate([5, 6, 7], { maxTokens: 3, ignoreEos: true }).result()).tokens).toHaveLength(3);
    await model.dispose();
    await other.dispose();
  });
});
