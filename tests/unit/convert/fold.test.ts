/** The addon's folding and quantising of weights has the bits of the slow one. */
import { describe, expect, it } from 'vitest';
import { gained, rotationOf } from '../../../lib/convert/rotation.js';
import type { FoldOptions, FoldRotation } from '../../../lib/convert/tensors.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { foldS8, widen } from '../../reference/fold.js';
import { Random } from '../../reference/random.js';

const addon = loadAddon();
const random = new Random(8);

/** A whole matrix of some spread; row 0 is zeros. */
function options(rows: number, cols: number, given: Partial<FoldOptions> = {}): FoldOptions {
  const values = random.normals(rows * cols).map((value, i) => (i < cols ? 0 : value * 2 ** (i % 5)));
  return {
    ...{ values, rows, cols, first: 0, total: rows, rotation: null, outputs: false, transpose: false, threads: 2 },
    ...{ codes: new Int8Array(rows * cols), scales: new Float32Array(rows), ...given },
  };
}

const copyOf = (one: FoldOptions): FoldOptions => ({
  ...one,
  values: one.values.slice(),
  codes: one.codes.slice(),
  scales: one.scales.slice(),
});

async function check(one: FoldOptions): Promise<void> {
  const want = copyOf(one);
  expect([await addon.foldS8(one), await foldS8(want)]).toEqual([true, true]);
  expect(one.codes).toEqual(want.codes);
  expect(one.scales).toEqual(want.scales);
  if (one.rotation) expect(one.values).toEqual(want.values);
}

function rotationOfSize(hidden: number): FoldRotation {
  const { signs, matrix } = rotationOf(hidden);
  const gains = random.normals(hidden);
  return { diagonal: gained(signs, gains), matrix };
}

describe('foldS8', () => {
  it.each([false, true])('quantises with a scale per output, transposed: %s', async (transpose) => {
    for (const [rows, cols] of [
      [1, 32],
      [5, 7],
      [130, 96],
      [64, 1],
    ] as const)
      await check(options(rows, cols, { transpose }));
  });

  it.each([64, 96, 160, 93, 576, 7, 1])('hidden size %i: rotates inputs and outputs', async (hidden) => {
    const rotation = rotationOfSize(hidden);
    for (const transpose of [false, true]) {
      await check(options(70, hidden, { rotation, transpose }));
      for (const cols of [1, 15, 33]) await check(options(hidden, cols, { rotation, outputs: true, transpose }));
    }
  });

  it('takes a matrix in pieces', async () => {
    const [rows, cols] = [48, 40];
    const whole = options(rows, cols, { transpose: true });
    const pieces = copyOf(whole);
    await addon.foldS8(whole);
    for (const [first, count] of [
      [0, 16],
      [16, 32],
    ] as const)
      await addon.foldS8({
        ...pieces,
        values: pieces.values.subarray(first * cols, (first + count) * cols),
        first,
        rows: count,
        total: rows,
      });
    expect(pieces.codes).toEqual(whole.codes);
    expect(pieces.scales).toEqual(whole.scales);
  });

  it('tells what is no number, or becomes none', async () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const one = options(70, 33);
      one.values[69 * 33 + 32] = bad;
      expect(await addon.foldS8(one)).toBe(false);
    }
    const large = options(4, 64, { rotation: rotationOfSize(64) });
    large.values.fill(3e38);
    expect(await addon.foldS8(large)).toBe(false);
  });

  it('refuses sizes that do not fit', async () => {
    const rotation = rotationOfSize(64);
    for (const given of [
      { codes: new Int8Array(7) },
      { scales: new Float32Array(3) },
      { first: 1 },
      { rows: 0 },
      { values: new Float32Array(1) },
      { rotation },
      { rotation: { ...rotation, matrix: new Float32Array(2) } },
      { outputs: true, rotation },
    ])
      await expect(addon.foldS8(options(4, 32, given))).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
  });
});

describe('widen', () => {
  it.each(['F32', 'F16', 'BF16'] as const)('%s: every number as it is', (type) => {
    for (const count of [1, 8, 37]) {
      const bytes = Uint8Array.from({ length: count * (type === 'F32' ? 4 : 2) }, (_, i) => (i * 37) & 0x3b);
      const [out, want] = [new Float32Array(count), new Float32Array(count)];
      expect([addon.widen(type, bytes, out), widen(type, bytes, want)]).toEqual([true, true]);
      expect(out).toEqual(want);
    }
  });

  it('tells what is none', () => {
    const [infinite, nan] = [0x7c00, 0xfe01].map((half) => new Uint16Array(40).fill(half, 39));
    for (const halves of [infinite, nan])
      expect(addon.widen('F16', new Uint8Array(halves?.buffer ?? []), new Float32Array(40))).toBe(false);
    const brain = new Uint16Array(9).fill(0x7f80, 0, 1);
    expect(addon.widen('BF16', new Uint8Array(brain.buffer), new Float32Array(9))).toBe(false);
    const floats = Float32Array.of(1, Number.NaN);
    expect(addon.widen('F32', new Uint8Array(floats.buffer), new Float32Array(2))).toBe(false);
  });

  it('refuses what does not fit', () => {
    for (const [type, bytes, out] of [
      ['F32', 6, 1],
      ['F16', 4, 3],
      ['F64', 8, 1],
    ] as const)
      expect(() => addon.widen(type as 'F32', new Uint8Array(bytes), new Float32Array(out))).toThrow(
        expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT' }),
      );
  });
});
