/** How precisions were chosen, for people. */
import type { ChoiceRecord } from '../graph/spec.js';

/** Whole numbers, in order, with runs of them as `first–last`. */
function runs(numbers: readonly number[]): string {
  const found: [number, number][] = [];
  for (const n of numbers) {
    const last = found.at(-1);
    if (last && n === last[1] + 1) last[1] = n;
    else found.push([n, n]);
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(' ');
}

/** Keys `layers.N.NAME`: for each name the layers, names with the same ones together. */
function byName(keys: readonly string[]): string {
  const layers = new Map<string, number[]>();
  for (const key of keys) {
    const [, layer = '', name = ''] = key.split('.');
    layers.set(name, [...(layers.get(name) ?? []), Number(layer)]);
  }
  const names = new Map<string, string[]>();
  for (const [name, of] of layers) names.set(runs(of), [...(names.get(runs(of)) ?? []), name]);
  return [...names].map(([of, together]) => `${together.join(', ')} of ${of}`).join('; ');
}

/** The table of settings that were measured, and what it cannot say. */
export function describeChoice({ goal, tokens, cost, table, unrepaired }: ChoiceRecord): string[] {
  const asked =
    'maxKl' in goal ? `the cheapest with a KL of at most ${goal.maxKl}` : `the best with an INT8 share of at least ${goal.int8Share}`;
  const rows = [
    ['setting', 'KL', 'top-1', 'perplexity', 'INT8', 'repairs/token'],
    ...table.map((row) => [
      row.setting,
      row.kl.toFixed(4),
      `${(row.top1 * 100).toFixed(1)} %`,
      row.perplexity.toFixed(2),
      `${(row.int8Share * 100).toFixed(1)} %`,
      `${(row.repairPerToken / 1000).toFixed(0)} kMAC`,
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return [
    `precisions    ${asked}, on ${tokens} tokens that no range was taken from; ${cost.toFixed(2)} × the cost of w8a8 everywhere`,
    ...rows.map((row) => `  ${row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')}`),
    `clipped without repair: ${unrepaired.length === 0 ? 'none' : byName(unrepaired)}`,
  ];
}
