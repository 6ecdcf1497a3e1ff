/** How good a model is on a text: perplexity, and agreement with the float reference. */
import { LutraError } from '../graph/errors.js';
import type { Model } from './model.js';
import type { Session } from './session.js';

/**
 * Where windows begin: the text is cut into `count` equal segments, and a window stands in the middle of each (at its beginning when
 * half a segment is too short). Throws LUTRA_INVALID_ARGUMENT.
 */
export function windowStarts(tokens: number, count: number, size: number): number[] {
  const half = Math.floor(tokens / (2 * count));
  if (size < 2) throw new LutraError('LUTRA_INVALID_ARGUMENT', 'A window needs at least 2 tokens: it predicts one token less than it has.');
  if (2 * half < size) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The text has ${tokens} tokens; ${count} windows of ${size} do not fit.`,
      'Take fewer or shorter windows, or a longer text.',
    );
  }
  return Array.from({ length: count }, (_, i) => (half < size ? 2 * i : 2 * i + 1) * half);
}

/** Shorter paragraphs are headings, lists and single lines of dialogue. */
const PROSE_CHARACTERS = 200;

/** The running text of a book: paragraphs of some length, hard line breaks joined, one empty line between two of them. */
export function prose(text: string): string {
  return text
    .replaceAll('\r\n', '\n')
    .split(/\n\s*\n/)
    .map((paragraph) => paragraph.trim().split(/\s+/).join(' '))
    .filter((paragraph) => paragraph.length >= PROSE_CHARACTERS)
    .join('\n\n');
}

function largest(values: Float32Array): number {
  let max = Number.NEGATIVE_INFINITY;
  for (const value of values) if (value > max) max = value;
  return max;
}

/** Largest logit and ln Σ exp(logit − largest). */
function normalizer(logits: Float32Array): { max: number; logSum: number } {
  const max = largest(logits);
  let sum = 0;
  for (const value of logits) sum += Math.exp(value - max);
  return { max, logSum: Math.log(sum) };
}

/** Index of the largest value; the first of equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (value > most) {
      most = value;
      best = i;
    }
  }
  return best;
}

/** Both distributions of one prediction over the same [vocab]. */
export interface Contrast {
  /** Σ p ln(p / q), p of the reference, in nats. */
  divergence: number;
  /** −ln of the probability of the token that followed, in nats. */
  surprise: number;
  referenceSurprise: number;
}

/** One prediction of a model beside the reference; one exp per logit of each. */
export function contrast(logits: Float32Array, reference: Float32Array, next: number): Contrast {
  const q = normalizer(logits);
  const max = largest(reference);
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < reference.length; i++) {
    const a = reference[i]! - max;
    const weight = Math.exp(a);
    sum += weight;
    weighted += weight * (a - (logits[i]! - q.max));
  }
  const logSum = Math.log(sum);
  return {
    divergence: weighted / sum - logSum + q.logSum,
    surprise: q.logSum - (logits[next]! - q.max),
    referenceSurprise: logSum - (reference[next]! - max),
  };
}

/** Sums over predictions of one model against the float reference. */
export class Comparison {
  predictions = 0;
  #surprise = 0;
  #referenceSurprise = 0;
  #agreed = 0;
  #divergence = 0;

  /** One prediction: logits of both and the token that followed. */
  add(logits: Float32Array, reference: Float32Array, next: number): void {
    const { divergence, surprise, referenceSurprise } = contrast(logits, reference, next);
    this.predictions++;
    this.#surprise += surprise;
    this.#referenceSurprise += referenceSurprise;
    this.#divergence += divergence;
    if (argmax(logits) === argmax(reference)) this.#agreed++;
  }

  get perplexity(): number {
    return Math.exp(this.#surprise / this.predictions);
  }

  get referencePerplexity(): number {
    return Math.exp(this.#referenceSurprise / this.predictions);
  }

  /** Share of predictions with the same most likely token, 0 to 1. */
  get top1(): number {
    return this.#agreed / this.predictions;
  }

  /** Mean KL(reference ‖ model), in nats. */
  get kl(): number {
    return this.#divergence / this.predictions;
  }
}

export interface EvaluateOptions {
  windows: number;
  windowTokens: number;
  /** Tokens at the beginning of the text that no window may have, such as those that were calibrated on; default 0. */
  skip?: number;
  /** How many tokens each window is continued by, the most likely ones, to see for how long that gives the reference's. Default 0: not at all. */
  greedyTokens?: number;
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** Windows continued by the most likely tokens. */
export interface GreedyAgreement {
  /** How many tokens each window was continued by. */
  tokens: number;
  /** Mean number of tokens before the first that the reference does not have. */
  length: number;
  /** Share of the windows without such a token, 0 to 1. */
  whole: number;
}

/** What {@link evaluate} measured. */
export interface Evaluation {
  perplexity: number;
  referencePerplexity: number;
  top1: number;
  kl: number;
  predictions: number;
  /** Only with `greedyTokens`. */
  greedy?: GreedyAgreement;
}

/** Models beside each other, each against the float reference. */
export interface SideBySide {
  /** As the models were given. */
  evaluations: Evaluation[];
  /** The first model against the second. null: there is only one. */
  between: Evaluation | null;
}

/** What one model says of a window. */
interface Answer {
  /** Of all positions, from an empty context: [tokens × vocab]. */
  logits: Float32Array;
  greedy: number[];
}

async function answer(session: Session, tokens: readonly number[], { greedyTokens = 0, signal }: EvaluateOptions): Promise<Answer> {
  const options = signal ? { signal } : {};
  session.reset();
  const logits = await session.prefill(tokens, { logits: 'all', ...options });
  if (greedyTokens === 0) return { logits, greedy: [] };
  const generation = session.generate([], { maxTokens: greedyTokens, temperature: 0, ignoreEos: true, ...options });
  return { logits, greedy: (await generation.result()).tokens };
}

/** Answers of two over many windows. */
class Agreement {
  readonly #comparison = new Comparison();
  readonly #vocab: number;
  #windows = 0;
  #length = 0;
  #whole = 0;

  constructor(vocab: number) {
    this.#vocab = vocab;
  }

  add(found: Answer, expected: Answer, window: readonly number[]): void {
    const row = ({ logits }: Answer, i: number) => logits.subarray(i * this.#vocab, (i + 1) * this.#vocab);
    for (let i = 0; i + 1 < window.length; i++) this.#comparison.add(row(found, i), row(expected, i), window[i + 1]!);
    const other = found.greedy.findIndex((token, i) => token !== expected.greedy[i]);
    this.#windows++;
    this.#length += other < 0 ? found.greedy.length : other;
    if (other < 0) this.#whole++;
  }

  result(greedyTokens: number): Evaluation {
    const { perplexity, referencePerplexity, top1, kl, predictions } = this.#comparison;
    const greedy = { tokens: greedyTokens, length: this.#length / this.#windows, whole: this.#whole / this.#windows };
    return { perplexity, referencePerplexity, top1, kl, predictions, ...(greedyTokens > 0 ? { greedy } : {}) };
  }
}

/** The tokens of a text, which must be the same to both models. */
function commonTokens(model: Model, reference: Model, text: string): number[] {
  const tokens = model.tokenizer.encode(text);
  if (model === reference) return tokens;
  const expected = reference.tokenizer.encode(text);
  const same =
    model.spec.arch.vocab === reference.spec.arch.vocab && tokens.length === expected.length && tokens.every((id, i) => id === expected[i]);
  if (same) return tokens;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `${model.spec.name} and ${reference.spec.name} cannot be compared token by token: the text is not the same tokens to both.`,
    'Compare conversions of one model.',
  );
}

/**
 * Runs one or two models and the reference over the same windows of a text, each from an empty context; a window of n tokens makes n − 1 predictions. `reference` may be one of the models. Throws
 * LUTRA_INVALID_ARGUMENT when the text is other tokens to it.
 */
export async function evaluateBeside(
  models: readonly Model[],
  reference: Model,
  text: string,
  options: EvaluateOptions,
): Promise<SideBySide> {
  const { windows, windowTokens, skip = 0, greedyTokens = 0, onProgress } = options;
  const all = [...new Set([...models, reference])];
  const [tokens = []] = models.map((model) => commonTokens(model, reference, text).slice(skip));
  const starts = windowStarts(tokens.length, windows, windowTokens);
  const sessions = new Map<Model, Session>();
  for (const model of all) sessions.set(model, await model.createSession());
  const { vocab } = reference.spec.arch;
  const agreements = models.map(() => new Agreement(vocab));
  const between = models.length === 2 ? new Agreement(vocab) : null;
  for (const [index, start] of starts.entries()) {
    const window = tokens.slice(start, start + windowTokens);
    const answers = new Map<Model, Answer>();
    for (const [model, session] of sessions) answers.set(model, await answer(session, window, options));
    const found = models.map((model) => answers.get(model)!);
    for (const [i, agreement] of agreements.entries()) agreement.add(found[i]!, answers.get(reference)!, window);
    between?.add(found[0]!, found[1]!, window);
    onProgress?.(index + 1, starts.length);
  }
  return { evaluations: agreements.map((agreement) => agreement.result(greedyTokens)), between: between?.result(greedyTokens) ?? null };
}

/** {@link evaluateBeside} of one model. */
export async function evaluate(model: Model, reference: Model, text: string, options: EvaluateOptions): Promise<Evaluation> {
  const { evaluations } = await evaluateBeside([model], reference, text, options);
  return evaluations[0]!;
}
