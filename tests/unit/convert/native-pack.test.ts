/** The addon's packing functions against their slow, obvious forms. */
import { describe, expect, it } from 'vitest';
import { floatsOf } from '../../../lib/convert/floats.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { BLOCKS, type BlockName, dequantizePacked, ggmlValues, packGgml, randomBlocks } from '../../reference/ggml.js';
import { Random } from '../../reference/random.js';

const SHAPES = [
  [1, 32],
  [7, 64],
  [16, 32],
  [50, 96],
  [64, 576],
] as const;

/** −0 as 0: code 8 of a negative scale is either. */
function unsigned(values: Float32Array): Float32Array {
  return values.map((value) => value + 0);
}

describe('native packing', () => {
  const addon = loadAddon();

  it.each(Object.keys(BLOCKS) as BlockName[])('packs %s byte for byte and gives every value back', (name) => {
    const random = new Random(4);
    const code = BLOCKS[name].plan;
    for (const [rows, cols] of SHAPES) {
      const blocks = randomBlocks(random, name, rows, cols);
      const packed = addon.packGgml(code, blocks, rows, cols);
      expect(Buffer.compare(packed, packGgml(code, blocks, rows, cols))).toBe(0);
      const values = unsigned(ggmlValues(name, blocks));
      expect(values.some((value) => value !== 0)).toBe(true);
      expect(unsigned(addon.dequantizePacked(code, packed, rows, cols))).toEqual(values);
      expect(unsigned(dequantizePacked(code, packed, rows, cols))).toEqual(values);
    }
  });

  it('reads halves as the converter does', () => {
    const halves = Uint16Array.from({ length: 0x7c00 }, (_, half) => half);
    const bytes = new Uint8Array(halves.buffer);
    expect(addon.dequantizePacked(2, bytes, 31, 1024)).toEqual(floatsOf('F16', bytes));
  });

  it('refuses sizes that do not fit', () => {
    for (const call of [
      () => addon.packGgml(17, new Uint8Array(19), 1, 32),
      () => addon.packGgml(17, new Uint8Array(20), 1, 33),
      () => addon.packGgml(99, new Uint8Array(20), 1, 32),
      () => addon.dequantizePacked(17, new Uint8Array(20), 1, 32),
      () => addon.dequantizePacked(17, new Uint8Array(320), 1, 32, new Float32Array(31)),
    ]) {
      expect(call).toThrow(expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT' }));
    }
  });
});
