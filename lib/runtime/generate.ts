/** Generation options, the queue between the native loop and the reader, and the object that a caller iterates over. */
import { LutraError } from '../graph/errors.js';
import type { EngineTimings, FinishReason, GenerateOptions as NativeOptions } from '../native/addon.js';
import { abortSignal, boolean, type Check, checkOptions, integer, number, strings } from './options.js';
import type { TokenEvent } from './stop-filter.js';

/** How to continue a prompt. All fields are optional. */
export interface GenerateOptions {
  /** Tokens to deliver at most. Default: until the model ends or the context is full. */
  maxTokens?: number;
  /** 0 (default) takes the most likely token every time. */
  temperature?: number;
  /** Only the k most likely tokens; 0 (default) means all. */
  topK?: number;
  /** Only the most likely tokens that together have this probability; 1 (default) means all. */
  topP?: number;
  /** Only tokens with at least this share of the most likely one's probability; default 0. */
  minP?: number;
  /** Divides positive and multiplies negative logits of recent tokens; 1 (default) does nothing. */
  repetitionPenalty?: number;
  /** How many tokens back the penalty looks; default 64. */
  repetitionWindow?: number;
  /** Seed of the sampler; the same seed gives the same text. Default: random. */
  seed?: number;
  /**
   * Guesses of the next tokens that are computed together with each one, 0 (default) to 7: what followed the last tokens earlier in the text (prompt look-up). The tokens are
   * those that come without, sooner where a text repeats itself: summaries, edits, code. Where few guesses are right it is slower; `lutra run --draft-tokens` shows the speed.
   */
  draftTokens?: number;
  /** How many of the most likely tokens each event names beside its own, with logarithms of their probabilities: 0 to 100. Default: no probabilities. */
  logprobs?: number;
  /** Strings that end the text; they are not delivered. */
  stop?: string | string[];
  /** Go on after the model's end-of-text tokens. */
  ignoreEos?: boolean;
  /** Stops between tokens and between graph calls; the iteration then throws LUTRA_ABORTED. */
  signal?: AbortSignal;
}

const stopCheck: Check = (value) =>
  typeof value === 'string' && value.length > 0 ? undefined : strings(value) && 'a non-empty string or a list of them';

/** The native side counts in 32 bits; what it would refuse is refused before the prompt runs. */
const MAX_COUNT = 0xffffffff;

const checks: Record<keyof GenerateOptions, Check> = {
  maxTokens: integer(1),
  temperature: number(0, 1e6),
  topK: integer(0, MAX_COUNT),
  topP: number(1e-6, 1),
  minP: number(0, 1),
  repetitionPenalty: number(0.01, 1e6),
  repetitionWindow: integer(0, MAX_COUNT),
  seed: integer(0),
  draftTokens: integer(0, 7),
  logprobs: integer(0, 100),
  stop: stopCheck,
  ignoreEos: boolean,
  signal: abortSignal,
};

/** Throws LUTRA_INVALID_ARGUMENT for unknown names and wrong values. */
export function checkGenerateOptions(options: GenerateOptions): void {
  checkOptions('generate', options, checks);
}

/** The native loop may be this many tokens ahead of the reader. */
const RUN_AHEAD = 8;

/** Fills in the defaults. `eos`: ids that end the text. */
export function nativeOptions(options: GenerateOptions, eos: readonly number[]): NativeOptions {
  return {
    maxTokens: Math.min(options.maxTokens ?? 0x7fffffff, 0x7fffffff),
    temperature: options.temperature ?? 0,
    topK: options.topK ?? 0,
    topP: options.topP ?? 1,
    minP: options.minP ?? 0,
    repetitionPenalty: options.repetitionPenalty ?? 1,
    repetitionWindow: options.repetitionWindow ?? 64,
    seed: options.seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER),
    stopTokens: options.ignoreEos ? [] : [...eos],
    runAhead: RUN_AHEAD,
    draftTokens: options.draftTokens ?? 0,
    ...(options.logprobs === undefined ? {} : { logprobs: options.logprobs }),
  };
}

/** The error of an aborted call; the signal's reason is its cause. */
export function abortError(signal?: AbortSignal): LutraError {
  return new LutraError('LUTRA_ABORTED', 'The generation was aborted.', '', { cause: signal?.reason });
}

/** What the native loop gives (`NativeEngine.generate`). */
export interface QueuedToken {
  token: number;
  logprobs?: Float64Array;
}

/** Tokens on their way from the native loop to one reader. Bounded by the loop's run-ahead, not here. */
export class TokenQueue {
  #tokens: QueuedToken[] = [];
  #closed = false;
  #wake: (() => void) | undefined;

  push(token: number, logprobs?: Float64Array): void {
    this.#tokens.push(logprobs ? { token, logprobs } : { token });
    this.#wake?.();
  }

  /** No token follows. */
  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  /** The next token, or undefined when the queue is closed and empty. One reader at a time. */
  async take(): Promise<QueuedToken | undefined> {
    while (this.#tokens.length === 0 && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
    return this.#tokens.shift();
  }
}

/** Speed of one phase. */
export interface PhaseTiming {
  tokens: number;
  ms: number;
  /** 0 when nothing was timed. */
  tokensPerSecond: number;
}

export function phase(tokens: number, ms: number): PhaseTiming {
  return { tokens, ms, tokensPerSecond: ms > 0 ? (tokens / ms) * 1000 : 0 };
}

/** What a generation delivered; after an abort, what it had delivered until then. */
export interface GenerationResult {
  text: string;
  tokens: number[];
  /** `stop`: end of text or a stop string; `length`: maxTokens; `context`: the context is full; `aborted`: signal, or the reader went away. */
  finishReason: FinishReason;
  prefill: PhaseTiming;
  decode: PhaseTiming;
  /** Where the time went, as far as the phases came to an end. */
  timings: { prefill?: EngineTimings; decode?: EngineTimings };
}

/**
 * A generation: iterate it once for {@link TokenEvent}s as they come, or call {@link text} or {@link result}. Nothing runs before the
 * first of these. Leaving the loop early stops the native loop and takes the undelivered tokens out of the KV cache.
 */
export class Generation implements AsyncIterable<TokenEvent> {
  readonly #events: AsyncGenerator<TokenEvent, void>;
  readonly #outcome: () => GenerationResult | undefined;

  /** `outcome` gives the result once `events` has ended, whichever way. */
  constructor(events: AsyncGenerator<TokenEvent, void>, outcome: () => GenerationResult | undefined) {
    this.#events = events;
    this.#outcome = outcome;
  }

  [Symbol.asyncIterator](): AsyncGenerator<TokenEvent, void> {
    return this.#events;
  }

  /** Takes what is left and resolves to the result. After an aborted iteration: the result so far. */
  async result(): Promise<GenerationResult> {
    for await (const _ of this.#events);
    const outcome = this.#outcome();
    if (!outcome) throw new LutraError('LUTRA_ABORTED', 'The generation ended before it began.');
    return outcome;
  }

  /** The whole text. */
  async text(): Promise<string> {
    return (await this.result()).text;
  }
}
