/** `lutra eval`: perplexity, and agreement with the float reference; of one model, or of two beside each other. */
import { MAX_TEXT_BYTES, readBytes, utf8 } from '../files/read.js';
import { type Evaluation, evaluateBeside, prose } from '../runtime/evaluate.js';
import { type LoadOptions, loadModel, type Model } from '../runtime/model.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { loadOptions, modelFlags, npuChoice, optional } from './model-flags.js';
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
    greedy: { value: 'N', help: "continue each window by N most likely tokens, and see for how long they are the reference's" },
    against: {
      value: 'DIR',
      help: 'model whose float weights are the reference (default: those of DIR itself), for example what DIR was before --cpu-weights',
    },
    beside: { value: 'DIR', help: 'another model to evaluate beside DIR (with --beside-npu alone: DIR itself)' },
    'beside-npu': { value: 'host|none|PATH', help: 'where the prompts of the one beside run (default: as --npu)' },
    'beside-soc': { value: 'ID', help: 'QNN SoC id for the library of --beside-npu' },
    prose: { help: 'only the running text of a book: headings and lists left out, broken lines joined' },
    ...modelFlags,
    reference: { help: 'without --npu: evaluate the float reference itself (with --kv: what that type of cache costs)' },
    json: { help: 'print one JSON object: perplexity, top1 (0 to 1), kl (nats), referencePerplexity' },
  },
  run,
};

/** What stands beside DIR; null: nothing. */
function besideOf(args: Arguments, directory: string): { directory: string; options: LoadOptions } | null {
  const [other, npu, soc] = [args.string('beside'), args.string('beside-npu'), args.integer('beside-soc')];
  if (soc !== undefined && (npu === undefined || npu === 'host' || npu === 'none'))
    throw new UsageError('--beside-soc goes with a QNN library: --beside-npu PATH.');
  if (other === undefined && npu === undefined) return null;
  return { directory: other ?? directory, options: npu === undefined ? {} : { npu: npuChoice(npu, soc) } };
}

const ROWS: readonly [string, (result: Evaluation) => string | undefined][] = [
  ['perplexity', ({ perplexity }) => perplexity.toFixed(3)],
  ['float reference', ({ referencePerplexity }) => referencePerplexity.toFixed(3)],
  ['ratio', ({ perplexity, referencePerplexity }) => (perplexity / referencePerplexity).toFixed(4)],
  ['top-1 agreement', ({ top1 }) => `${(top1 * 100).toFixed(2)} %`],
  ['mean KL', ({ kl }) => kl.toFixed(5)],
  ['greedy agreement', ({ greedy }) => greedy && `${greedy.length.toFixed(1)} of ${greedy.tokens} tokens`],
  ['windows that agree', ({ greedy }) => greedy && `${(greedy.whole * 100).toFixed(0)} %`],
];

/** One row a figure, one column a model. */
function report(results: readonly Evaluation[]): string[] {
  return ROWS.flatMap(([name, cell]) => {
    const cells = results.map(cell);
    return cells.includes(undefined)
      ? []
      : [
          name.padEnd(20) +
            cells
              .map((text) => text?.padEnd(20))
              .join('')
              .trimEnd(),
        ];
  });
}

async function run(args: Arguments): Promise<void> {
  const file = args.required('text');
  const windows = args.integer('windows', 1) ?? 16;
  const windowTokens = args.integer('window-tokens', 2) ?? 256;
  const greedyTokens = args.integer('greedy', 1) ?? 0;
  const directory = args.positionals[0] ?? '';
  const beside = besideOf(args, directory);
  const text = utf8(await readBytes(file, MAX_TEXT_BYTES), file);
  const against = args.string('against');
  // Comparing with the reference is what eval does anyway; alone, --reference says what to evaluate.
  const float = args.flag('reference') && args.string('npu') === undefined;
  const { kv, ...others } = loadOptions(args);
  const common = { ...others, contextSize: args.integer('context', 1) ?? windowTokens + greedyTokens };
  const own = { ...common, ...optional('kv', kv), reference: float };
  const models: Model[] = [];
  const open = async (from: string, options: LoadOptions) => {
    const model = await loadModel(from, options);
    models.push(model);
    return model;
  };
  const bar = new ProgressBar();
  try {
    const compared = [await open(directory, own)];
    if (beside) compared.push(await open(beside.directory, { ...own, ...beside.options }));
    const [model] = compared;
    const itself = float && kv === undefined && against === undefined;
    const reference = itself && model ? model : await open(against ?? directory, { ...common, npu: 'none', reference: true });
    const start = performance.now();
    const { evaluations, between } = await evaluateBeside(compared, reference, args.flag('prose') ? prose(text) : text, {
      windows,
      windowTokens,
      greedyTokens,
      ...optional('skip', args.integer('skip')),
      onProgress: (done, total) => bar.update('windows', done, total),
    });
    bar.clear();
    const ms = performance.now() - start;
    const [result, other] = evaluations;
    if (args.flag('json')) {
      printJson({
        ...result,
        ...(beside && between
          ? {
              beside: { directory: beside.directory, npu: args.string('beside-npu') ?? null, ...other },
              between: { kl: between.kl, top1: between.top1 },
            }
          : {}),
        against: against ?? null,
        windows,
        windowTokens,
        prose: args.flag('prose'),
        mode: model?.mode,
        ms,
        peakRssBytes: peakRssBytes(),
      });
      return;
    }
    if (beside)
      print(`${directory} and ${beside.directory}${args.string('beside-npu') === undefined ? '' : ` on ${args.string('beside-npu')}`}`);
    for (const line of report(evaluations)) print(line);
    if (between) print(`between the two: mean KL ${between.kl.toFixed(5)}, top-1 agreement ${(between.top1 * 100).toFixed(2)} %`);
    note(`${result?.predictions} predictions in ${(ms / 1000).toFixed(1)} s, mode ${compared.map(({ mode }) => mode).join(' and ')}`);
  } finally {
    bar.clear();
    for (const model of models) await model.dispose();
  }
}
