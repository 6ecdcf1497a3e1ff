import { describe, expect, it } from 'vitest';
import { loadAddon } from '../../../lib/native/loader.js';
import { argmax, contrast } from '../../../lib/runtime/evaluate.js';

const VOCAB = 333;
const ROWS = 7;
const logits = Float32Array.from({ length: ROWS * VOCAB }, (_, i) => 6 * Math.sin(i * 1.7) + (i % 11));
const reference = logits.map((value, i) => value + Math.sin(i * 0.9));
const next = Uint32Array.from({ length: ROWS }, (_, r) => (r * 50) % VOCAB);

describe('compareLogits', () => {
  it('gives the figures of every prediction, whatever the number of threads', () => {
    const figures = loadAddon().compareLogits(logits, reference, next, 2);
    expect(loadAddon().compareLogits(logits, reference, next, 1)).toEqual(figures);
    expect(figures.length).toBe(ROWS * 4);
    for (let r = 0; r < ROWS; r++) {
      const [mine, its] = [logits, reference].map((all) => all.subarray(r * VOCAB, (r + 1) * VOCAB)) as [Float32Array, Float32Array];
      const { divergence, surprise, referenceSurprise } = contrast(mine, its, next[r] ?? 0);
      const want = [divergence, surprise, referenceSurprise, Number(argmax(mine) === argmax(its))];
      want.forEach((value, i) => {
        expect(figures[r * 4 + i], `figure ${i} of row ${r}`).toBeCloseTo(value, 5);
      });
    }
    expect([...loadAddon().compareLogits(logits, logits, next, 1)].filter((_, i) => i % 4 === 0)).toEqual(new Array(ROWS).fill(0));
  });

  it('refuses what does not fit together', () => {
    const { compareLogits } = loadAddon();
    for (const [a, b, tokens, threads] of [
      [logits, reference.subarray(1), next, 1],
      [logits.subarray(1), reference.subarray(1), next, 1],
      [logits, reference, next.subarray(0, 0), 1],
      [logits, reference, Uint32Array.from(next, () => VOCAB), 1],
      [logits, reference, next, 0],
    ] as const)
      expect(() => compareLogits(a, b, tokens, threads)).toThrow(expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT' }));
  });
});
