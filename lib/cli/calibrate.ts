/** `lutra calibrate`: what the linears of a model read and write on a text, as JSON. */
import { calibrateModel } from '../calibrate/index.js';
import type { Arguments, Command } from './args.js';
import { optional } from './model-flags.js';
import { formatBytes, note, ProgressBar, peakRssBytes, print, printJson } from './output.js';

export const calibrateCommand: Command = {
  name: 'calibrate',
  summary: 'Measures what the linears of a model read and write on a text: ranges, outliers and where they are.',
  positionals: ['DIR'],
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

async function run(args: Arguments): Promise<void> {
  const [directory = ''] = args.positionals;
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
    const { text, model } = await calibrateModel(directory, {
      texts,
      output,
      ...optional('page', args.string('html')),
      ...optional('windows', args.integer('windows', 1)),
      ...optional('windowTokens', args.integer('window-tokens', 1)),
      ...optional('threads', args.integer('threads', 1)),
      signal: abort.signal,
      onProgress: (progress) => {
        if (progress.resumed > 0 && resumed === 0) note(`goes on after window ${progress.resumed}`);
        resumed = progress.resumed;
        bar.update(`window ${progress.windows}`, progress.share, 1);
      },
    });
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
