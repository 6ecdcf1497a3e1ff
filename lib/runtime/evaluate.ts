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
  onProgress?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

/** What {@link evaluate} measured. */
export interface Evaluation {
  perplexity: number;
  referencePerplexity: number;
  top1: number;
  kl: number;
  predictions: number;
}

/** Logits of all positions of a window, from an empty context: [tokens × vocab]. */
async function windowLogits(session: Session, tokens: readonly number[], signal?: AbortSignal): Promise<Float32Array> {
  session.reset();
  return session.prefill(tokens, { logits: 'all', ...(signal ? { signal } : {}) });
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
 * Runs both models over the same windows of a text, each from an empty context; a window of n tokens makes n − 1 predictions.
 * `reference` may be the same model. Throws LUTRA_INVALID_ARGUMENT when the text is other tokens to it.
 */
export async function evaluate(model: Model, reference: Model, text: string, options: EvaluateOptions): Promise<Evaluation> {
  const { windows, windowTokens, skip = 0, onProgress, signal } = options;
  const tokens = commonTokens(model, reference, text).slice(skip);
  const starts = windowStarts(tokens.length, windows, windowTokens);
  const session = await model.createSession();
  const referenceSession = reference === model ? session : await reference.createSession();
  const { vocab } = model.spec.arch;
  const comparison = new Comparison();
  for (const [index, start] of starts.entries()) {
    const window = tokens.slice(start, start + windowTokens);
    const logits = await windowLogits(session, window, signal);
    const expected = referenceSession === session ? logits : await windowLogits(referenceSession, window, signal);
    for (let i = 0; i + 1 < window.length; i++) {
      const row = logits.subarray(i * vocab, (i + 1) * vocab);
      const referenceRow = expected === logits ? row : expected.subarray(i * vocab, (i + 1) * vocab);
      comparison.add(row, referenceRow, window[i + 1]!);
    }
    onProgress?.(index + 1, starts.length);
  }
  const { perplexity, referencePerplexity, top1, kl, predictions } = comparison;
  return { perplexity, referencePerplexity, top1, kl, predictions };
}
