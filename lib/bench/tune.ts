/** From how many rows on dot products are faster than table look-up, measured: what the table in native/kernels/lowbit/lowbit_registry.cc says. */
import { lowBitFormat } from '../graph/dtype.js';
import type * as kernels from '../kernels/index.js';
import type { BenchRow } from './kernels.js';

/** Formats that are measured, one for each number of bits that both families multiply, and the numbers of rows. */
export const TUNED_FORMATS = ['w1g128', 'w2g128', 'w3g128'] as const;
export const TUNED_ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16] as const;

export interface Tuning {
  /** Tier of instructions. */
  readonly isa: string;
  readonly bits: number;
  /** Below so many rows look-up is faster; 1: never, Infinity (null in JSON): for all that were measured. */
  readonly measured: number;
  /** What the registry has; null for tiers that this machine does not use. */
  readonly registry: number | null;
}

/** The limit at which the sum of all times is least. */
function limitOf(lookUp: readonly number[], dot: readonly number[]): number {
  const cost = (limit: number) =>
    TUNED_ROWS.reduce<number>((sum, n, i) => sum + ((n < limit ? lookUp[i] : dot[i]) ?? Number.POSITIVE_INFINITY), 0);
  return [...TUNED_ROWS, Number.POSITIVE_INFINITY].reduce<number>((best, limit) => (cost(limit) < cost(best) ? limit : best), 1);
}

/**
 * Of cold products on one thread, for every tier of instructions that was measured; `list` has the kernels, lower tiers first, and `used` is the tier that this machine uses.
 */
export function tuningOf(rows: readonly BenchRow[], list: readonly kernels.Kernel[], used: string): Tuning[] {
  const cold = rows.filter(({ mode, threads }) => mode === 'cold' && threads === 1);
  const measured = list.filter(({ name }) => cold.some(({ kernel }) => kernel === name));
  const tiers = [...new Set(measured.map(({ isa }) => isa))];
  const times = (kernel: string, format: string) =>
    TUNED_ROWS.map((n) => {
      const us = cold.filter((row) => row.kernel === kernel && row.format === format && row.n === n).map(({ p10us }) => p10us);
      return us.reduce((sum, one) => sum + one, 0);
    });
  return tiers.flatMap((isa, tier) =>
    TUNED_FORMATS.flatMap((format) => {
      // A tier without a kernel of a family runs that of the next lower one.
      const best = (family: kernels.Kernel['family']) =>
        measured.filter((one) => one.family === family && tiers.indexOf(one.isa) <= tier && one.formats.includes(format)).at(-1);
      const [lut, dot] = [best('lut'), best('dot')];
      if (lut === undefined || dot === undefined) return [];
      const limit = limitOf(times(lut.name, format), times(dot.name, format));
      const registry = (lut.chosen.find((one) => one.format === format)?.to ?? 0) + 1;
      return [{ isa, bits: lowBitFormat(format)?.bits ?? 0, measured: limit, registry: isa === used ? registry : null }];
    }),
  );
}
