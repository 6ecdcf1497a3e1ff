import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GgufFile } from '../../../lib/convert/gguf.js';
import { LutraError } from '../../../lib/graph/errors.js';
import { ggufBytes } from '../../reference/gguf-writer.js';
import { Random } from '../../reference/random.js';
import { tinyGguf } from './tiny-gguf.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'gguf-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function openBytes(bytes: Uint8Array): Promise<GgufFile> {
  const path = join(directory, 'model.gguf');
  writeFileSync(path, bytes);
  return GgufFile.open(path);
}

async function codeOf(bytes: Uint8Array): Promise<string> {
  try {
    await (await openBytes(bytes)).close();
    return 'opened';
  } catch (error) {
    if (error instanceof LutraError) return error.code;
    throw error;
  }
}

/** Index of the first byte after the magic, version and counts. */
const FIRST_ENTRY = 24;

describe('GgufFile', () => {
  it('reads metadata and tensors as they were written', async () => {
    const tiny = tinyGguf({ storages: ['q4_0', 'q4_1', 'q8_0', 'f32', 'f16', 'bf16'] });
    const file = await openBytes(tiny.bytes());
    expect(file.string('general.name')).toBe('Tiny');
    expect(file.integer('llama.block_count', 1)).toBe(2);
    expect(file.boolean('tokenizer.ggml.add_bos_token', true)).toBe(false);
    expect(file.strings('tokenizer.ggml.tokens')).toHaveLength(271);
    expect(file.tensors.size).toBe(tiny.tensors.length);
    for (const { name, ne, data } of tiny.tensors) {
      const tensor = file.tensor(name, ne[1] ?? 1, ne[0] ?? 0);
      const bytes = await file.readRows(tensor, 0, tensor.rows);
      expect(Buffer.compare(bytes, data)).toBe(0);
      if (tensor.rows > 3)
        expect(Buffer.compare(await file.readRows(tensor, 2, 1), data.subarray(2 * tensor.rowBytes, 3 * tensor.rowBytes))).toBe(0);
    }
    expect(() => file.tensor('blk.0.attn_q.weight', 64, 63)).toThrow(/metadata says 64 × 63/);
    expect(() => file.tensor('none', 1, 1)).toThrow(/no tensor none/);
    expect(() => file.number('general.name')).toThrow(LutraError);
    await file.close();
  });

  it('refuses a file cut off anywhere', async () => {
    const bytes = tinyGguf().bytes();
    const random = new Random(5);
    const cuts = [
      0,
      1,
      4,
      8,
      23,
      24,
      100,
      bytes.length - 1,
      bytes.length - 33,
      ...Array.from({ length: 60 }, () => random.below(bytes.length - 33)),
    ];
    for (const cut of cuts) {
      // The last tensor's padding may be missing; its data may not.
      expect(await codeOf(bytes.subarray(0, cut)), `cut at ${cut}`).toBe('LUTRA_BAD_FILE');
    }
  });

  it('never answers damage with anything but a typed error', async () => {
    const original = tinyGguf().bytes();
    const random = new Random(6);
    const seen = new Map<string, number>();
    for (let round = 0; round < 400; round++) {
      const bytes = Buffer.from(original);
      for (let flips = 0; flips <= random.below(3); flips++) bytes[random.below(8000)] = random.below(256);
      const code = await codeOf(bytes);
      seen.set(code, (seen.get(code) ?? 0) + 1);
    }
    expect([...seen.keys()].sort()).toEqual(expect.arrayContaining(['LUTRA_BAD_FILE', 'opened']));
    for (const code of seen.keys()) expect(['opened', 'LUTRA_BAD_FILE', 'LUTRA_UNSUPPORTED']).toContain(code);
  });

  it('refuses counts and lengths that the file cannot hold, at once', async () => {
    const original = tinyGguf().bytes();
    const started = performance.now();
    for (const value of [2n ** 64n - 1n, 2n ** 53n, 2n ** 40n, 10n ** 7n]) {
      for (const at of [8, 16, FIRST_ENTRY]) {
        const bytes = Buffer.from(original);
        bytes.writeBigUInt64LE(value, at);
        expect(await codeOf(bytes)).toBe('LUTRA_BAD_FILE');
      }
      const tokens = original.indexOf('tokenizer.ggml.tokens') + 'tokenizer.ggml.tokens'.length + 8;
      const bytes = Buffer.from(original);
      bytes.writeBigUInt64LE(value, tokens);
      expect(await codeOf(bytes)).toBe('LUTRA_BAD_FILE');
    }
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it('names what is foreign or too old', async () => {
    const bytes = tinyGguf().bytes();
    const version = (value: number) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt32LE(value, 4);
      return copy;
    };
    expect(await codeOf(version(1))).toBe('LUTRA_UNSUPPORTED');
    expect(await codeOf(version(0x03000000))).toBe('LUTRA_UNSUPPORTED');
    expect(await codeOf(version(77))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(Buffer.from('not a model at all, just some text that is long enough'))).toBe('LUTRA_BAD_FILE');
    await expect(GgufFile.open(join(directory, 'absent.gguf'))).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
    await expect(GgufFile.open(directory)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
  });

  it('refuses tensors that lie outside the file, overlap their alignment or appear twice', async () => {
    const data = new Uint8Array(128);
    const good = { name: 'a', type: 0, ne: [32], data };
    expect(await codeOf(ggufBytes({}, [good]))).toBe('opened');
    expect(await codeOf(ggufBytes({}, [good, good]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({}, [{ ...good, ne: [33] }]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({}, [{ ...good, ne: [2 ** 40, 2 ** 40] }]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({}, [{ ...good, type: 5 }]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({ 'general.alignment': { u32: 0 } }, [good]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({ 'general.alignment': { u32: 24 } }, [good]))).toBe('LUTRA_BAD_FILE');
    expect(await codeOf(ggufBytes({}, [{ name: 'q', type: 3, ne: [48], data }]))).toBe('LUTRA_BAD_FILE');
  });
});
