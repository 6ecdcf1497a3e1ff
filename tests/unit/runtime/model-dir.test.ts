import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sealJson, sealOf } from '../../../lib/files/sealed.js';
import { loadModel } from '../../../lib/runtime/model.js';
import { openModelDirectory } from '../../../lib/runtime/model-dir.js';
import { WeightFile } from '../../../lib/runtime/weight-file.js';
import { hashesOf, reseal } from '../../reference/reseal.js';
import { tinyModel } from '../../reference/tiny.js';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-'));
});
afterEach(() => rm(directory, { recursive: true }));

function safetensors(
  tensors: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>,
  dataBytes: number,
): Buffer {
  const header = Buffer.from(JSON.stringify(tensors));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(dataBytes)]);
}

const weights = () =>
  safetensors({ a: { dtype: 'U8', shape: [64], data_offsets: [0, 64] }, b: { dtype: 'F32', shape: [4], data_offsets: [64, 80] } }, 80);

async function writeModel(change: (spec: Record<string, unknown>) => void = () => {}): Promise<void> {
  await writeFile(join(directory, 'lutra.json'), sealJson(tinyModel({ precision: null }).spec));
  await writeFile(join(directory, 'cpu.safetensors'), weights());
  for (const name of ['tokenizer.json', 'tokenizer_config.json']) await writeFile(join(directory, name), '{}');
  reseal(directory, change);
}

describe('openModelDirectory', () => {
  it('opens a model without NPU weights', async () => {
    await writeModel();
    const opened = await openModelDirectory(directory);
    expect(opened).toMatchObject({ path: directory, npu: null });
    expect(opened.spec.arch.hidden).toBe(64);
  });

  it.each([
    ['missing', 'LUTRA_NOT_FOUND', async () => join(directory, 'nowhere')],
    [
      'a file',
      'LUTRA_BAD_FILE',
      async () => {
        await writeFile(join(directory, 'model.gguf'), 'GGUF');
        return join(directory, 'model.gguf');
      },
    ],
    [
      'foreign',
      'LUTRA_BAD_FILE',
      async () => {
        await mkdir(join(directory, 'hf'));
        await writeFile(join(directory, 'hf', 'config.json'), '{}');
        return join(directory, 'hf');
      },
    ],
  ])('refuses a directory that is %s', async (_what, code, prepare) => {
    const path = await prepare();
    await expect(openModelDirectory(path)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(path),
      remedy: expect.stringContaining('convert'),
    });
  });

  it.each([
    ['not JSON', 'LUTRA_BAD_FILE', () => writeFile(join(directory, 'lutra.json'), '{"format": 2,')],
    ['of the format before checksums', 'LUTRA_UNSUPPORTED', () => writeFile(join(directory, 'lutra.json'), '{"format": 1}\n')],
    ['of a later format', 'LUTRA_UNSUPPORTED', () => writeModel((spec) => Object.assign(spec, { format: 5 }))],
    ['without a checksum', 'LUTRA_BAD_FILE', () => writeFile(join(directory, 'lutra.json'), JSON.stringify(tinyModel().spec))],
    ['of another family', 'LUTRA_UNSUPPORTED', () => writeModel((spec) => Object.assign(spec.arch as object, { family: 'mamba' }))],
    ['without layers', 'LUTRA_BAD_FILE', () => writeModel((spec) => Object.assign(spec.arch as object, { layers: 0 }))],
    ['a list', 'LUTRA_BAD_FILE', () => writeFile(join(directory, 'lutra.json'), '[]')],
    ['without hashes', 'LUTRA_BAD_FILE', () => writeModel((spec) => Object.assign(spec, { hashes: {} }))],
  ])('refuses a lutra.json that is %s', async (_what, code, prepare) => {
    await writeModel();
    await prepare();
    await expect(openModelDirectory(directory)).rejects.toMatchObject({ code });
  });

  it('finds flipped bits of lutra.json, and bytes that are missing or too much', async () => {
    await writeModel();
    const file = join(directory, 'lutra.json');
    const good = await readFile(file);
    expect(sealOf(good)).toMatchObject({ stored: expect.stringMatching(/^[0-9a-f]{64}$/) });
    const refused = async (bytes: Buffer, what: string) => {
      await writeFile(file, bytes);
      await expect(openModelDirectory(directory), what).rejects.toMatchObject({
        code: 'LUTRA_BAD_FILE',
        message: expect.stringContaining('lutra.json'),
      });
    };
    for (let at = 0; at < good.length; at += 7) {
      const bit = at % 8;
      const bad = Buffer.from(good);
      bad[at]! ^= 1 << bit;
      await refused(bad, `byte ${at}, bit ${bit}`);
    }
    for (const length of [0, 1, 100, good.length - 100, good.length - 1]) await refused(good.subarray(0, length), `${length} bytes`);
    await refused(Buffer.concat([good, Buffer.from(' ')]), 'one byte more');
    await writeFile(file, good);
    await openModelDirectory(directory);
  });

  it('says which weight file is missing or truncated, and by how much', async () => {
    await writeModel((spec) => Object.assign(spec.hashes as object, { npu: hashesOf(weights()) }));
    await expect(openModelDirectory(directory)).rejects.toMatchObject({
      code: 'LUTRA_BAD_FILE',
      message: expect.stringContaining('npu.safetensors is missing'),
    });
    await writeFile(join(directory, 'npu.safetensors'), weights());
    await openModelDirectory(directory);
    const { length } = weights();
    await truncate(join(directory, 'npu.safetensors'), length - 1);
    await expect(openModelDirectory(directory)).rejects.toThrow(`is truncated: ${length - 1} bytes, its tensors need ${length}`);
  });
});

describe('weight files', () => {
  const file = () => join(directory, 'x.safetensors');
  const open = async (content: Buffer, hashes = hashesOf(content)) => {
    await writeFile(file(), content);
    return WeightFile.open(file(), hashes, 'convert again');
  };

  it.each([
    ['empty', Buffer.alloc(0)],
    ['of 4 bytes', Buffer.from('GGUF')],
    ['with a header of an exabyte', Buffer.from([255, 255, 255, 255, 255, 255, 255, 15, 1, 2, 3])],
    ['with a header that is no JSON', Buffer.concat([Buffer.from([4, 0, 0, 0, 0, 0, 0, 0]), Buffer.from('{{{{')])],
    ['cut in the header', weights().subarray(0, 40)],
    ['with bytes after its tensors', Buffer.concat([weights(), Buffer.from([1])])],
    ['with negative offsets', safetensors({ a: { dtype: 'U8', shape: [1], data_offsets: [-1, 1] } }, 1)],
  ])('refuses a file %s, also under its own digests', async (_what, content) => {
    await expect(open(content)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE', remedy: 'convert again' });
  });

  it('finds damage in small tensors at once, in matrices when all is verified, and names the tensor', async () => {
    const good = weights();
    const hashes = hashesOf(good);
    const opened = await open(good, hashes);
    await opened.verify();
    const flipped = (at: number) => {
      const bad = Buffer.from(good);
      bad[at]! ^= 4;
      return bad;
    };
    const message = (part: string) => ({ code: 'LUTRA_BAD_FILE', message: expect.stringContaining(part) });
    await expect(open(flipped(good.length - 1), hashes)).rejects.toMatchObject(message("tensor 'b'"));
    await expect(open(flipped(20), hashes)).rejects.toMatchObject(message('its header'));
    const packed = await open(flipped(good.length - 80), hashes);
    await expect(packed.verify()).rejects.toMatchObject(message("tensor 'a'"));
    // Looked at again only when it is another file by size and time.
    await writeFile(file(), flipped(good.length - 1));
    await expect(packed.recheck()).rejects.toMatchObject(message("tensor 'b'"));
    await writeFile(file(), good);
    await packed.recheck();
    await rm(file());
    await expect(packed.recheck()).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
  });
});

describe('loadModel', () => {
  it('refuses unknown options and wrong values before it reads anything', async () => {
    await expect(loadModel('nowhere', { thread: 2 } as object)).rejects.toThrow(
      "loadModel has no option 'thread'; did you mean 'threads'?",
    );
    await expect(loadModel('nowhere', { threads: 0 })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(loadModel('')).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(loadModel('nowhere')).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
  });

  it('refuses NPU choices that mean nothing', async () => {
    await writeModel();
    for (const npu of ['hots', { path: 'x' }, { library: 'x', soc: 1.5 }, null]) {
      await expect(loadModel(directory, { npu: npu as 'host' }), JSON.stringify(npu)).rejects.toMatchObject({
        code: 'LUTRA_INVALID_ARGUMENT',
      });
    }
    await expect(loadModel(directory, { npu: 'host' })).rejects.toMatchObject({ code: 'LUTRA_UNSUPPORTED' });
    await expect(loadModel(directory, { contextSize: 129 })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
  });
});
