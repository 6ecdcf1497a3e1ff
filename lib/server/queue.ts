/** Who may use the model: one request at a time, the others in the order in which they came, and no more of them than fit. */
import { ApiError } from './errors.js';

interface Waiting {
  begin: () => void;
}

export class Queue {
  readonly #capacity: number;
  readonly #waiting = new Set<Waiting>();
  #running = false;
  /** Milliseconds that a turn takes, a moving average. */
  #turnMs = 1000;
  #idle: (() => void)[] = [];

  /** @param capacity requests that may wait */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  get running(): number {
    return this.#running ? 1 : 0;
  }

  /** Resolves, with nobody running and nobody waiting. */
  async drained(): Promise<void> {
    while (this.#running || this.#waiting.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /**
   * Does `work` when it is its turn. Throws ApiError 429 at once when the queue is full, and the signal's reason as soon as it is aborted while waiting; `work` itself has to
   * look at the signal.
   */
  async run<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    await this.#enter(signal);
    const began = performance.now();
    try {
      return await work();
    } finally {
      this.#turnMs += 0.2 * (performance.now() - began - this.#turnMs);
      this.#leave();
    }
  }

  async #enter(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (!this.#running) {
      this.#running = true;
      return;
    }
    if (this.#waiting.size >= this.#capacity) throw this.#full();
    await new Promise<void>((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(turn);
        reject(signal.reason);
        this.#tellIdle();
      };
      const turn: Waiting = {
        begin: () => {
          signal.removeEventListener('abort', leave);
          resolve();
        },
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.add(turn);
    });
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next) {
      this.#waiting.delete(next);
      next.begin();
    } else {
      this.#running = false;
      this.#tellIdle();
    }
  }

  #tellIdle(): void {
    for (const tell of this.#idle.splice(0)) tell();
  }

  /** A place is free with the next turn, but others want it, too: half of the queue is a fair time to come back. */
  #full(): ApiError {
    const seconds = Math.min(60, Math.max(1, Math.ceil((this.#waiting.size * this.#turnMs) / 1000 / 2)));
    return new ApiError(429, `The server is busy: ${this.#waiting.size} requests wait already. Try again in ${seconds} s.`, {
      code: 'rate_limit_exceeded',
      headers: { 'Retry-After': String(seconds) },
    });
  }
}
