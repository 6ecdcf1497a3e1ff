/** lutra's kernels against another engine, from rows that were measured in turns. */
import type { BenchRow } from './kernels.js';

/** The best chosen kernel of a number of bits beside the other engine. */
export interface Ratio extends Pick<BenchRow, 'engine' | 'bits' | 'rows' | 'columns' | 'n' | 'threads' | 'mode'> {
  /** Of lutra's kernel. */
  readonly format: string;
  /** How many times as fast it is, by the fast tenths of both. */
  readonly ratio: number;
}

export function ratiosOf(rows: readonly BenchRow[]): Ratio[] {
  const fields = ['bits', 'rows', 'columns', 'n', 'threads', 'mode'] as const;
  return rows
    .filter(({ engine }) => engine !== 'lutra')
    .flatMap((peer) => {
      const [best] = rows
        .filter((row) => row.engine === 'lutra' && row.chosen && fields.every((field) => row[field] === peer[field]))
        .sort((a, b) => a.p10us - b.p10us);
      if (best === undefined) return [];
      const { engine, bits, rows: outputs, columns, n, threads, mode } = peer;
      return [{ engine, bits, rows: outputs, columns, n, threads, mode, format: best.format, ratio: peer.p10us / best.p10us }];
    });
}
