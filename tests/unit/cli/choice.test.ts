import { describe, expect, it } from 'vitest';
import { describeChoice } from '../../../lib/cli/choice.js';
import type { ChoiceRecord } from '../../../lib/graph/spec.js';

const row = { kl: 0.0134, top1: 0.919, perplexity: 42.34, int8Share: 0.992, repairPerToken: 199_400 };
const choice: ChoiceRecord = {
  version: 1,
  goal: { maxKl: 0.015 },
  tokens: 2048,
  cost: 1.04,
  table: [
    { setting: 'chosen', ...row },
    { setting: '16 bits everywhere', ...row, int8Share: 0, repairPerToken: 0 },
  ],
  unrepaired: [
    'layers.0.q',
    'layers.0.k',
    'layers.1.q',
    'layers.1.k',
    'layers.2.q',
    'layers.2.k',
    'layers.4.q',
    'layers.4.k',
    'layers.11.up',
  ],
};

describe('the table of a choice', () => {
  it('has a line for each setting, and the clipped linears by layers', () => {
    expect(describeChoice(choice)).toEqual([
      'precisions    the cheapest with a KL of at most 0.015, on 2048 tokens that no range was taken from; 1.04 × the cost of w8a8 everywhere',
      '  setting                 KL   top-1  perplexity    INT8  repairs/token',
      '  chosen              0.0134  91.9 %       42.34  99.2 %       199 kMAC',
      '  16 bits everywhere  0.0134  91.9 %       42.34   0.0 %         0 kMAC',
      'clipped without repair: q, k of 0–2 4; up of 11',
    ]);
  });

  it('says when nothing is clipped, and what else was asked for', () => {
    const lines = describeChoice({ ...choice, goal: { int8Share: 0.9 }, unrepaired: [] });
    expect(lines[0]).toContain('the best with an INT8 share of at least 0.9');
    expect(lines.at(-1)).toBe('clipped without repair: none');
  });
});
