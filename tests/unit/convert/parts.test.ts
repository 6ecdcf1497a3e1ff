import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { floatsOf, fromHalf, halvesOf, toHalf } from '../../../lib/convert/floats.js';
import { shortestFloat32 } from '../../../lib/convert/gguf-arch.js';
import { DEFAULT_PRECISION, formatPrecision, parsePrecision } from '../../../lib/convert/precision.js';
import { interleavedRow, unpermuteRows } from '../../../lib/convert/rows.js';
import { ALIGNMENT, type SafetensorsEntry, SafetensorsWriter, safetensorsHeader } from '../../../lib/convert/safetensors.js';
import { Random } from '../../reference/random.js';
import { hashesOf } from '../../reference/reseal.js';

describe('half precision', () => {
  it('reads every half back, and rounds the midpoints to even', () => {
    for (let half = 0; half < 0x7c00; half++) {
      const value = fromHalf(half);
      expect(toHalf(value)).toBe(half);
      expect(toHalf(-value)).toBe(half | 0x8000);
      const above = fromHalf(half + 1);
      if (!Number.isFinite(above)) continue;
      const middle = (value + above) / 2;
      expect(toHalf(middle)).toBe(half % 2 === 0 ? half : half + 1);
      expect(toHalf(middle + (above - value) * 0.01)).toBe(half + 1);
      expect(toHalf(middle - (above - value) * 0.01)).toBe(half);
    }
    expect(toHalf(65519.9)).toBe(0x7bff);
    expect(toHalf(65520)).toBe(0x7c00);
    expect(toHalf(Number.NaN) & 0x7fff).toBeGreaterThan(0x7c00);
    expect(toHalf(-1e30)).toBe(0xfc00);
  });

  it('refuses values that F16 cannot hold', () => {
    expect(Array.from(halvesOf(Float32Array.of(1, -2, 0.5), 'x'))).toEqual([0x3c00, 0xc000, 0x3800]);
    expect(() => halvesOf(Float32Array.of(70000), 'layers.0.attn_norm')).toThrow(/layers\.0\.attn_norm holds 70000/);
    expect(() => halvesOf(Float32Array.of(Number.NaN), 'x')).toThrow(/NaN/);
  });

  it('widens F16 and BF16 exactly', () => {
    expect(Array.from(floatsOf('BF16', Uint8Array.of(0x80, 0x3f, 0x49, 0xc0)))).toEqual([1, -3.140625]);
    expect(Array.from(floatsOf('F16', Uint8Array.of(0, 0x3c, 1, 0)))).toEqual([1, 2 ** -24]);
    const values = new Random(1).normals(9);
    expect(floatsOf('F32', new Uint8Array(values.slice().buffer))).toEqual(values);
  });

  it('finds the decimal that a model card has', () => {
    expect(shortestFloat32(0.000009999999747378752)).toBe(1e-5);
    expect(shortestFloat32(Math.fround(1.1))).toBe(1.1);
    expect(shortestFloat32(0.5)).toBe(0.5);
  });
});

describe('row order', () => {
  it('undoes the permutation of GGUF files', () => {
    const [heads, headDim, rowBytes] = [3, 16, 5];
    const original = Uint8Array.from({ length: heads * headDim * rowBytes }, (_, i) => (i * 7) & 255);
    // The permutation of the exporter: [head, 2, headDim/2] → [head, headDim/2, 2].
    const permuted = new Uint8Array(original.length);
    for (let head = 0; head < heads; head++) {
      for (let part = 0; part < 2; part++) {
        for (let i = 0; i < headDim / 2; i++) {
          const from = head * headDim + (part * headDim) / 2 + i;
          const to = head * headDim + i * 2 + part;
          permuted.set(original.subarray(from * rowBytes, (from + 1) * rowBytes), to * rowBytes);
        }
      }
    }
    expect(permuted).not.toEqual(original);
    expect(unpermuteRows(permuted, rowBytes, headDim)).toEqual(original);
    expect(interleavedRow(headDim + 1, headDim)).toBe(headDim + 2);
  });
});

describe('precision option', () => {
  it('fills in the default and lets a kind win over all, in any order', () => {
    expect(parsePrecision('down=w8a8s')).toEqual({ ...DEFAULT_PRECISION, down: 'w8a8s' });
    expect(parsePrecision('all=w8a16')).toEqual({ qkv: 'w8a16', o: 'w8a16', gateup: 'w8a16', down: 'w8a16' });
    expect(parsePrecision(' down = w8f16 , all=w8a8')).toEqual({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8f16' });
    expect(parsePrecision(formatPrecision(DEFAULT_PRECISION))).toEqual(DEFAULT_PRECISION);
  });

  it.each(['', 'qkv', 'qkv=', 'qkv=w4', 'ffn=w8a8', 'qkv=w8a8,qkv=w8a8', 'qkv=w8a8=x', 'gateup=w8a8s', 'all=w8a8s', 'toString=w8a8'])(
    'refuses "%s"',
    (text) => {
      expect(() => parsePrecision(text)).toThrow(
        expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT', remedy: expect.stringContaining('KIND=NAME') }),
      );
    },
  );
});

describe('safetensors', () => {
  const entries: SafetensorsEntry[] = [
    { name: 'a', dtype: 'F32', shape: [3] },
    { name: 'b', dtype: 'I8', shape: [1, 1, 5, 13] },
    { name: 'c', dtype: 'F16', shape: [32] },
    { name: 'd', dtype: 'U8', shape: [1] },
  ];

  it('aligns every tensor and leaves no hole', () => {
    const { header } = safetensorsHeader(entries);
    expect(header.length % ALIGNMENT).toBe(0);
    const json = Buffer.from(header).subarray(8).toString('utf8');
    const table = JSON.parse(json) as Record<string, { data_offsets: [number, number] }>;
    let end = 0;
    for (const { data_offsets } of Object.values(table)) {
      expect(data_offsets[0]).toBe(end);
      end = data_offsets[1];
    }
    for (const { name } of entries) expect((table[name]?.data_offsets[0] ?? 1) % ALIGNMENT).toBe(0);
    expect(Object.keys(table).filter((name) => name.startsWith('__pad'))).toHaveLength(2);
    expect(() => safetensorsHeader([entries[0]!, entries[0]!])).toThrow(/twice/);
  });

  it('writes data in pieces and hashes the file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'st-'));
    try {
      const path = join(directory, 'x.safetensors');
      const writer = await SafetensorsWriter.create(path, entries);
      await writer.write('a', Float32Array.of(1, 2));
      await writer.write('a', Float32Array.of(3));
      await writer.write('b', new Int8Array(65).fill(-7));
      await writer.write('c', new Uint16Array(32).fill(0x3c00));
      await writer.write('d', Uint8Array.of(9));
      const hashes = await writer.finish();
      const bytes = readFileSync(path);
      expect(hashes.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
      expect(hashes).toEqual(hashesOf(bytes));
      expect(Object.keys(hashes.tensors)).toHaveLength(6);
      const start = 8 + Number(bytes.readBigUInt64LE(0));
      const table = JSON.parse(bytes.subarray(8, start).toString('utf8')) as Record<string, { data_offsets: [number, number] }>;
      const data = (name: string) =>
        bytes.subarray(start + (table[name]?.data_offsets[0] ?? 0), start + (table[name]?.data_offsets[1] ?? 0));
      expect(Array.from(new Float32Array(Uint8Array.from(data('a')).buffer))).toEqual([1, 2, 3]);
      expect(data('b').every((byte) => byte === 249)).toBe(true);
      expect(data('d')).toEqual(Buffer.of(9));
      expect(bytes.length).toBe(start + (table.d?.data_offsets[1] ?? 0));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('refuses data out of order, too much of it, and an early end', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'st-'));
    try {
      const writer = await SafetensorsWriter.create(join(directory, 'x'), entries);
      await expect(writer.write('b', new Int8Array(65))).rejects.toMatchObject({ code: 'LUTRA_INTERNAL' });
      await writer.abandon();
      const second = await SafetensorsWriter.create(join(directory, 'y'), entries);
      await expect(second.write('a', new Float32Array(4))).rejects.toMatchObject({ code: 'LUTRA_INTERNAL' });
      await writer.abandon();
      const third = await SafetensorsWriter.create(join(directory, 'z'), entries);
      await third.write('a', new Float32Array(2));
      await expect(third.finish()).rejects.toMatchObject({ code: 'LUTRA_INTERNAL' });
      await third.abandon();
      await second.abandon();
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
