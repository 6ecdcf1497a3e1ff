/** What the model is doing, for those who watch: GET /events. */
import type { Placement } from '../runtime/placement.js';
import type { Session } from '../runtime/session.js';
import type { Exchange } from './exchange.js';
import type { Queue } from './queue.js';
import type { Job, Outcome, Watcher } from './runner.js';

/** Watchers at once. */
const MAX_WATCHERS = 32;

/** How often a generation under way is shown. */
const INTERVAL_MS = 100;

/** Where the time of a prompt went, in milliseconds. */
interface PrefillTimes {
  total: number;
  /** Inside the NPU library, host NPU included. */
  npu: number;
  attention: number;
  /** Other steps of the CPU: embedding, norms, rotary positions, lm_head. */
  cpu: number;
  shadow: number;
  graphCalls: number;
}

/** What is sent first. */
export interface ServerFacts {
  kind: 'server';
  model: string;
  contextSize: number;
  placement: Placement;
}

/** One state of a generation. */
export interface Activity {
  kind: 'activity';
  /** Counts generations. */
  id: number;
  state: 'prefill' | 'decode' | 'done' | 'failed';
  promptTokens: number;
  cachedTokens: number;
  /** Known as soon as the first token is. */
  prefill?: PrefillTimes;
  tokens: number;
  decodeMs: number;
  /** Milliseconds between the tokens since the state before. */
  gaps: number[];
  /** Of the decode steps, once they are over. */
  decode?: { total: number; attention: number; cpu: number };
  running: number;
  waiting: number;
}

function prefillTimes(session: Session): PrefillTimes {
  const { prefillMs, npuMs, prefillCpuMs, prefillAttentionMs, shadowMs, graphCalls } = session.timings();
  return {
    total: prefillMs,
    npu: npuMs,
    attention: prefillAttentionMs,
    cpu: prefillCpuMs - prefillAttentionMs,
    shadow: shadowMs,
    graphCalls,
  };
}

export class ActivityFeed implements Watcher {
  readonly #queue: Queue;
  readonly #watchers = new Set<Exchange>();
  #last: Activity | undefined;
  #lastToken = 0;
  #lastSent = 0;

  constructor(queue: Queue) {
    this.#queue = queue;
  }

  /** Sends what the server is, the last that happened, and what happens from now on. */
  watch(exchange: Exchange, facts: ServerFacts): void {
    if (this.#watchers.size >= MAX_WATCHERS) {
      const [oldest] = this.#watchers;
      if (oldest) this.#release(oldest);
    }
    exchange.beginEvents();
    exchange.event(facts);
    if (this.#last) exchange.event(this.#last);
    this.#watchers.add(exchange);
    exchange.signal.addEventListener('abort', () => this.#watchers.delete(exchange), { once: true });
  }

  close(): void {
    for (const watcher of this.#watchers) this.#release(watcher);
  }

  begin(job: Job, cachedTokens: number): void {
    const id = (this.#last?.id ?? 0) + 1;
    this.#last = {
      kind: 'activity',
      id,
      state: 'prefill',
      promptTokens: job.ids.length,
      cachedTokens,
      tokens: 0,
      decodeMs: 0,
      gaps: [],
      running: 1,
      waiting: 0,
    };
    this.#lastToken = 0;
    this.#send();
  }

  token(session: Session): void {
    const now = performance.now();
    const last = this.#last;
    if (!last) return;
    last.tokens++;
    if (last.tokens === 1) {
      last.state = 'decode';
      last.prefill = prefillTimes(session);
    } else {
      last.gaps.push(now - this.#lastToken);
      last.decodeMs += now - this.#lastToken;
    }
    this.#lastToken = now;
    if (last.tokens === 1 || now - this.#lastSent >= INTERVAL_MS) this.#send();
  }

  end(session: Session, outcome: Outcome | undefined): void {
    const last = this.#last;
    if (!last) return;
    last.state = outcome ? 'done' : 'failed';
    if (outcome) {
      const { decodeMs: total, decodeCpuMs, decodeAttentionMs: attention } = session.timings();
      last.decode = { total, attention, cpu: decodeCpuMs - attention };
    }
    this.#send();
  }

  #release(watcher: Exchange): void {
    this.#watchers.delete(watcher);
    watcher.endEvents();
  }

  #send(): void {
    const last = this.#last;
    if (!last) return;
    this.#lastSent = performance.now();
    last.running = this.#queue.running;
    last.waiting = this.#queue.waiting;
    for (const watcher of this.#watchers) watcher.event(last);
    last.gaps = [];
  }
}
