/** The figures of the server: what GET /metrics counts. */
import { type Counter, type Histogram, Registry } from './metrics.js';
import type { Queue } from './queue.js';
import type { Job, Outcome, Watcher } from './runner.js';
import type { SessionPool } from './sessions.js';

/** Seconds. */
const LATENCIES = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** Seconds for one token. */
const TOKEN_TIMES = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

export class Figures implements Watcher {
  readonly registry = new Registry();
  readonly #requests: Counter;
  readonly #duration: Histogram;
  readonly #wait: Histogram;
  readonly #firstToken: Histogram;
  readonly #tokenTime: Histogram;
  readonly #tokens: Counter;
  readonly #prefixes: Counter;
  readonly #unfinished: Counter;
  /** When the running job began, and whether it has said anything. */
  #began = 0;
  #silent = true;

  constructor(queue: Queue, pool: SessionPool) {
    const { registry } = this;
    this.#requests = registry.counter('lutra_requests_total', 'Requests answered, by path and status.');
    this.#duration = registry.histogram('lutra_request_seconds', 'From the first byte of a request to the last of its answer.', LATENCIES);
    this.#wait = registry.histogram('lutra_queue_seconds', 'How long a generation waited for its turn.', LATENCIES);
    this.#firstToken = registry.histogram('lutra_first_token_seconds', 'From the turn of a generation to its first token.', LATENCIES);
    this.#tokenTime = registry.histogram('lutra_token_seconds', 'Mean time of a token of an answer, after the first.', TOKEN_TIMES);
    this.#tokens = registry.counter('lutra_tokens_total', 'Tokens: of prompts, computed or found in a session, and of answers.');
    this.#prefixes = registry.counter(
      'lutra_prefix_cache_total',
      'Generations that found a beginning of their prompt in a session, and that did not.',
    );
    this.#unfinished = registry.counter('lutra_generations_unfinished_total', 'Generations that failed, or whose client went away.');
    registry.gauge('lutra_queue_length', 'Generations that wait for their turn.', () => queue.waiting);
    registry.gauge('lutra_running', 'Generations under way.', () => queue.running);
    registry.gauge('lutra_sessions', 'Sessions that are open.', () => pool.count);
    registry.gauge('lutra_sessions_lent', 'Sessions that a generation holds.', () => pool.lent);
    registry.gauge('lutra_session_bytes', 'KV caches, activations and packed NPU weights of the sessions, at most.', () => pool.bytes);
    registry.gauge('process_resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss());
  }

  /** A request was answered, or its client went away (status 0). */
  request(path: string, status: number, ms: number): void {
    this.#requests.add(1, { path, status: status === 0 ? 'gone' : String(status) });
    this.#duration.observe(ms / 1000, { path });
  }

  begin(job: Job, cachedTokens: number): void {
    this.#began = performance.now();
    this.#silent = true;
    this.#wait.observe((this.#began - job.since) / 1000);
    this.#prefixes.add(1, { result: cachedTokens > 0 ? 'hit' : 'miss' });
    this.#tokens.add(job.ids.length - cachedTokens, { kind: 'prompt' });
    this.#tokens.add(cachedTokens, { kind: 'cached' });
  }

  token(): void {
    this.#tokens.add(1, { kind: 'answer' });
    if (this.#silent) this.#firstToken.observe((performance.now() - this.#began) / 1000);
    this.#silent = false;
  }

  end(_session: unknown, outcome: Outcome | undefined): void {
    if (!outcome) this.#unfinished.add(1);
    else if (outcome.decode.tokens > 1) this.#tokenTime.observe(outcome.decode.ms / outcome.decode.tokens / 1000);
  }
}
