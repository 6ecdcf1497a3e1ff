/** The fast folding of the rotation against products with the whole matrix. */
import { describe, expect, it } from 'vitest';
import { gained, rotationOf } from '../../../lib/convert/rotation.js';
import { checkRotatable, LINEAR_NAMES, linearKey, rotationSize } from '../../../lib/models/index.js';
import { rotateInputs, rotateOutputs } from '../../reference/fold.js';
import { rotation } from '../../reference/interpreter.js';
import { foldedWeights } from '../../reference/rotated.js';
import { tinyModel } from '../../reference/tiny.js';

const READS_NORM = { q: 'attn_norm', k: 'attn_norm', v: 'attn_norm', gate: 'ffn_norm', up: 'ffn_norm' } as const;

describe('rotationOf', () => {
  it.each([1, 2, 7, 64, 93, 96, 160, 576])('%i: orthogonal, the same every time, with signs of both kinds', (hidden) => {
    const { signs, matrix, size } = rotationOf(hidden);
    expect(rotationOf(hidden)).toEqual({ signs, matrix, size });
    expect(size).toBe(rotationSize(hidden));
    expect(Number.isInteger(Math.log2(hidden / size)) && size % 2).toBe(1);
    if (hidden >= 64) expect([...new Set(signs)].sort()).toEqual([-1, 1]);
    const r = rotation({ shape: [hidden], data: signs }, { shape: [size, size], data: matrix });
    for (const i of [0, hidden >> 1, hidden - 1]) {
      for (let j = 0; j < hidden; j++) {
        const product = r[i]?.reduce((sum, v, k) => sum + v * (r[j]?.[k] ?? Number.NaN), 0);
        expect(product).toBeCloseTo(i === j ? 1 : 0, 6);
      }
    }
  });
});

describe('hidden sizes', () => {
  it('are refused when their odd part is too large for a matrix', () => {
    for (const hidden of [64, 96, 93, 4096, 256 * 255]) expect(() => checkRotatable(hidden)).not.toThrow();
    expect(() => checkRotatable(4 * 257)).toThrow(
      expect.objectContaining({ code: 'LUTRA_UNSUPPORTED', message: expect.stringContaining('257') }),
    );
  });
});

describe('folding', () => {
  it.each([64, 96, 160, 93])('hidden size %i: W · diag(gain) · R and Rᵀ · W', (hidden) => {
    const { spec, weights } = tinyModel({ arch: { hidden, layers: 1 } });
    const want = foldedWeights(spec, weights);
    const r = rotationOf(hidden);
    for (const name of LINEAR_NAMES) {
      const key = linearKey(0, name);
      const weight = weights.get(key);
      const norm = name in READS_NORM ? READS_NORM[name as keyof typeof READS_NORM] : null;
      const values = weight?.data.slice() ?? new Float32Array();
      if (norm === null) rotateOutputs(values, weight?.shape[1] ?? 0, r);
      else rotateInputs(values, gained(r.signs, weights.get(`layers.0.${norm}`)?.data ?? r.signs), r);
      const expected = want.get(key)?.data ?? [];
      expect(values.length).toBe(expected.length);
      expect(Math.max(...values.map((v, i) => Math.abs(v - (expected[i] ?? Number.NaN)))), name).toBeLessThan(2e-6);
    }
  });
});
