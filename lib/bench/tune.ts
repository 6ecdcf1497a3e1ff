/** From how many rows on dot products are faster than table look-up, measured: what the table in native/kernels/lowbit/lowbit_registry.cc says. */
import { lowBitFormat } from '../graph/dtype.js';
import * as kernels from '../kernels/index.js';
import type { BenchRow } from './kernels.js';

/** Formats that are measured, one for each number of bits that both families multiply, and the numbers of rows. */
export const TUNED_FORMATS = ['w1g128', 'w2g128', 'w3g128'] as const;
export const TUNED_ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16] as const;

/** Below `measured` rows look-up is faster; Infinity: for all that were measured. */
export interface Tuning {
  readonly isa: string;
  readonly bits: number;
  readonly measured: number;
  /** What the registry has; 0 when it does not take look-up at all. */
  readonly registry: number;
}

/** The limit at which the sum of all times is least. */
function limitOf(lookUp: readonly number[], dot: readonly number[]): number {
  const cost = (limit: number) =>
    TUNED_ROWS.reduce<number>((sum, n, i) => sum + ((n < limit ? lookUp[i] : dot[i]) ?? Number.POSITIVE_INFINITY), 0);
  return [...TUNED_ROWS, Number.POSITIVE_INFINITY].reduce<number>((best, limit) => (cost(limit) < cost(best) ? limit : best), 1);
}

/** Of cold products on one thread, for every instruction set that has both families. */
export function tuningOf(rows: readonly BenchRow[], list: readonly kernels.Kernel[] = kernels.list()): Tuning[] {
  const cold = rows.filter(({ mode, threads }) => mode === 'cold' && threads === 1);
  const isas = [...new Set(cold.map(({ isa }) => isa))].filter((isa) => isa !== null);
  return isas.flatMap((isa) =>
    TUNED_FORMATS.flatMap((format) => {
      const named = (family: kernels.Kernel['family']) =>
        list.find((one) => one.isa === isa && one.family === family && one.formats.includes(format));
      const [lut, dot] = [named('lut'), named('dot')];
      if (lut === undefined || dot === undefined) return [];
      const times = (kernel: string) =>
        TUNED_ROWS.map((n) => {
          const us = cold.filter((row) => row.kernel === kernel && row.format === format && row.n === n).map(({ p10us }) => p10us);
          return us.reduce((sum, one) => sum + one, 0);
        });
      const chosen = lut.chosen.find((one) => one.format === format);
      return [
        {
          isa,
          bits: lowBitFormat(format)?.bits ?? 0,
          measured: limitOf(times(lut.name), times(dot.name)),
          registry: chosen === undefined ? 0 : chosen.to + 1,
        },
      ];
    }),
  );
}
