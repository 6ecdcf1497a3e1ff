/** `lutra convert`: a GGUF file, a checkpoint of Hugging Face or an .mllm file becomes a model directory. */
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  type ConvertOptions,
  CPU_WEIGHTS,
  convertModel,
  DEFAULT_MAX_KL,
  DEFAULT_PRECISION,
  formatPrecision,
  parseCpuWeights,
  parsePrecision,
} from '../convert/index.js';
import { TRANSFORMS, type Transform } from '../graph/spec.js';
import { loadAddon } from '../native/loader.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { describeChoice } from './choice.js';
import { optional } from './model-flags.js';
import { formatBytes, note, ProgressBar, peakRssBytes, print, printJson } from './output.js';

export const convertCommand: Command = {
  name: 'convert',
  summary: 'Converts a GGUF file, a directory of Hugging Face or an .mllm file to a model directory, calibrated for the NPU.',
  positionals: ['MODEL'],
  flags: {
    output: { value: 'DIR', short: 'o', help: 'model directory to make (needed)' },
    config: { value: 'DIR', help: 'directory with config.json and tokenizer.json of an .mllm file, which has none' },
    'max-kl': {
      value: 'KL',
      help: `choose each NPU linear's arithmetic: the cheapest with at most this KL to float (default ${DEFAULT_MAX_KL}, or the least that there is)`,
    },
    'int8-share': { value: 'SHARE', help: 'choose: the best with at least this share of 8-bit activations (0 to 1)' },
    precision: {
      value: 'KIND=NAME,…',
      help: `choose nothing: arithmetic by kind of linear (kinds left out: ${formatPrecision(DEFAULT_PRECISION)})`,
    },
    'cpu-weights': { value: 'NAME', help: `weights of the CPU: keep (default: the file's values), ${Object.keys(CPU_WEIGHTS).join(', ')}` },
    'lm-head': { value: 'NAME', help: 'the same for the embedding and lm_head' },
    'cpu-only': { help: 'write no NPU weights' },
    text: { value: 'FILE', help: 'calibration text (default: the book that scripts/fetch-text brings)' },
    method: { value: 'recipe|max', help: 'how static ranges are chosen: recipe (default) or naive maximum' },
    transform: {
      value: 'none|rotate',
      help: `what is done to the NPU's weights without changing the float model (default: rotate where the hidden size allows it)`,
    },
    windows: { value: 'N', help: 'pieces of the text that are used (default 16)' },
    'window-tokens': { value: 'N', help: 'tokens of a piece (default 256)' },
    chunk: { value: 'N', help: 'tokens of a prefill chunk (default 128)' },
    threads: { value: 'N', help: 'threads (default: all processors)' },
    json: { help: 'print one JSON object' },
  },
  run,
};

/** The calibration text that the repository's scripts fetch, when it is there. */
export function fetchedText(name: string): string | undefined {
  const cache = resolve(fileURLToPath(new URL('../..', import.meta.url)), process.env.LUTRA_CACHE || '.cache');
  const file = join(cache, 'text', name);
  return existsSync(file) ? file : undefined;
}

function methodOf(args: Arguments): 'recipe' | 'max' | undefined {
  const method = args.string('method');
  if (method === undefined || method === 'recipe' || method === 'max') return method;
  throw new UsageError(`--method is recipe or max, not '${method}'.`);
}

function transformOf(args: Arguments): Transform | undefined {
  const transform = args.string('transform');
  const found = TRANSFORMS.find((name) => name === transform);
  if (transform === undefined || found !== undefined) return found;
  throw new UsageError(`--transform is ${TRANSFORMS.join(' or ')}, not '${transform}'.`);
}

/** What is to be chosen; undefined: what is by default, or nothing. */
function goalOf(args: Arguments): ConvertOptions['goal'] {
  const [maxKl, int8Share] = [args.number('max-kl'), args.number('int8-share')];
  if ([maxKl, int8Share, args.string('precision'), args.flag('cpu-only') || undefined].filter((given) => given !== undefined).length > 1)
    throw new UsageError('--max-kl, --int8-share, --precision and --cpu-only exclude each other.');
  return maxKl !== undefined ? { maxKl } : int8Share !== undefined ? { int8Share } : undefined;
}

async function run(args: Arguments): Promise<void> {
  const [input = ''] = args.positionals;
  const output = args.required('output');
  const precision = args.string('precision');
  const goal = goalOf(args);
  const bar = new ProgressBar();
  const abort = new AbortController();
  const onInterrupt = () => abort.abort();
  process.once('SIGINT', onInterrupt);
  const start = performance.now();
  try {
    const spec = await convertModel({
      input,
      output,
      ...optional('config', args.string('config')),
      addon: loadAddon(),
      ...optional('precision', args.flag('cpu-only') ? null : precision === undefined ? undefined : parsePrecision(precision)),
      ...optional('goal', goal),
      cpuWeights: parseCpuWeights('--cpu-weights', args.string('cpu-weights')),
      lmHead: parseCpuWeights('--lm-head', args.string('lm-head')),
      ...optional('calibrationText', args.string('text') ?? fetchedText('lcet10.txt')),
      ...optional('method', methodOf(args)),
      ...optional('transform', transformOf(args)),
      ...optional('calibrationWindows', args.integer('windows', 1)),
      ...optional('calibrationWindowTokens', args.integer('window-tokens', 1)),
      ...optional('chunk', args.integer('chunk', 1)),
      ...optional('threads', args.integer('threads', 1)),
      signal: abort.signal,
      onProgress: ({ stage, done, total }) => bar.update(stage, done, total),
    });
    bar.clear();
    const ms = performance.now() - start;
    if (args.flag('json')) {
      const { name, arch, chunk, calibration, hashes } = spec;
      const sha256 = { cpu: hashes.cpu.sha256, npu: hashes.npu?.sha256 ?? null };
      printJson({ output, name, arch, chunk, calibration, hashes: sha256, ms, peakRssBytes: peakRssBytes() });
      return;
    }
    print(`${spec.name}: ${spec.arch.layers} layers, converted to ${output} in ${(ms / 1000).toFixed(1)} s`);
    if (spec.calibration?.choice) for (const line of describeChoice(spec.calibration.choice)) print(line);
    note(`peak memory ${formatBytes(peakRssBytes())}`);
  } finally {
    bar.clear();
    process.off('SIGINT', onInterrupt);
  }
}
