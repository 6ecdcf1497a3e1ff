/** One flipped bit anywhere in what belongs to a model is noticed: at load where it is small, by `inspect --verify` in the matrices. */
import { closeSync, openSync, readFileSync, readSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { mkdtemp, readdir, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { sealOf } from '../../lib/files/sealed.js';
import { LutraError } from '../../lib/graph/errors.js';
import type { FileHashes } from '../../lib/graph/spec.js';
import { verifyModel } from '../../lib/runtime/inspect.js';
import { loadModel } from '../../lib/runtime/model.js';
import { openModelDirectory } from '../../lib/runtime/model-dir.js';
import { WeightFile } from '../../lib/runtime/weight-file.js';
import { root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

let root: string;
let files: TinyModelFiles;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-flips-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 5, storages: ['q4_1', 'q8_0', 'f16'], tied: false, ropeFactors: true });
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Flips a bit of a file in place for the time of a call. */
async function withFlip<T>(path: string, at: number, bit: number, call: () => Promise<T>): Promise<T> {
  const fd = openSync(path, 'r+');
  const byte = Buffer.alloc(1);
  readSync(fd, byte, 0, 1, at);
  const put = (value: number) => writeSync(fd, Uint8Array.of(value), 0, 1, at);
  put((byte[0] ?? 0) ^ (1 << bit));
  try {
    return await call();
  } finally {
    put(byte[0] ?? 0);
    closeSync(fd);
  }
}

/** The error of a call that must fail. */
async function failure(call: () => Promise<unknown>, what: string): Promise<LutraError> {
  const error = await call().then(
    () => new Error(`${what} went unnoticed`),
    (thrown: unknown) => thrown,
  );
  if (error instanceof LutraError) return error;
  throw error;
}

interface Part {
  name: string;
  begin: number;
  end: number;
  matrix: boolean;
}

/** Header and tensors of a weight file as this test understands the format. */
function partsOf(path: string): Part[] {
  const bytes = readFileSync(path);
  const data = 8 + Number(bytes.readBigUInt64LE());
  const table = JSON.parse(bytes.toString('utf8', 8, data)) as Record<string, { data_offsets: [number, number] }>;
  const matrix = /^(embed|lm_head|layers\.\d+\.(q|k|v|o|gate|up|down)(\.w8)?)$/;
  const tensors = Object.entries(table).map(([name, { data_offsets }]) => ({
    name,
    begin: data + data_offsets[0],
    end: data + data_offsets[1],
    matrix: matrix.test(name),
  }));
  return [{ name: 'header', begin: 0, end: data, matrix: false }, ...tensors];
}

const WEIGHTS = ['cpu', 'npu'] as const;
const pathOf = (kind: 'cpu' | 'npu'): string => join(files.directory, `${kind}.safetensors`);
const hashesOf = (kind: 'cpu' | 'npu'): FileHashes => files.spec.hashes[kind] as FileHashes;

describe('a flipped bit', () => {
  it('in lutra.json is found at load, whichever byte', async () => {
    const file = join(files.directory, 'lutra.json');
    const bytes = readFileSync(file);
    for (const [at, good] of bytes.entries()) {
      bytes[at] = good ^ (1 << (at % 8));
      const seal = sealOf(bytes);
      if (seal !== 'absent') expect(seal.found, `byte ${at}`).not.toBe(seal.stored);
      bytes[at] = good;
    }
    for (let at = 0; at < bytes.length; at += 29) {
      const error = await withFlip(file, at, at % 8, () => failure(() => openModelDirectory(files.directory), `byte ${at}`));
      expect(error, `byte ${at}`).toMatchObject({ code: 'LUTRA_BAD_FILE', message: expect.stringContaining('lutra.json') });
    }
  });

  it.each(WEIGHTS)('in the header or in any tensor of %s.safetensors that is no matrix is found when the file is opened', async (kind) => {
    const path = pathOf(kind);
    let flips = 0;
    for (const { name, begin, end, matrix } of partsOf(path)) {
      // Every byte of the header; of tensors every third, which is every number, in all of its bytes in turn.
      for (let at = begin; at < end && !matrix; at += name === 'header' ? 1 : 3) {
        const error = await withFlip(path, at, at % 8, () => failure(() => WeightFile.open(path, hashesOf(kind), 'r'), `${name}, ${at}`));
        expect(error.code, `${name}, byte ${at}`).toBe('LUTRA_BAD_FILE');
        if (name !== 'header') expect(error.message).toContain(`tensor '${name}'`);
        flips++;
      }
    }
    expect(flips).toBeGreaterThan(2000);
  });

  it('in any small part stops loadModel', async () => {
    const places = [
      ...WEIGHTS.flatMap((kind) => partsOf(pathOf(kind)).flatMap((part) => (part.matrix ? [] : [{ ...part, path: pathOf(kind) }]))),
      ...['tokenizer.json', 'tokenizer_config.json'].map((name) => {
        const path = join(files.directory, name);
        return { name, path, begin: 0, end: statSync(path).size };
      }),
    ];
    for (const [i, { name, path, begin, end }] of places.entries()) {
      if (begin === end) continue;
      const at = begin + ((i * 7919) % (end - begin));
      const error = await withFlip(path, at, i % 8, () => failure(() => loadModel(files.directory), name));
      expect(error, name).toMatchObject({ code: 'LUTRA_BAD_FILE', message: expect.stringContaining(path) });
    }
  });

  it('in a matrix is found by verifyModel, which names the tensor; the model still loads', async () => {
    await verifyModel(files.directory);
    for (const kind of WEIGHTS) {
      for (const [i, { name, begin, end, matrix }] of partsOf(pathOf(kind)).entries()) {
        if (!matrix) continue;
        const at = begin + ((i * 104_729) % (end - begin));
        await withFlip(pathOf(kind), at, i % 8, async () => {
          await openModelDirectory(files.directory);
          const error = await failure(() => verifyModel(files.directory), name);
          expect(error).toMatchObject({ code: 'LUTRA_BAD_FILE', message: expect.stringContaining(`tensor '${name}'`) });
        });
      }
    }
    await verifyModel(files.directory);
  });
});

describe('the context cache', () => {
  const library = join(repository, 'build/Release/libQnnHost.so');
  const ids = tinyTokens(4, 12);

  async function run(cache: string): Promise<{ context: string; logits: Float32Array }> {
    const model = await loadModel(files.directory, { npu: { library }, contextSize: 64, threads: 1, cache });
    try {
      const session = await model.createSession();
      return { context: session.info().context, logits: await session.prefill(ids) };
    } finally {
      await model.dispose();
    }
  }

  it('is built again after any damage, with the same results, and then used again', async () => {
    const cache = join(root, 'contexts');
    const good = await run(cache);
    expect(good.context).toBe('built');
    expect(await run(cache)).toEqual({ ...good, context: 'loaded' });
    const contexts = async () => (await readdir(cache)).filter((one) => one.endsWith('.qnnctx'));
    const [name = ''] = await contexts();
    const path = join(cache, name);
    const image = readFileSync(path);
    // The header and the key byte by byte, the rest here and there.
    const places = [...Array.from({ length: 60 }, (_, i) => i), ...Array.from({ length: 40 }, (_, i) => (i * 104_729) % image.length)];
    for (const [i, at] of places.entries()) {
      const bad = Buffer.from(image);
      bad[at]! ^= 1 << (i % 8);
      writeFileSync(path, bad);
      expect(await run(cache), `byte ${at}`).toEqual(good);
    }
    for (const length of [0, 4, 31, 32, 100, image.length >> 1, image.length - 1]) {
      await truncate(path, length);
      expect(await run(cache), `${length} bytes`).toEqual(good);
      expect(readFileSync(path).equals(image)).toBe(true);
    }
    expect(await run(cache)).toEqual({ ...good, context: 'loaded' });
    expect(await contexts()).toEqual([name]);
  });
});
