import { describe, expect, it } from 'vitest';
import { bestWithShare, cheapest, type Group, int8ShareOf, klOf, leastKl, type Pick, sumOf } from '../../../lib/choose/pick.js';
import { Random } from '../../reference/random.js';

const group = (macs: number, kl8: number, klRepaired: number, kl16: number): Group => ({
  macs,
  options: [
    { cost: macs, kl: kl8, int8: true },
    { cost: 1.1 * macs, kl: klRepaired, int8: true },
    { cost: 2 * macs, kl: kl16, int8: false },
  ],
});

const groups = (seed: number, count: number): Group[] => {
  const random = new Random(seed);
  return Array.from({ length: count }, () => {
    const kl = random.uniform() ** 4;
    return group(1 + Math.floor(random.uniform() * 9), kl, kl * random.uniform(), 0.05 * kl * random.uniform());
  });
};

const costOf = (all: readonly Group[], pick: Pick): number => sumOf(all, pick, ({ cost }) => cost);

/** Every pick of a few groups. */
function* all(of: readonly Group[], pick: number[] = []): Generator<Pick> {
  const next = of[pick.length];
  if (!next) yield pick;
  else for (let i = 0; i < next.options.length; i++) yield* all(of, [...pick, i]);
}

describe('picking options', () => {
  it('takes the cheapest of each group where that is good enough, and the better of equals', () => {
    const two = [group(4, 0.1, 0.01, 0), group(2, 0.2, 0.3, 0)];
    expect(cheapest(two, 1)).toEqual([0, 0]);
    const equal: Group = {
      macs: 1,
      options: [
        { cost: 1, kl: 0.2, int8: true },
        { cost: 1, kl: 0.1, int8: true },
      ],
    };
    expect(cheapest([equal], 1)).toEqual([1]);
    expect(cheapest([], 1)).toEqual([]);
  });

  it('pays where a unit of cost saves most', () => {
    // Repairing the first costs 0.4 for 0.09; 16 bits of the second cost 2 for 0.2.
    const two = [group(4, 0.1, 0.01, 0), group(2, 0.2, 0.2, 0)];
    expect(cheapest(two, 0.25)).toEqual([1, 0]);
    expect(cheapest(two, 0.02)).toEqual([1, 2]);
    expect(cheapest(two, 0)).toEqual([2, 2]);
    expect(cheapest(two, -1)).toEqual(leastKl(two)); // cannot be had
  });

  it('takes back what became unnecessary', () => {
    // The cheap step has the better rate, but then the dear one alone is enough.
    const two = [group(10, 0.1, 0.09, 0.09), group(100, 1, 0.999, 0)];
    const pick = cheapest(two, 0.11);
    expect(pick).toEqual([0, 2]);
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])('is within 15 %% of the best of all picks, and never beyond the bound (seed %i)', (seed) => {
    const few = groups(seed, 7);
    const picks = [...all(few)];
    for (const part of [0.1, 0.3, 0.6]) {
      const bound = part * klOf(few, new Array(few.length).fill(0)) + (1 - part) * klOf(few, leastKl(few));
      const best = Math.min(...picks.filter((pick) => klOf(few, pick) <= bound).map((pick) => costOf(few, pick)));
      const found = cheapest(few, bound);
      expect(klOf(few, found)).toBeLessThanOrEqual(bound);
      expect(costOf(few, found)).toBeLessThanOrEqual(1.15 * best);
    }
  });

  it('has the share of 8 bits that is asked for, and spends the rest where it saves most', () => {
    const three = [group(1, 0.3, 0.3, 0), group(1, 0.1, 0.05, 0), group(2, 0.1, 0.1, 0)];
    expect(bestWithShare(three, 1)).toEqual([0, 1, 0]);
    expect(bestWithShare(three, 0.75)).toEqual([2, 1, 0]);
    expect(bestWithShare(three, 0.74)).toEqual([2, 1, 0]);
    expect(bestWithShare(three, 0.5)).toEqual([2, 2, 0]);
    expect(bestWithShare(three, 0)).toEqual([2, 2, 2]);
    expect(int8ShareOf(three, [2, 1, 0])).toBe(0.75);
    const many = groups(9, 40);
    for (const share of [0.2, 0.5, 0.9]) {
      const pick = bestWithShare(many, share);
      expect(int8ShareOf(many, pick)).toBeGreaterThanOrEqual(share - 1e-9);
      expect(int8ShareOf(many, pick)).toBeLessThan(share + 10 / 40);
      expect(klOf(many, pick)).toBeLessThan(klOf(many, bestWithShare(many, 1)));
    }
  });

  it('has 16 bits where nothing else is possible', () => {
    const wide: Group = { macs: 1, options: [{ cost: 2, kl: 0.1, int8: false }] };
    expect(bestWithShare([wide], 1)).toEqual([0]);
    expect(cheapest([wide], 0)).toEqual([0]);
  });
});
