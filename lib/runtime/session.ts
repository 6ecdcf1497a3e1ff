/** One conversation state: an engine with its KV cache, and the bookkeeping of which tokens are in it. */
import { LutraError } from '../graph/errors.js';
import type { ModelSpec } from '../graph/spec.js';
import type { EngineInfo, EngineTimings, FinishReason, NativeEngine } from '../native/addon.js';
import type { CompiledChoice } from './compiled.js';
import {
  abortError,
  checkGenerateOptions,
  type GenerateOptions,
  Generation,
  type GenerationResult,
  nativeOptions,
  phase,
  TokenQueue,
} from './generate.js';
import { abortSignal, type Check, checkOptions, oneOf, show } from './options.js';
import { type Placement, placementOf } from './placement.js';
import { StopFilter, type TokenEvent } from './stop-filter.js';
import type { ChatMessage, Tokenizer } from './tokenizer.js';

/** Text as it is, token ids, or messages for the model's chat template. */
export type Prompt = string | readonly number[] | Uint32Array | readonly ChatMessage[];

/** What a session needs of its model. */
export interface SessionContext {
  spec: ModelSpec;
  tokenizer: Tokenizer;
  /** Tokens that the KV cache holds. */
  contextSize: number;
  /** The plan has NPU segments. */
  npu: boolean;
  /** Why this NPU, or none, in words. */
  why: string;
  /** What there was ahead of time. */
  compiled: CompiledChoice;
}

/** What a session tells its owner. */
export interface SessionEvents {
  onDispose?: () => void;
  /** A call into the NPU library does not return. */
  onHang?: (what: string) => void;
}

/** Options of {@link Session.prefill}. */
export interface PrefillOptions {
  /** Which logits to return; default `last`. */
  logits?: 'last' | 'all' | 'none';
  signal?: AbortSignal;
}

const prefillChecks: Record<keyof PrefillOptions, Check> = { logits: oneOf('last', 'all', 'none'), signal: abortSignal };

/** A model's chat messages, rather than token ids. */
function isMessages(prompt: Prompt): prompt is readonly ChatMessage[] {
  return Array.isArray(prompt) && prompt.length > 0 && typeof prompt[0] === 'object';
}

/** The ids of a prompt that is neither text nor messages. Throws LUTRA_INVALID_ARGUMENT. */
function tokenIds(prompt: unknown, vocab: number): number[] {
  if (!Array.isArray(prompt) && !ArrayBuffer.isView(prompt))
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `The prompt is ${show(prompt)}, not a text, token ids or messages.`);
  const list = prompt as ArrayLike<number>;
  const ids = list.length === 0 ? [] : Array.from(list); // a detached array is empty and cannot be iterated
  const wrong = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocab);
  if (wrong >= 0)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${show(ids[wrong])} is not a token id; this model has ids 0 to ${vocab - 1}.`);
  return ids;
}

/** The ids of a prompt. `first`: nothing stands before it. */
export function encodePrompt(prompt: Prompt, { tokenizer, spec }: Pick<SessionContext, 'tokenizer' | 'spec'>, first: boolean): number[] {
  if (typeof prompt === 'string') {
    const ids = tokenizer.encode(prompt);
    const { bos, addBos } = spec.tokens;
    return addBos && bos !== null && first && ids[0] !== bos ? [bos, ...ids] : [...ids];
  }
  if (isMessages(prompt)) return [...tokenizer.encode(tokenizer.applyChatTemplate(prompt, { addGenerationPrompt: true }))];
  return tokenIds(prompt, spec.arch.vocab);
}

export class Session {
  readonly #engine: NativeEngine;
  readonly #context: SessionContext;
  readonly #events: SessionEvents;
  /** Tokens in the KV cache. */
  #cached: number[] = [];
  /** Tokens that were delivered but never computed (the last one of a generation); they go in front of the next prefill. */
  #pending: number[] = [];
  #busy = false;
  #lost = false;
  #disposed = false;

  /** Made by `Model.createSession`. */
  constructor(engine: NativeEngine, context: SessionContext, events: SessionEvents = {}) {
    this.#engine = engine;
    this.#context = context;
    this.#events = events;
  }

  /** The NPU library does not return from a call of this session, which is good for nothing but to be disposed of. */
  get lost(): boolean {
    return this.#lost;
  }

  /** Tokens of the conversation so far. */
  get tokens(): readonly number[] {
    return [...this.#cached, ...this.#pending];
  }

  get contextSize(): number {
    return this.#context.contextSize;
  }

  /** Facts about the engine: backend, segments, load times, memory. */
  info(): EngineInfo {
    this.#checkAlive();
    return this.#engine.info();
  }

  /** Where each part of a prompt and of a token runs. */
  placement(): Placement {
    return placementOf(this.info(), this.#context.why, this.#context.compiled);
  }

  /** Times of the last call. */
  timings(): EngineTimings {
    this.#checkAlive();
    return this.#engine.timings();
  }

  /**
   * Values of a tensor of the plan after the last chunk or token, F32 [valid rows × columns]; integers as the reals they stand for. For debugging: the model must
   * have been loaded with `eager` or `keepActivations`. Throws LUTRA_NOT_FOUND for a name that the last program does not make.
   */
  peek(tensor: string): Float32Array {
    this.#checkIdle();
    return this.#engine.peek(tensor);
  }

  /** The ids of a prompt, as {@link generate} would feed them. */
  encode(prompt: Prompt): number[] {
    return encodePrompt(prompt, this.#context, this.tokens.length === 0);
  }

  /**
   * Appends tokens to the conversation. Resolves to logits: of the last token ([vocab]), of all that were computed ([tokens × vocab];
   * a token left over from a generation comes first), or none.
   */
  async prefill(tokens: readonly number[] | Uint32Array, options: PrefillOptions = {}): Promise<Float32Array> {
    checkOptions('prefill', options, prefillChecks);
    return this.#exclusive(() => this.#prefill(tokenIds(tokens, this.#context.spec.arch.vocab), options));
  }

  /** One token on the decode path; resolves to the logits of the next. */
  async step(token: number): Promise<Float32Array> {
    return this.#exclusive(() => this.#prefill(tokenIds([token], this.#context.spec.arch.vocab), {}, 'cpu'));
  }

  /** Continues the conversation with a prompt. Nothing runs before the result is iterated. */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    checkGenerateOptions(options);
    const outcome: { value?: GenerationResult } = {};
    return new Generation(this.#stream(prompt, options, outcome), () => outcome.value);
  }

  /** Forgets all tokens from `length` on. */
  truncate(length: number): void {
    this.#checkIdle();
    const total = this.#cached.length + this.#pending.length;
    if (!Number.isInteger(length) || length < 0 || length > total) {
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `Cannot truncate to ${show(length)}: the session has ${total} tokens.`);
    }
    if (length < this.#cached.length) this.#engine.truncate(length);
    this.#pending.length = Math.max(0, length - this.#cached.length);
    this.#cached.length = Math.min(length, this.#cached.length);
  }

  /** Forgets everything; the memory stays. */
  reset(): void {
    this.truncate(0);
  }

  /** Stops what runs, which then throws LUTRA_ABORTED, and frees the engine. Idempotent. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#engine.stop();
    const hang = await this.#engine.dispose();
    if (hang !== undefined) this.#reportHang(hang);
    this.#events.onDispose?.();
  }

  #reportHang(what: string): void {
    this.#lost = true;
    this.#events.onHang?.(what);
  }

  #checkAlive(): void {
    if (this.#disposed) throw new LutraError('LUTRA_DISPOSED', 'The session was disposed of.', 'Create a new session.');
  }

  #checkIdle(): void {
    this.#checkAlive();
    if (this.#busy)
      throw new LutraError('LUTRA_BUSY', 'The session is working on another call.', 'Await that call, or create a second session.');
  }

  async #exclusive<T>(work: () => Promise<T>): Promise<T> {
    this.#checkIdle();
    this.#busy = true;
    try {
      return await work();
    } finally {
      this.#busy = false;
    }
  }

  async #prefill(tokens: number[], options: PrefillOptions, program?: 'npu' | 'cpu'): Promise<Float32Array> {
    const { signal, logits = 'last' } = options;
    const all = [...this.#pending, ...tokens];
    const { contextSize } = this.#context;
    if (all.length === 0) throw new LutraError('LUTRA_INVALID_ARGUMENT', 'The prompt has no tokens.');
    if (this.#cached.length + all.length > contextSize) {
      throw new LutraError(
        'LUTRA_CONTEXT_FULL',
        `The prompt has ${all.length} tokens and ${this.#cached.length} are in the context, which holds ${contextSize}.`,
        `Shorten the prompt, or load the model with a larger contextSize (this model allows ${this.#context.spec.arch.maxContext}).`,
      );
    }
    if (signal?.aborted) throw abortError(signal);
    const stop = () => this.#engine.stop();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      // A chunk of the NPU costs the same for one row as for all: a single token is a decode step.
      const where = program ?? (this.#context.npu && all.length > 1 ? 'npu' : 'cpu');
      const result = await this.#engine.prefill(Uint32Array.from(all), logits, where);
      this.#cached = this.#cached.concat(all); // not push(...): a long prompt has more tokens than a call has arguments
      this.#pending = [];
      return result;
    } catch (error) {
      if (error instanceof LutraError && error.code === 'LUTRA_NPU_HUNG' && !this.#lost) this.#reportHang(error.message);
      throw signal?.aborted && error instanceof LutraError && error.code === 'LUTRA_ABORTED' ? abortError(signal) : error;
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Feeds the prompt; without one, computes the last token again, because logits do not outlive a truncation. */
  async #feed(prompt: Prompt, options: GenerateOptions): Promise<void> {
    const ids = this.encode(prompt);
    if (ids.length + this.#pending.length === 0) {
      const last = this.#cached.at(-1);
      if (last === undefined) throw new LutraError('LUTRA_INVALID_ARGUMENT', 'The prompt has no tokens, and there is nothing to continue.');
      this.#engine.truncate(this.#cached.length - 1);
      this.#cached.pop();
      this.#pending = [last];
    }
    await this.#prefill(ids, { signal: options.signal });
  }

  async *#stream(prompt: Prompt, options: GenerateOptions, outcome: { value?: GenerationResult }): AsyncGenerator<TokenEvent, void> {
    this.#checkIdle();
    this.#busy = true;
    const delivered: TokenEvent[] = [];
    const timings: GenerationResult['timings'] = {};
    let reason: FinishReason = 'aborted';
    try {
      await this.#feed(prompt, options);
      if (this.#disposed) throw abortError(options.signal); // after the prompt, before the first token
      timings.prefill = this.#engine.timings();
      reason = yield* this.#decode(options, delivered);
      if (!this.#disposed) timings.decode = this.#engine.timings();
      if (reason === 'aborted') throw abortError(options.signal);
    } finally {
      this.#busy = false;
      const { prefill, decode } = timings;
      outcome.value = {
        text: delivered.map((event) => event.text).join(''),
        tokens: delivered.map((event) => event.token),
        finishReason: reason,
        prefill: phase(prefill?.prefillTokens ?? 0, prefill?.prefillMs ?? 0),
        decode: phase(decode?.decodeTokens ?? 0, decode?.decodeMs ?? 0),
        timings,
      };
    }
  }

  /** Runs the native loop and yields what the stop filter lets through; afterwards the KV cache holds what was delivered and no more. */
  async *#decode(options: GenerateOptions, delivered: TokenEvent[]): AsyncGenerator<TokenEvent, FinishReason> {
    const { signal } = options;
    const { tokenizer, spec } = this.#context;
    if (signal?.aborted) throw abortError(signal);
    const stops = typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []);
    const filter = new StopFilter(tokenizer.stream(), stops);
    const queue = new TokenQueue();
    const stop = () => this.#engine.stop();
    signal?.addEventListener('abort', stop, { once: true });
    const run = this.#engine
      .generate(nativeOptions(options, spec.tokens.eos), (token, logprobs) => queue.push(token, logprobs))
      .finally(() => queue.close());
    run.catch(() => {}); // awaited below; a rejection before that must not count as unhandled
    try {
      for (let taken = await queue.take(); taken !== undefined && !signal?.aborted; taken = await queue.take()) {
        this.#engine.acknowledge(1);
        for (const event of filter.push(taken.token, taken.logprobs)) {
          delivered.push(event);
          yield event;
        }
        if (filter.matched) return 'stop';
      }
      const { reason } = await run;
      if (reason === 'aborted' || signal?.aborted) return 'aborted';
      for (const event of filter.end()) {
        delivered.push(event);
        yield event;
      }
      return filter.matched ? 'stop' : reason;
    } finally {
      signal?.removeEventListener('abort', stop);
      if (!this.#disposed) this.#engine.stop();
      await run.catch(() => {});
      if (!this.#disposed) this.#settle(delivered);
    }
  }

  #settle(delivered: readonly TokenEvent[]): void {
    const base = this.#cached.length;
    const inCache = Math.min(this.#engine.length(), base + delivered.length);
    if (this.#engine.length() > inCache) this.#engine.truncate(inCache);
    const ids = delivered.map((event) => event.token);
    this.#cached = this.#cached.concat(ids.slice(0, inCache - base));
    this.#pending = ids.slice(inCache - base);
  }
}
