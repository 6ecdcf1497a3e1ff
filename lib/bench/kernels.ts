/**
 * Speed of the kernels that multiply packed weights, beside a plain read of memory and, when it is installed, onnxruntime-node. Everything takes turns, a few milliseconds
 * each, so that whatever else the machine does hits all alike. Products and reads are timed in the addon.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { DTYPES, lowBitFormat } from '../graph/dtype.js';
import * as kernels from '../kernels/index.js';
import type { ArenaHandle } from '../native/kernels-addon.js';
import { loadAddon } from '../native/loader.js';
import { findRuntime, Peer } from './onnxruntime.js';
import { nmseOf, Random } from './random.js';

export interface BenchOptions {
  readonly sizes: readonly { readonly rows: number; readonly columns: number }[];
  readonly formats: readonly kernels.Format[];
  readonly threads: readonly number[];
  /** Rows of activations. */
  readonly n: readonly number[];
  readonly rounds: number;
  /** Whether onnxruntime-node is measured when it is there. */
  readonly peers: boolean;
  /** Memory that cold products and reads go through; default 1 GiB, and at least 4 × the last-level cache. */
  readonly arenaBytes?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface BenchRow {
  readonly kernel: string;
  readonly engine: 'lutra' | 'onnxruntime-node';
  /** null: what the engine chooses. */
  readonly isa: string | null;
  readonly format: string;
  readonly bits: number;
  readonly bitsPerWeight: number;
  /** Columns that share a scale; 0: the whole row. */
  readonly group: number;
  readonly rows: number;
  readonly columns: number;
  readonly n: number;
  readonly threads: number;
  readonly mode: 'cold' | 'warm';
  /** Whether the registry takes this kernel for format and n. */
  readonly chosen: boolean;
  readonly p10us: number;
  readonly medianUs: number;
  /** Packed bytes over the fast tenth. */
  readonly gbPerSecond: number;
  /** Of the same run and number of threads: the fast tenth of the best plain loop. */
  readonly readLineGbPerSecond: number;
  /** Against float64 on the same weights. */
  readonly nmse: number;
}

export interface BenchResult {
  readonly rows: readonly BenchRow[];
  readonly cacheBytes: number;
  readonly peer: string | null;
  /** Which load loop is the read line, by threads. */
  readonly readLoops: Readonly<Record<number, string>>;
}

/** What one row is made of, with its samples. */
interface Case {
  readonly row: Omit<BenchRow, 'p10us' | 'medianUs' | 'gbPerSecond' | 'readLineGbPerSecond'>;
  readonly us: number[];
  sample(): Promise<void> | void;
}

const ARENA_BYTES = 2 ** 30;
const READ_BYTES = 8 * 2 ** 20;
const READS = 4;
/** Of a kernel's turn. */
const TURN_US = 3000;
/** What the threads of onnxruntime-node may go on spinning for. */
const SPIN_MS = 5;
const PEER_BLOCK = 128;
const PEER_RUNS = 3;
export const ERROR_ROWS = 64;

/** Bytes of the last cache before memory; 32 MiB where the system does not say. */
function lastLevelCache(): number {
  const folder = '/sys/devices/system/cpu/cpu0/cache';
  try {
    const sizes = readdirSync(folder)
      .filter((name) => name.startsWith('index'))
      .map((name) => Number.parseInt(readFileSync(`${folder}/${name}/size`, 'utf8'), 10) * 1024);
    return Math.max(...sizes.filter((size) => size > 0)) || 32 * 2 ** 20;
  } catch {
    return 32 * 2 ** 20;
  }
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? Number.NaN;
}

/** {@link ERROR_ROWS} rows of a weight in that format. */
export function someWeight(format: kernels.Format, columns: number): kernels.Weight {
  const random = new Random(5);
  const shape = { rows: ERROR_ROWS, columns };
  if (format === 'q4_0' || format === 'q4_1' || format === 'q8_0') {
    const bytes = ((ERROR_ROWS * columns) / 32) * { q4_0: 18, q4_1: 20, q8_0: 34 }[format];
    // Without that bit every half is an ordinary number.
    return kernels.pack({ ...shape, format, blocks: random.bytes(bytes).map((byte) => byte & 0xbf) });
  }
  return kernels.pack({ ...shape, format, values: random.normals(ERROR_ROWS * columns) });
}

type Shape = { readonly rows: number; readonly columns: number };

function kernelCases(arena: ArenaHandle, { rows, columns }: Shape, options: BenchOptions): Case[] {
  const addon = loadAddon().kernels;
  const usable = kernels.list().filter(({ available }) => available);
  const fast = usable.some(({ isa }) => isa !== 'portable') ? usable.filter(({ isa }) => isa !== 'portable') : usable;
  return options.formats.flatMap((format) => {
    const weight = someWeight(format, columns);
    const held = kernels.dequantize(weight);
    const x = new Random(9).normals(columns);
    const parts = lowBitFormat(format);
    const bitsPerWeight = (8 * weight.byteLength) / (ERROR_ROWS * columns);
    const cases = fast
      .filter(({ formats }) => formats.includes(format))
      .flatMap(({ name, isa, chosen }) => {
        const y = kernels.gemv(weight, x, { kernel: name });
        const nmse = nmseOf(y, x, columns, ERROR_ROWS, (row, column) => held[row * columns + column]!);
        const combinations = options.n.flatMap((n) =>
          options.threads.flatMap((threads) => (['cold', 'warm'] as const).map((mode) => ({ n, threads, mode }))),
        );
        return combinations.map(({ n, threads, mode }): Case => {
          const time = (count: number) =>
            addon.timeProducts(arena, name, DTYPES[format].code, rows, columns, n, threads, mode === 'warm', count);
          const count = Math.min(200, Math.max(1, Math.round(TURN_US / quantile([...time(5)], 0.5))));
          const us: number[] = [];
          return {
            row: {
              ...{ kernel: name, engine: 'lutra', isa, format, bits: parts?.bits ?? (format === 'q8_0' ? 8 : 4), bitsPerWeight },
              ...{ group: parts?.group ?? 32, rows, columns, n, threads, mode, nmse },
              chosen: chosen.some((one) => one.format === format && one.from <= n && n <= one.to),
            },
            us,
            sample: () => void us.push(...time(count)),
          };
        });
      });
    weight.dispose();
    return cases;
  });
}

/** Of 2 and 4 bits, with a scale per 128 columns. */
async function peerCases(shape: Shape, options: BenchOptions, cacheBytes: number, peers: Peer[]): Promise<Case[]> {
  const found = options.peers ? findRuntime() : undefined;
  if (found === undefined || shape.columns % PEER_BLOCK !== 0) return [];
  const cases: Case[] = [];
  for (const bits of [2, 4]) {
    const bitsPerWeight = bits + 32 / PEER_BLOCK;
    const bytes = (shape.rows * shape.columns * bitsPerWeight) / 8;
    for (const n of options.n) {
      for (const threads of options.threads) {
        for (const mode of ['cold', 'warm'] as const) {
          const products = mode === 'cold' ? Math.ceil((4 * cacheBytes) / bytes) : Math.max(1, Math.floor(cacheBytes / 2 / bytes));
          const peer = await Peer.create(found.runtime, { bits, block: PEER_BLOCK, ...shape, n }, products, threads);
          peers.push(peer);
          const us: number[] = [];
          cases.push({
            row: {
              ...{ kernel: 'MatMulNBits', engine: 'onnxruntime-node', isa: null, format: `${bits} bits`, bits, bitsPerWeight },
              ...{ group: PEER_BLOCK, ...shape, n, threads, mode, nmse: peer.nmse, chosen: true },
            },
            us,
            sample: async () => {
              for (let i = 0; i < PEER_RUNS; i++) us.push(await peer.time());
              if (threads > 1) await sleep(SPIN_MS);
            },
          });
        }
      }
    }
  }
  return cases;
}

/** Microseconds of reads, by loop, for one number of threads. */
class ReadLine {
  readonly #us = new Map<string, number[]>();

  sample(arena: ArenaHandle, threads: number): void {
    for (const { name, us } of loadAddon().kernels.timeReads(arena, READ_BYTES, threads, READS)) {
      const before = this.#us.get(name) ?? [];
      before.push(...us);
      this.#us.set(name, before);
    }
  }

  /** The fastest loop and its rate. */
  best(): { loop: string; gbPerSecond: number } {
    const rates = [...this.#us].map(([loop, us]) => ({ loop, gbPerSecond: READ_BYTES / 1000 / quantile(us, 0.1) }));
    return rates.reduce((most, one) => (one.gbPerSecond > most.gbPerSecond ? one : most), { loop: '', gbPerSecond: 0 });
  }
}

export async function benchKernels(options: BenchOptions): Promise<BenchResult> {
  const addon = loadAddon().kernels;
  const cacheBytes = lastLevelCache();
  const arena = addon.arena(Math.ceil((options.arenaBytes ?? Math.max(ARENA_BYTES, 4 * cacheBytes)) / 2 ** 20));
  const rows: BenchRow[] = [];
  const lines = new Map(options.threads.map((threads) => [threads, new ReadLine()]));
  const total = options.sizes.length * options.rounds;
  let done = 0;
  try {
    for (const shape of options.sizes) {
      const peers: Peer[] = [];
      try {
        const cases = [...kernelCases(arena, shape, options), ...(await peerCases(shape, options, cacheBytes, peers))];
        for (let round = 0; round < options.rounds; round++) {
          for (const [threads, line] of lines) line.sample(arena, threads);
          for (const one of cases) await one.sample();
          options.onProgress?.(++done, total);
        }
        rows.push(...cases.map(({ row, us }) => finished(row, us, lines.get(row.threads)?.best().gbPerSecond ?? Number.NaN)));
      } finally {
        for (const peer of peers) await peer.release();
      }
    }
  } finally {
    addon.dropArena(arena);
  }
  const version = options.peers ? findRuntime()?.version : undefined;
  return {
    rows,
    cacheBytes,
    peer: version === undefined ? null : `onnxruntime-node ${version}`,
    readLoops: Object.fromEntries([...lines].map(([threads, line]) => [threads, line.best().loop])),
  };
}

function finished(row: Case['row'], us: readonly number[], readLineGbPerSecond: number): BenchRow {
  const p10us = quantile(us, 0.1);
  const bytes = (row.rows * row.columns * row.bitsPerWeight) / 8;
  return { ...row, p10us, medianUs: quantile(us, 0.5), gbPerSecond: bytes / 1000 / p10us, readLineGbPerSecond };
}
