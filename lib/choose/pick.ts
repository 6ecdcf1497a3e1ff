/**
 * Picks one option for each group of linears by what each of them does alone. Errors of linears are nearly independent, so that the divergences they cause nearly add up; what
 * a combination gives is measured afterwards.
 */
import type { ChoiceRecord } from '../graph/spec.js';

export type Goal = ChoiceRecord['goal'];

/** What linears that read one tensor can be. */
export interface Option {
  /** Multiply-accumulates for a token, times the cost of the precision. */
  cost: number;
  /** KL of the model with nothing else changed, in nats. */
  kl: number;
  int8: boolean;
}

export interface Group<O extends Option = Option> {
  /** Multiply-accumulates for a token. */
  macs: number;
  /** At least one. */
  options: readonly O[];
}

/** One option of each group, in their order. */
export type Pick = readonly number[];

const at = (group: Group, i: number): Option => group.options[i] as Option;

/** Index of the option that `better` puts first; the first of equals. */
function first(group: Group, better: (a: Option, b: Option) => number): number {
  return group.options.reduce((best, option, i) => (better(option, at(group, best)) < 0 ? i : best), 0);
}

const byKl = (a: Option, b: Option): number => a.kl - b.kl;
const byCost = (a: Option, b: Option): number => a.cost - b.cost || a.kl - b.kl;

export function sumOf(groups: readonly Group[], pick: Pick, of: (option: Option, group: Group) => number): number {
  return groups.reduce((sum, group, i) => sum + of(at(group, pick[i] ?? 0), group), 0);
}

export function klOf(groups: readonly Group[], pick: Pick): number {
  return sumOf(groups, pick, ({ kl }) => kl);
}

export function int8ShareOf(groups: readonly Group[], pick: Pick): number {
  const all = groups.reduce((sum, { macs }) => sum + macs, 0);
  return sumOf(groups, pick, ({ int8 }, { macs }) => (int8 ? macs : 0)) / all;
}

/** The option with the least KL of each group. */
export function leastKl(groups: readonly Group[]): Pick {
  return groups.map((group) => first(group, byKl));
}

/** What a step from one option to another saves in `kl` for each unit of `price` that it adds. */
interface Step {
  group: number;
  option: number;
  rate: number;
}

/** The step with the most saved KL for its price. */
function bestStep(groups: readonly Group[], pick: Pick, price: (from: Option, to: Option, group: Group) => number): Step | null {
  let best: Step | null = null;
  groups.forEach((group, g) => {
    const from = at(group, pick[g] ?? 0);
    group.options.forEach((to, option) => {
      const saved = from.kl - to.kl;
      const rate = saved / Math.max(price(from, to, group), Number.MIN_VALUE);
      if (saved > 0 && rate > (best?.rate ?? 0)) best = { group: g, option, rate };
    });
  });
  return best;
}

/** The cheapest pick, by greed, whose options together have at most this KL; the one of {@link leastKl} when none has. */
export function cheapest(groups: readonly Group[], maxKl: number): Pick {
  const pick = groups.map((group) => first(group, byCost));
  while (klOf(groups, pick) > maxKl) {
    const step = bestStep(groups, pick, (from, to) => to.cost - from.cost);
    if (step === null) break;
    pick[step.group] = step.option;
  }
  return cheaper(groups, pick, maxKl);
}

/** Takes back what the last steps made unnecessary: the largest savings first. */
function cheaper(groups: readonly Group[], pick: number[], maxKl: number): Pick {
  for (;;) {
    const room = maxKl - klOf(groups, pick);
    let best = { group: -1, option: 0, saved: 0 };
    groups.forEach((group, g) => {
      const from = at(group, pick[g] ?? 0);
      group.options.forEach((to, option) => {
        const saved = from.cost - to.cost;
        if (saved > best.saved && to.kl - from.kl <= room) best = { group: g, option, saved };
      });
    });
    if (best.group < 0) return pick;
    pick[best.group] = best.option;
  }
}

/** The pick with the least KL, by greed, with at least this share of 8-bit linears; all that can be are where the share cannot be had. */
export function bestWithShare(groups: readonly Group[], share: number): Pick {
  const pick = groups.map((group) => first(group, (a, b) => Number(b.int8) - Number(a.int8) || byKl(a, b)));
  const all = groups.reduce((sum, { macs }) => sum + macs, 0);
  for (;;) {
    // A share of exactly what is asked for must not be lost to rounding.
    const room = int8ShareOf(groups, pick) - share + 1e-9;
    const fitting = groups.map((group, g) => {
      const fits = (to: Option): boolean => to.int8 || !at(group, pick[g] ?? 0).int8 || group.macs / all <= room;
      return { ...group, options: group.options.map((to) => (fits(to) ? to : { ...to, kl: Number.POSITIVE_INFINITY })) };
    });
    const step = bestStep(fitting, pick, (from, to, group) => (from.int8 && !to.int8 ? group.macs : 0));
    if (step === null) return pick;
    pick[step.group] = step.option;
  }
}
