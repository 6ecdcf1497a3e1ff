/** Reproducible choices: the same seed makes the same schedule (its timing is the machine's). */
import { setTimeout as sleep } from 'node:timers/promises';

export class Random {
  #state;

  constructor(seed) {
    this.#state = seed >>> 0;
  }

  /** In [0, 1). */
  uniform() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  below(n) {
    return Math.floor(this.uniform() * n);
  }

  chance(p) {
    return this.uniform() < p;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** A generator of its own for a part of the schedule, so that parts that run at once do not disturb each other's choices. */
  fork() {
    return new Random(this.below(2 ** 32));
  }

  /** Gives way: to microtasks, to some turns of the event loop, or for up to `ms`. */
  async pause(ms = 3) {
    const kind = this.below(4);
    const amount = this.below(4);
    if (kind === 0) return;
    if (kind === 1) for (let i = 0; i <= amount; i++) await new Promise((resolve) => setImmediate(resolve));
    else await sleep(kind === 2 ? 0 : ms * this.uniform());
  }
}
