import { describe, expect, it } from 'vitest';
import { nearest } from '../../../lib/runtime/options.js';

describe('nearest', () => {
  const known = ['max-tokens', 'temperature', 'top-k', 'top-p', 'threads', 'npu', 'raw'];

  it.each([
    ['max-token', 'max-tokens'],
    ['maxtokens', 'max-tokens'],
    ['temp', 'temperature'],
    ['tempreature', 'temperature'],
    ['thraeds', 'threads'],
    ['NPU', 'npu'],
    ['top_k', 'top-k'],
  ])('%s means %s', (typed, meant) => expect(nearest(typed, known)).toBe(meant));

  it('does not guess wildly', () => {
    expect(nearest('colour', known)).toBeUndefined();
    expect(nearest('quantize', known)).toBeUndefined();
  });
});
