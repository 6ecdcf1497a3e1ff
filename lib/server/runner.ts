/** Runs prompts on the model, one after the other, each on the session that has most of it already. */
import { setImmediate } from 'node:timers/promises';
import type { FinishReason } from '../native/addon.js';
import type { GenerateOptions, PhaseTiming } from '../runtime/generate.js';
import type { Model } from '../runtime/model.js';
import type { Session } from '../runtime/session.js';
import type { TokenEvent } from '../runtime/stop-filter.js';
import { invalid } from './errors.js';
import type { Queue } from './queue.js';
import type { SessionPool } from './sessions.js';

export interface Job {
  ids: readonly number[];
  /** The field that the ids come from. */
  param: string;
  options: GenerateOptions;
  /** Aborted when the client goes away. */
  signal: AbortSignal;
  /** When it came (performance.now). */
  since: number;
}

/** How a job went. */
export interface Outcome {
  finishReason: FinishReason;
  promptTokens: number;
  /** Tokens of the prompt that an earlier job had computed. */
  cachedTokens: number;
  completionTokens: number;
  prefill: PhaseTiming;
  decode: PhaseTiming;
}

/**
 * Tokens of a fast model come in a row as long as JavaScript takes each one before the next is there, and the event loop, which would see that a client has gone, waits. So it gets
 * its turn after this many milliseconds.
 */
const SLICE_MS = 4;

/** Told what happens, as it happens. */
export interface Watcher {
  begin(job: Job, cachedTokens: number): void;
  token(session: Session): void;
  /** `outcome`: undefined when it failed or was aborted. */
  end(session: Session, outcome: Outcome | undefined): void;
}

export class Runner {
  readonly #model: Model;
  readonly #queue: Queue;
  readonly #pool: SessionPool;
  readonly #watchers: readonly Watcher[];

  constructor(model: Model, queue: Queue, pool: SessionPool, watchers: readonly Watcher[]) {
    this.#model = model;
    this.#queue = queue;
    this.#pool = pool;
    this.#watchers = watchers;
  }

  /**
   * Resolves when the answer is complete. `onToken` gets each token as it comes; false ends the answer. Throws ApiError (too long, queue full), LutraError (LUTRA_ABORTED when the
   * signal says so).
   */
  async run(job: Job, onToken: (event: TokenEvent) => boolean): Promise<Outcome> {
    this.#check(job);
    return this.#queue.run(job.signal, async () => {
      const { session, cached } = await this.#pool.take(job.ids);
      let outcome: Outcome | undefined;
      try {
        for (const watcher of this.#watchers) watcher.begin(job, cached);
        outcome = await this.#generate(job, session, cached, onToken);
        return outcome;
      } finally {
        // The answer, or a prompt of one token, was computed by the decode path. The next turn computes it as a prompt, as it would without this session, so that what is kept
        // never changes what is said.
        this.#pool.giveBack(session, job.ids.length > 1 ? job.ids.length : 0);
        for (const watcher of this.#watchers) watcher.end(session, outcome);
      }
    });
  }

  #check({ ids, param }: Job): void {
    const { contextSize } = this.#model;
    if (ids.length === 0) throw invalid(param, `'${param}' has no tokens.`, 'invalid_value');
    if (ids.length > contextSize)
      throw invalid(param, `'${param}' has ${ids.length} tokens, and the context holds ${contextSize}.`, 'context_length_exceeded');
  }

  async #generate(
    { ids, options, signal }: Job,
    session: Session,
    cached: number,
    onToken: (event: TokenEvent) => boolean,
  ): Promise<Outcome> {
    const generation = session.generate(ids.slice(cached), { ...options, signal });
    let ended = false;
    let slice = performance.now();
    for await (const event of generation) {
      for (const watcher of this.#watchers) watcher.token(session);
      ended = !onToken(event);
      if (ended) break;
      if (performance.now() - slice > SLICE_MS) {
        await setImmediate();
        slice = performance.now();
      }
    }
    const { finishReason, tokens, prefill, decode } = await generation.result();
    return {
      finishReason: ended ? 'stop' : finishReason,
      promptTokens: ids.length,
      cachedTokens: cached,
      completionTokens: tokens.length,
      prefill,
      decode,
    };
  }
}
