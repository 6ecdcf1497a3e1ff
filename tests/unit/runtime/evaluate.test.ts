import { describe, expect, it } from 'vitest';
import { argmax, Comparison, contrast, prose, windowStarts } from '../../../lib/runtime/evaluate.js';

const softmax = (logits: number[]) => {
  const sum = logits.reduce((total, value) => total + Math.exp(value), 0);
  return logits.map((value) => Math.exp(value) / sum);
};

describe('evaluate', () => {
  const a = [1.5, -2, 0.25, 3];
  const b = [0.5, 1, -1, 2.5];

  it('measures surprise and divergence as their definitions say', () => {
    const p = softmax(a);
    const q = softmax(b);
    const kl = q.reduce((sum, value, i) => sum + value * Math.log(value / p[i]!), 0);
    expect(kl).toBeGreaterThan(0.1);
    const found = contrast(Float32Array.from(a), Float32Array.from(b), 2);
    expect(found.divergence).toBeCloseTo(kl, 12);
    expect(found.surprise).toBeCloseTo(-Math.log(p[2]!), 12);
    expect(found.referenceSurprise).toBeCloseTo(-Math.log(q[2]!), 12);
    expect(contrast(Float32Array.from(a), Float32Array.from(a), 0).divergence).toBeCloseTo(0, 12);
  });

  it('stands large logits', () => {
    expect(contrast(Float32Array.of(5000, 4990), Float32Array.of(0, 0), 0).surprise).toBeCloseTo(Math.log1p(Math.exp(-10)), 12);
    expect(contrast(Float32Array.of(0, 5000), Float32Array.of(5000, 0), 0).divergence).toBeCloseTo(5000, 6);
  });

  it('takes the first of equal logits', () => {
    expect(argmax(Float32Array.of(1, 3, 3))).toBe(1);
  });

  it('sums up', () => {
    const comparison = new Comparison();
    comparison.add(Float32Array.from(a), Float32Array.from(b), 0);
    comparison.add(Float32Array.from(b), Float32Array.of(0, 9, 0, 0), 3);
    const expected = Math.exp(-(Math.log(softmax(a)[0]!) + Math.log(softmax(b)[3]!)) / 2);
    expect(comparison.perplexity).toBeCloseTo(expected, 10);
    expect(comparison.top1).toBe(0.5);
    expect(comparison.kl).toBeGreaterThan(0);
  });

  it('takes the running text out of a book', () => {
    const paragraph = 'word '.repeat(40).trim();
    const broken = paragraph.replaceAll(/((?:word ){10})/g, '$1\r\n   ');
    expect(paragraph).toHaveLength(199);
    expect(prose(`CHAPTER I\r\n\r\n  ${broken}s\r\n \r\nHeading\r\n\r\n${paragraph}\r\n\r\n${paragraph} end`)).toBe(
      `${paragraph}s\n\n${paragraph} end`,
    );
  });

  it('puts windows into the middle of equal segments', () => {
    expect(windowStarts(22137, 16, 256).slice(0, 3)).toEqual([691, 2073, 3455]);
    expect(windowStarts(100, 2, 50)).toEqual([0, 50]);
    expect(() => windowStarts(100, 2, 51)).toThrow(/do not fit/);
    expect(() => windowStarts(100, 2, 1)).toThrow(/at least 2/);
  });
});
