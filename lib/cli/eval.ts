/** `lutra eval`: perplexity, and agreement with the float reference. */
import { MAX_TEXT_BYTES, readBytes, utf8 } from '../files/read.js';
import { evaluate, prose } from '../runtime/evaluate.js';
import { loadModel } from '../runtime/model.js';
import type { Arguments, Command } from './args.js';
import { loadOptions, modelFlags, optional } from './model-flags.js';
import { note, ProgressBar, peakRssBytes, print, printJson } from './output.js';

export const evalCommand: Command = {
  name: 'eval',
  summary: 'Measures perplexity on a text, and agreement with the float reference.',
  positionals: ['DIR'],
  flags: {
    text: { value: 'FILE', help: 'UTF-8 text (needed)' },
    windows: { value: 'N', help: 'windows, spread evenly over the text (default 16)' },
    'window-tokens': { value: 'N', help: 'tokens of a window (default 256)' },
    skip: { value: 'N', help: 'tokens at the beginning of the text to leave out, such as those that were calibrated on' },
    against: {
      value: 'DIR',
      help: 'model whose float weights are the reference (default: those of DIR itself), for example what DIR was before --cpu-weights',
    },
    prose: { help: 'only the running text of a book: headings and lists left out, broken lines joined' },
    ...modelFlags,
    reference: { help: 'without --npu: evaluate the float reference itself (with --kv: what that type of cache costs)' },
    json: { help: 'print one JSON object: perplexity, top1 (0 to 1), kl (nats), referencePerplexity' },
  },
  run,
};

async function run(args: Arguments): Promise<void> {
  const file = args.required('text');
  const windows = args.integer('windows', 1) ?? 16;
  const windowTokens = args.integer('window-tokens', 2) ?? 256;
  const text = utf8(await readBytes(file, MAX_TEXT_BYTES), file);
  const directory = args.positionals[0] ?? '';
  const against = args.string('against');
  // Comparing with the reference is what eval does anyway; alone, --reference says what to evaluate.
  const float = args.flag('reference') && args.string('npu') === undefined;
  const { kv, ...others } = loadOptions(args);
  const common = { ...others, contextSize: args.integer('context', 1) ?? windowTokens };
  const model = await loadModel(directory, { ...common, ...optional('kv', kv), reference: float });
  const itself = float && kv === undefined && against === undefined;
  const bar = new ProgressBar();
  let reference = model;
  try {
    if (!itself) reference = await loadModel(against ?? directory, { ...common, npu: 'none', reference: true });
    const start = performance.now();
    const result = await evaluate(model, reference, args.flag('prose') ? prose(text) : text, {
      windows,
      windowTokens,
      ...optional('skip', args.integer('skip')),
      onProgress: (done, total) => bar.update('windows', done, total),
    });
    bar.clear();
    const ms = performance.now() - start;
    if (args.flag('json')) {
      printJson({
        ...result,
        against: against ?? null,
        windows,
        windowTokens,
        prose: args.flag('prose'),
        mode: model.mode,
        ms,
        peakRssBytes: peakRssBytes(),
      });
      return;
    }
    print(`perplexity          ${result.perplexity.toFixed(3)}`);
    print(`float reference     ${result.referencePerplexity.toFixed(3)}`);
    print(`ratio               ${(result.perplexity / result.referencePerplexity).toFixed(4)}`);
    print(`top-1 agreement     ${(result.top1 * 100).toFixed(2)} %`);
    print(`mean KL             ${result.kl.toFixed(5)}`);
    note(`${result.predictions} predictions in ${(ms / 1000).toFixed(1)} s, mode ${model.mode}`);
  } finally {
    bar.clear();
    await model.dispose();
    if (reference !== model) await reference.dispose();
  }
}
