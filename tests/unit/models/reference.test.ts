/** The reference itself: properties that hold without trusting it. */
import { describe, expect, it } from 'vitest';
import { referenceDecoder, rope } from '../../reference/decoder.js';
import { roundEven } from '../../reference/interpreter.js';
import { tinyModel, type Weight } from '../../reference/tiny.js';

const TOKENS = [1, 17, 4, 90, 33, 33, 2, 61];

function maxDifference(a: readonly ArrayLike<number>[], b: readonly ArrayLike<number>[]): number {
  expect(a.length).toBe(b.length);
  return Math.max(...a.flatMap((row, t) => Array.from(row, (v, i) => Math.abs(v - (b[t]?.[i] ?? Number.NaN)))));
}

/** Rows of each head reordered so that pairs (i, i + half) become (2i, 2i + 1). */
function interleaveHeads({ shape, data }: Weight, headDim: number): Weight {
  const [rows = 0, cols = 0] = shape;
  const out = new Float32Array(data.length);
  for (let r = 0; r < rows; r++) {
    const [head, i] = [Math.floor(r / headDim) * headDim, r % headDim];
    const to = head + (i < headDim / 2 ? 2 * i : 2 * (i - headDim / 2) + 1);
    out.set(data.subarray(r * cols, (r + 1) * cols), to * cols);
  }
  return { shape, data: out };
}

describe('reference decoder', () => {
  it('is causal: earlier logits do not depend on later tokens', () => {
    const { spec, weights } = tinyModel();
    const all = referenceDecoder(spec.arch, weights, TOKENS).logits;
    const some = referenceDecoder(spec.arch, weights, TOKENS.slice(0, 5)).logits;
    expect(maxDifference(all.slice(0, 5), some)).toBe(0);
    expect(Math.max(...(all[7] ?? []))).toBeGreaterThan(1);
    const other = referenceDecoder(spec.arch, weights, [2, ...TOKENS.slice(1)]).logits;
    expect(maxDifference(all.slice(7), other.slice(7))).toBeGreaterThan(1e-3);
  });

  it('gives the same logits in both rotary conventions when q and k rows are permuted', () => {
    const { spec, weights } = tinyModel({ arch: { ropeFactors: true } });
    const permuted = new Map(weights);
    for (const [name, w] of weights) if (/\.[qk]$/.test(name)) permuted.set(name, interleaveHeads(w, spec.arch.headDim));
    const plain = referenceDecoder(spec.arch, weights, TOKENS).logits;
    const interleaved = referenceDecoder({ ...spec.arch, ropeInterleaved: true }, permuted, TOKENS).logits;
    expect(maxDifference(plain, interleaved)).toBeLessThan(1e-10);
    expect(maxDifference(plain, referenceDecoder(spec.arch, permuted, TOKENS).logits)).toBeGreaterThan(1e-3);
  });

  it('treats grouped KV heads as copies', () => {
    const { spec, weights } = tinyModel();
    const { headDim, hidden } = spec.arch;
    const expanded = new Map(weights);
    for (const [name, { data }] of weights) {
      if (!/\.[kv]$/.test(name)) continue;
      const head = (h: number): Float32Array => data.subarray(h * headDim * hidden, (h + 1) * headDim * hidden);
      expanded.set(name, { shape: [4 * headDim, hidden], data: Float32Array.from([0, 0, 1, 1].flatMap((h) => [...head(h)])) });
    }
    const grouped = referenceDecoder(spec.arch, weights, TOKENS).logits;
    expect(maxDifference(grouped, referenceDecoder({ ...spec.arch, kvHeads: 4 }, expanded, TOKENS).logits)).toBeLessThan(1e-10);
  });

  it('rotates by angles that depend only on distance, and leaves lengths alone', () => {
    const arch = { headDim: 4, ropeTheta: 100, ropeInterleaved: false };
    const dot = (a: Float64Array, b: Float64Array): number => a.reduce((s, v, i) => s + v * (b[i] ?? 0), 0);
    const [q, k] = [Float64Array.of(1, 2, -3, 0.5), Float64Array.of(0.3, -1, 2, 4)];
    expect(dot(rope(q, 7, arch, undefined), rope(k, 3, arch, undefined))).toBeCloseTo(
      dot(rope(q, 14, arch, undefined), rope(k, 10, arch, undefined)),
      10,
    );
    expect(dot(rope(q, 7, arch, undefined), rope(q, 7, arch, undefined))).toBeCloseTo(dot(q, q), 10);
    // First pair (0, 2) turns by the position itself, second (1, 3) by position / 10.
    const turned = rope(Float64Array.of(1, 0, 0, 1), 2, arch, undefined);
    expect([...turned]).toEqual([Math.cos(2), -Math.sin(0.2), Math.sin(2), Math.cos(0.2)].map((v) => expect.closeTo(v, 12)));
  });

  it('uses lm_head when not tied', () => {
    const { spec, weights } = tinyModel({ arch: { tied: false } });
    const own = referenceDecoder(spec.arch, weights, TOKENS).logits;
    const tied = referenceDecoder({ ...spec.arch, tied: true }, weights, TOKENS).logits;
    expect(maxDifference(own, tied)).toBeGreaterThan(1e-2);
  });

  it('rounds ties to even', () => {
    expect([0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 2.4999, -7.6].map((v) => roundEven(v) + 0)).toEqual([0, 2, 2, 0, -2, -2, 2, -8]);
  });
});
