/** `lutra run`: answers one prompt. */
import type { GenerateOptions, GenerationResult, PhaseTiming } from '../runtime/generate.js';
import { loadModel, type Model } from '../runtime/model.js';
import type { Placement } from '../runtime/placement.js';
import type { Prompt, Session } from '../runtime/session.js';
import type { Arguments, Command } from './args.js';
import { loadOptions, modelFlags, optional } from './model-flags.js';
import { note, peakRssBytes, printJson } from './output.js';

export const runCommand: Command = {
  name: 'run',
  summary: 'Answers a prompt with a converted model.',
  positionals: ['DIR'],
  flags: {
    prompt: { value: 'TEXT', short: 'p', help: 'what to say (needed)' },
    raw: { help: 'continue the text as it is, without the chat template' },
    system: { value: 'TEXT', help: 'system message of the chat template' },
    'max-tokens': { value: 'N', short: 'n', help: 'tokens to generate at most' },
    temperature: { value: 'X', help: '0 takes the most likely token (default)' },
    'draft-tokens': { value: 'N', help: 'guesses computed with each token, 0 to 7: the same text, sooner where it repeats itself' },
    'top-k': { value: 'N', help: 'only the N most likely tokens' },
    'top-p': { value: 'X', help: 'only the most likely tokens of total probability X' },
    'min-p': { value: 'X', help: "only tokens with at least X of the most likely one's probability" },
    'repetition-penalty': { value: 'X', help: 'makes recent tokens less likely when above 1' },
    seed: { value: 'N', help: 'seed of the sampler' },
    stop: { value: 'TEXT', multiple: true, help: 'ends the text before this string (may be repeated)' },
    'ignore-eos': { help: "go on after the model's end of text" },
    ...modelFlags,
    json: { help: 'print one JSON object instead of the text' },
  },
  run,
};

function generateOptions(args: Arguments, signal: AbortSignal): GenerateOptions {
  const stop = args.list('stop');
  return {
    ...optional('maxTokens', args.integer('max-tokens', 1)),
    ...optional('temperature', args.number('temperature')),
    ...optional('draftTokens', args.integer('draft-tokens')),
    ...optional('topK', args.integer('top-k')),
    ...optional('topP', args.number('top-p')),
    ...optional('minP', args.number('min-p')),
    ...optional('repetitionPenalty', args.number('repetition-penalty')),
    ...optional('seed', args.integer('seed')),
    ...(stop.length > 0 ? { stop: [...stop] } : {}),
    ignoreEos: args.flag('ignore-eos'),
    signal,
  };
}

function promptOf(args: Arguments, model: Model): Prompt {
  const prompt = args.required('prompt');
  if (args.flag('raw') || !model.tokenizer.hasChatTemplate) return prompt;
  const system = args.string('system');
  const user = { role: 'user', content: prompt };
  return system === undefined ? [user] : [{ role: 'system', content: system }, user];
}

async function run(args: Arguments): Promise<void> {
  args.required('prompt');
  const directory = args.positionals[0] ?? '';
  const json = args.flag('json');
  const abort = new AbortController();
  const onInterrupt = () => abort.abort();
  process.once('SIGINT', onInterrupt);
  const model = await loadModel(directory, loadOptions(args));
  try {
    const session = await model.createSession();
    const generation = session.generate(promptOf(args, model), generateOptions(args, abort.signal));
    for await (const { text } of generation) if (!json) process.stdout.write(text);
    report(await generation.result(), session, json);
  } finally {
    process.off('SIGINT', onInterrupt);
    await model.dispose();
  }
}

function report(result: GenerationResult, session: Session, json: boolean): void {
  const { backend, loadMs, bytes } = session.info();
  const placement = session.placement();
  if (json) {
    const { text, tokens, finishReason, prefill, decode, timings } = result;
    printJson({
      text,
      tokens,
      finishReason,
      prefill,
      decode,
      placement,
      peakRssBytes: peakRssBytes(),
      backend: backend && { name: backend.name, buildId: backend.buildId, apiVersion: backend.apiVersion },
      timings,
      loadMs,
      bytes,
    });
    return;
  }
  process.stdout.write('\n');
  note(`\n${describeSpeed('prefill', result.prefill)} · ${describeSpeed('decode', result.decode)}`);
  for (const line of describePlacement(placement)) note(line);
}

function describeSpeed(name: string, { tokens, ms, tokensPerSecond }: PhaseTiming): string {
  return `${name} ${tokens} tokens in ${ms.toFixed(0)} ms, ${tokensPerSecond.toFixed(1)} tokens/s`;
}

/** Lines that say where each part ran. */
export function describePlacement({ npu, why, segments, parts, compiled }: Placement): string[] {
  const lines = parts.map(({ part, where }) => `${part}: ${where}`);
  const graphs = segments.map((group) => `${group.graphs} graphs of ${group.nodes} nodes`).join(', ');
  lines.push(npu ? `NPU: ${npu}, ${graphs} (${why})` : `NPU: none (${why})`);
  if (compiled)
    lines.push(compiled.file ? `compiled graphs: ${compiled.file}` : `compiled graphs are not used: ${compiled.field}: ${compiled.why}`);
  return lines;
}
