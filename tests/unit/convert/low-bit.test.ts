/** Low-bit weights from floats: codes of the two languages agree, values come back, and importance lowers the error where it lies. */
import { describe, expect, it } from 'vitest';
import { CPU_WEIGHTS, parseCpuWeights } from '../../../lib/convert/cpu-weights.js';
import { packedBytes } from '../../../lib/convert/tensors.js';
import { DTYPES, type DType, isWeightType, type LowBitType, lowBitFormat } from '../../../lib/graph/dtype.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { Random } from '../../reference/random.js';

const TYPES = (Object.keys(DTYPES) as DType[]).filter((dtype): dtype is LowBitType => lowBitFormat(dtype) !== undefined);

/** Σ weight · (a − b)² / Σ weight · a² over [rows, cols]. */
function error(a: Float32Array, b: Float32Array, weights: Float32Array): number {
  let off = 0;
  let power = 0;
  for (let i = 0; i < a.length; i++) {
    const weight = weights[i % weights.length]!;
    off += weight * (a[i]! - b[i]!) ** 2;
    power += weight * a[i]! ** 2;
  }
  return off / power;
}

describe('low-bit weights', () => {
  const addon = loadAddon();

  it('has every combination under one code', () => {
    expect(TYPES).toHaveLength(48);
    expect(new Set(TYPES.map((type) => DTYPES[type].code)).size).toBe(48);
    expect(lowBitFormat('w3g64m')).toEqual({ bits: 3, group: 64, offset: 'minimum' });
    expect(lowBitFormat('w2row')).toEqual({ bits: 2, group: 0, offset: 'none' });
    expect(lowBitFormat('q4_1')).toBeUndefined();
    expect(TYPES.every((type) => isWeightType(type))).toBe(true);
  });

  it.each(TYPES)('%s: as many bytes as the converter reckons with, and an error of its bits', (type) => {
    const random = new Random(3);
    const format = lowBitFormat(type)!;
    // Twice what the best scalar quantiser of normal values has; a step for a whole row has to span more.
    const most = { 1: 0.75, 2: 0.25, 3: 0.08, 4: 0.025 }[format.bits];
    for (const [rows, cols] of [
      [1, 32],
      [17, 96],
      [5, 200],
      [40, 576],
    ] as const) {
      const w = random.normals(rows * cols, 0.05);
      const packed = addon.quantizeLowBit(DTYPES[type].code, w, rows, cols, null);
      expect(packed.length).toBe(packedBytes(type, rows, cols));
      const back = addon.dequantizePacked(DTYPES[type].code, packed, rows, cols);
      expect(error(w, back, Float32Array.of(1))).toBeLessThan(most);
      expect(back.some((value) => value !== 0)).toBe(true);
    }
  });

  it.each(['w4g32m', 'w3g32m', 'w2g64m', 'w2g64z', 'w3g128'] as const)('%s: columns that matter are kept better', (type) => {
    const random = new Random(5);
    const [rows, cols] = [64, 256];
    const w = random.normals(rows * cols, 0.05);
    const importance = Float32Array.from({ length: cols }, () => Math.exp(2 * random.normal()));
    const { code } = DTYPES[type];
    const plain = addon.dequantizePacked(code, addon.quantizeLowBit(code, w, rows, cols, null), rows, cols);
    const weighted = addon.dequantizePacked(code, addon.quantizeLowBit(code, w, rows, cols, importance), rows, cols);
    expect(error(w, weighted, importance)).toBeLessThan(0.85 * error(w, plain, importance));
  });

  it('gives the same on any number of threads', () => {
    const w = new Random(9).normals(100 * 96, 0.05);
    const { code } = DTYPES.w3g64m;
    const one = addon.quantizeLowBit(code, w, 100, 96, null);
    for (const threads of [1, 2, 5]) expect(addon.quantizeLowBit(code, w, 100, 96, null, threads)).toEqual(one);
    for (const threads of [0, 1000]) expect(() => addon.quantizeLowBit(code, w, 100, 96, null, threads)).toThrow(/threads/);
  });

  it('holds constants and zeros exactly, and refuses what is no number', () => {
    const { code } = DTYPES.w3g32m;
    for (const value of [0, 0.5, -3]) {
      const w = new Float32Array(64).fill(value);
      expect(addon.dequantizePacked(code, addon.quantizeLowBit(code, w, 2, 32, null), 2, 32)).toEqual(w);
    }
    const large = Float32Array.from({ length: 64 }, (_, i) => (i % 2 ? 65_000 : -65_000));
    for (const type of ['w1g32m', 'w1g32', 'w2g32z', 'w4g32m'] as const) {
      const packed = addon.quantizeLowBit(DTYPES[type].code, large, 2, 32, null);
      expect(error(large, addon.dequantizePacked(DTYPES[type].code, packed, 2, 32), Float32Array.of(1))).toBeLessThan(0.3);
    }
    const failures: [() => unknown, string][] = [
      [() => addon.quantizeLowBit(code, new Float32Array(64).fill(Number.NaN), 2, 32, null), 'LUTRA_BAD_FILE'],
      [() => addon.quantizeLowBit(code, new Float32Array(64).fill(70_000), 2, 32, null), 'LUTRA_UNSUPPORTED'],
      [() => addon.quantizeLowBit(code, new Float32Array(63), 2, 32, null), 'LUTRA_INVALID_ARGUMENT'],
      [() => addon.quantizeLowBit(code, new Float32Array(64), 2, 32, new Float32Array(32)), 'LUTRA_INVALID_ARGUMENT'],
      [() => addon.quantizeLowBit(code, new Float32Array(64), 2, 32, new Float32Array(2).fill(1)), 'LUTRA_INVALID_ARGUMENT'],
      [() => addon.quantizeLowBit(17, new Float32Array(64), 2, 32, null), 'LUTRA_INVALID_ARGUMENT'],
      [() => parseCpuWeights('--cpu-weights', 'w5g32'), 'LUTRA_INVALID_ARGUMENT'],
    ];
    for (const [call, code] of failures) expect(call).toThrow(expect.objectContaining({ code }));
    expect(parseCpuWeights('--cpu-weights', 'keep')).toBeNull();
    expect(Object.keys(CPU_WEIGHTS)).toContain(parseCpuWeights('--cpu-weights', 'w3g32'));
  });
});
