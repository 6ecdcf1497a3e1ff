/** `lutra bench kernels`: speed of the low-bit kernels on this machine. */
import { type BenchResult, type BenchRow, benchKernels } from '../bench/kernels.js';
import { type Ratio, ratiosOf } from '../bench/ratio.js';
import { TUNED_FORMATS, TUNED_ROWS, type Tuning, tuningOf } from '../bench/tune.js';
import { LutraError } from '../graph/errors.js';
import { type Format, isFormat, list } from '../kernels/index.js';
import { loadAddon } from '../native/loader.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { formatBytes, note, ProgressBar, print, printJson } from './output.js';

const FORMATS = 'w1g128,w2g128,w3g128,w4g128,q4_1';
const MOST = 65_536;

export const benchKernelsCommand: Command = {
  name: 'bench kernels',
  summary: 'Measures the kernels for packed weights beside a plain read of memory.',
  positionals: [],
  flags: {
    sizes: { value: 'RxC,…', help: 'rows and columns of the weights (default 4096x4096)' },
    formats: { value: 'NAME,…', help: `weight formats (default ${FORMATS})` },
    threads: { value: 'N,…', help: 'threads of a product (default 1,2)' },
    n: { value: 'N,…', help: 'rows of activations (default 1)' },
    rounds: { value: 'N', help: 'turns that each kernel gets (default 30)' },
    tune: { help: 'only measure from how many rows on dot products are faster than table look-up' },
    'no-peers': { help: 'leave onnxruntime-node out' },
    json: { help: 'print one JSON object with all rows' },
  },
  run,
};

function integers(args: Arguments, name: string, fallback: string, most: number): number[] {
  return (args.string(name) ?? fallback).split(',').map((text) => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isInteger(value) || value < 1 || value > most)
      throw new UsageError(`--${name} needs integers from 1 to ${most}, not '${text}'.`);
    return value;
  });
}

function sizes(args: Arguments): { rows: number; columns: number }[] {
  return (args.string('sizes') ?? '4096x4096').split(',').map((text) => {
    const [, rows = 0, columns = 0] = (/^(\d{1,6})x(\d{1,6})$/.exec(text) ?? []).map(Number);
    if (rows < 16 || columns < 32 || columns % 32 !== 0 || rows > MOST || columns > MOST)
      throw new UsageError(`--sizes needs sizes such as 4096x4096, columns a multiple of 32, at most ${MOST}; not '${text}'.`);
    return { rows, columns };
  });
}

function formats(args: Arguments): Format[] {
  return (args.string('formats') ?? FORMATS).split(',').map((name) => {
    if (isFormat(name)) return name;
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `There is no weight format '${name}'.`,
      'docs/kernels.md lists them, for example w2g64m.',
    );
  });
}

async function measured(args: Arguments): Promise<BenchResult> {
  const tune = args.flag('tune');
  const set = ['formats', 'threads', 'n'].find((name) => args.string(name) !== undefined);
  if (tune && set !== undefined) throw new UsageError(`--tune sets --${set} itself.`);
  const bar = new ProgressBar();
  const options = {
    sizes: sizes(args),
    formats: tune ? TUNED_FORMATS : formats(args),
    threads: tune ? [1] : integers(args, 'threads', '1,2', 256),
    n: tune ? TUNED_ROWS : integers(args, 'n', '1', 512),
    rounds: args.integer('rounds', 1) ?? 30,
    peers: !tune && !args.flag('no-peers'),
    onProgress: (done: number, total: number) => bar.update('rounds', done, total),
  };
  return benchKernels(options).finally(() => bar.clear());
}

function describeTuning({ isa, bits, measured, registry }: Tuning): string {
  const below = (limit: number) =>
    limit === 1 ? 'never' : Number.isFinite(limit) ? `below ${limit} rows` : `up to ${TUNED_ROWS.at(-1)} rows and more`;
  return `${isa}, ${bits} bits: look-up is faster ${below(measured)}${registry === null ? '' : `; the registry takes it ${below(registry)}`}`;
}

async function run(args: Arguments): Promise<void> {
  const result = await measured(args);
  const { description: machine, isa } = loadAddon().cpuInfo();
  if (args.flag('tune')) {
    const tuning = tuningOf(result.rows, list(), isa);
    if (args.flag('json')) printJson({ machine, tuning, rows: result.rows });
    else for (const one of tuning) print(describeTuning(one));
    return;
  }
  if (args.flag('json')) printJson({ machine, ...result, ratios: ratiosOf(result.rows) });
  else for (const line of report(machine, result)) print(line);
  const beyond = result.rows.filter(({ mode, gbPerSecond, readLineGbPerSecond }) => mode === 'cold' && gbPerSecond > readLineGbPerSecond);
  for (const { kernel, format, threads, gbPerSecond, readLineGbPerSecond } of beyond)
    note(
      `${kernel}, ${format}, ${threads} threads: ${gbPerSecond.toFixed(1)} GB/s are beyond the read line of ${readLineGbPerSecond.toFixed(1)}: the machine was too busy, measure again.`,
    );
  if (beyond.length > 0) process.exitCode = 1;
}

const COLUMNS: readonly [string, (row: BenchRow) => string][] = [
  ['kernel', ({ engine, kernel, chosen }) => (engine === 'lutra' ? `${kernel}${chosen ? ' *' : ''}` : engine)],
  ['format', ({ format }) => format],
  ['bits/weight', ({ bitsPerWeight }) => bitsPerWeight.toFixed(2)],
  ['rows × columns', ({ rows, columns }) => `${rows} × ${columns}`],
  ['n', ({ n }) => String(n)],
  ['threads', ({ threads }) => String(threads)],
  ['mode', ({ mode }) => mode],
  ['p10 µs', ({ p10us }) => p10us.toFixed(1)],
  ['median µs', ({ medianUs }) => medianUs.toFixed(1)],
  ['GB/s', ({ gbPerSecond }) => gbPerSecond.toFixed(1)],
  ['of the line', ({ gbPerSecond, readLineGbPerSecond }) => `${((100 * gbPerSecond) / readLineGbPerSecond).toFixed(0)} %`],
  ['NMSE', ({ nmse }) => nmse.toExponential(1)],
];

function describeRatio({ bits, rows, columns, n, threads, mode, format, ratio, engine }: Ratio): string {
  const what = `${bits} bits, ${rows} × ${columns}, n ${n}, ${threads} thread${threads > 1 ? 's' : ''}, ${mode}`;
  return `${what}: ${ratio.toFixed(2)} × as fast with ${format} as ${engine}`;
}

function report(machine: string, { rows, cacheBytes, peer, readLoops }: BenchResult): string[] {
  const table = [COLUMNS.map(([name]) => name), ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row)))];
  const widths = COLUMNS.map((_, i) => Math.max(...table.map((cells) => cells[i]?.length ?? 0)));
  const lines = new Map(rows.map(({ threads, readLineGbPerSecond }) => [threads, readLineGbPerSecond]));
  return [
    `${machine}; last-level cache ${formatBytes(cacheBytes)}; ${peer ?? 'onnxruntime-node is not installed (docs/development.md)'}`,
    ...[...lines].map(
      ([threads, rate]) => `read line, ${threads} thread${threads > 1 ? 's' : ''}: ${rate.toFixed(1)} GB/s (${readLoops[threads]})`,
    ),
    '* chosen by the registry',
    '',
    ...table.map((cells) => cells.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')),
    '',
    ...ratiosOf(rows).map(describeRatio),
  ];
}
