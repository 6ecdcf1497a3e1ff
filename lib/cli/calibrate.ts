/** `lutra calibrate`: what the linears of a model read and write on a text, as JSON and as a page. */
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { calibrateModel, type MeasureProgress } from '../calibrate/index.js';
import { convertModel } from '../convert/index.js';
import { loadAddon } from '../native/loader.js';
import type { Arguments, Command } from './args.js';
import { optional } from './model-flags.js';
import { formatBytes, note, ProgressBar, peakRssBytes, print, printJson } from './output.js';

export const calibrateCommand: Command = {
  name: 'calibrate',
  summary: 'Measures what the linears of a model read and write on a text: ranges, outliers and where they are.',
  positionals: ['MODEL'],
  flags: {
    text: { value: 'FILE', multiple: true, help: 'UTF-8 text of any length (needed); may be given more than once' },
    windows: { value: 'N', help: 'pieces of the text that are used (default: all)' },
    'window-tokens': { value: 'N', help: 'tokens of a piece (default 256)' },
    output: { value: 'FILE', short: 'o', help: 'file for the result (default calibration.json)' },
    html: { value: 'FILE', help: 'file for a page with plots of the result' },
    threads: { value: 'N', help: 'threads (default: all processors, or the big cores of a phone)' },
    json: { help: 'print one JSON object' },
  },
  run,
};

/** Whether a path is of something that is yet to be converted, rather than a model directory (or nothing). */
function isSource(path: string): boolean {
  const found = statSync(path, { throwIfNoEntry: false });
  return found?.isFile() === true || (existsSync(join(path, 'config.json')) && !existsSync(join(path, 'lutra.json')));
}

/** Hands on a model directory: the one that is named, or a temporary one with the float model of a file or checkpoint. */
async function withModel<T>(path: string, signal: AbortSignal, bar: ProgressBar, use: (directory: string) => Promise<T>): Promise<T> {
  if (!isSource(path)) return use(path);
  const place = mkdtempSync(join(tmpdir(), 'lutra-calibrate-'));
  const remove = () => rmSync(place, { recursive: true, force: true });
  process.once('exit', remove);
  try {
    const directory = join(place, 'model');
    const onProgress = ({ stage, done, total }: { stage: string; done: number; total: number }) => bar.update(stage, done, total);
    await convertModel({ input: path, output: directory, addon: loadAddon(), precision: null, signal, onProgress });
    return await use(directory);
  } finally {
    process.off('exit', remove);
    remove();
  }
}

async function run(args: Arguments): Promise<void> {
  const [path = ''] = args.positionals;
  args.required('text');
  const texts = args.list('text');
  const output = args.string('output') ?? 'calibration.json';
  const bar = new ProgressBar();
  const abort = new AbortController();
  const onSignal = () => abort.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  const start = performance.now();
  let resumed = 0;
  try {
    const options = {
      texts,
      output,
      ...optional('page', args.string('html')),
      ...optional('windows', args.integer('windows', 1)),
      ...optional('windowTokens', args.integer('window-tokens', 1)),
      ...optional('threads', args.integer('threads', 1)),
      signal: abort.signal,
      onProgress: (progress: MeasureProgress) => {
        if (progress.resumed > 0 && resumed === 0) note(`goes on after window ${progress.resumed}`);
        resumed = progress.resumed;
        bar.update(`window ${progress.windows}`, progress.share, 1);
      },
    };
    const { text, model } = await withModel(path, abort.signal, bar, (directory) => calibrateModel(directory, options));
    bar.clear();
    const ms = performance.now() - start;
    const { windows, windowTokens, tokens } = text;
    if (args.flag('json')) {
      printJson({ output, windows, windowTokens, tokens, resumed, ms, peakRssBytes: peakRssBytes() });
      return;
    }
    print(`${model.name}: ${tokens} tokens in ${windows} windows, written to ${output} in ${(ms / 1000).toFixed(1)} s`);
    note(`peak memory ${formatBytes(peakRssBytes())}`);
  } finally {
    bar.clear();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, onSignal);
  }
}
