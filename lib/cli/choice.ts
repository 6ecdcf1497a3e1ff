/** How precisions were chosen, for people. */
import type { ChoiceRecord } from '../graph/spec.js';

/** `layers.N.NAME` by name: how many of them there are, for a list that may be as long as the model. */
function byName(keys: readonly string[]): string {
  const layers = new Map<string, string[]>();
  for (const key of keys) {
    const [, layer = '', name = ''] = key.split('.');
    layers.set(name, [...(layers.get(name) ?? []), layer]);
  }
  return [...layers].map(([name, of]) => `${name} of ${of.join(' ')}`).join('; ');
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
