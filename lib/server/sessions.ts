/** Sessions that keep what they have computed, so that the next turn of a conversation computes only what is new. */
import { commonPrefix } from '../runtime/chat.js';
import type { Model } from '../runtime/model.js';
import type { Session } from '../runtime/session.js';

export interface PoolLimits {
  /** Sessions that are kept at most. */
  sessions: number;
  /** Bytes that they may have together, estimated from above; one session may always be. */
  bytes: number;
}

/** A session on loan, with the beginning of the prompt already in it. */
export interface Loan {
  session: Session;
  /** Tokens of the prompt that are in the session. */
  cached: number;
}

/** Weights that the NPU's graphs of one session have packed for themselves, one byte each; those of the CPU are mapped once for all sessions. */
function packedBytes({ mode, spec }: Model): number {
  if (mode !== 'npu') return 0;
  const sizes = Object.keys(spec.linears).map((name) => spec.tensors[name]?.shape.reduce((product, dim) => product * dim, 1) ?? 0);
  return sizes.reduce((sum, size) => sum + size, 0);
}

export class SessionPool {
  readonly #model: Model;
  readonly #mostBytes: number;
  readonly #packedBytes: number;
  #most: number;
  /** Least recently used first. */
  #idle: Session[] = [];
  #lent = new Set<Session>();

  constructor(model: Model, { sessions, bytes }: PoolLimits) {
    this.#model = model;
    this.#most = sessions;
    this.#mostBytes = bytes;
    this.#packedBytes = packedBytes(model);
  }

  get count(): number {
    return this.#idle.length + this.#lent.size;
  }

  /** Sessions that a generation holds. */
  get lent(): number {
    return this.#lent.size;
  }

  get bytes(): number {
    return [...this.#idle, ...this.#lent].reduce((sum, session) => {
      const { kvCache, activations } = session.info().bytes;
      return sum + kvCache + activations + this.#packedBytes;
    }, 0);
  }

  /**
   * The session that has most of the prompt, cut to what both have in common; a new one where that would throw more away than it saves and there is room. At least two tokens
   * are left to compute: a single one would run as a decode step, whose logits are not those of the prompt path to the last bit.
   */
  async take(prompt: readonly number[]): Promise<Loan> {
    let best: { session: Session; common: number } | undefined;
    for (const session of this.#idle) {
      const common = Math.min(commonPrefix(session.tokens, prompt), Math.max(0, prompt.length - 2));
      if (!best || common > best.common) best = { session, common };
    }
    const keeps = best && 2 * best.common >= best.session.tokens.length;
    const empty = this.#idle.find(({ tokens }) => tokens.length === 0);
    const session = best && (keeps || !(empty || this.#room())) ? best.session : (empty ?? (await this.#open(best?.session)));
    const cached = session === best?.session ? best.common : 0;
    this.#idle = this.#idle.filter((other) => other !== session);
    this.#lent.add(session);
    session.truncate(cached);
    return { session, cached };
  }

  /** Takes a session back with the first `keep` of its tokens. */
  giveBack(session: Session, keep: number): void {
    this.#lent.delete(session);
    if (session.lost) {
      this.#abandon(session);
      return;
    }
    session.truncate(Math.min(keep, session.tokens.length));
    this.#idle.push(session);
  }

  async dispose(): Promise<void> {
    const all = [...this.#idle, ...this.#lent];
    this.#idle = [];
    this.#lent.clear();
    await Promise.all(all.map((session) => session.dispose()));
  }

  /** The NPU library does not answer one session, so it will not answer the others; the model's next one is on another library. Nobody waits for what may never end. */
  #abandon(lost: Session): void {
    for (const session of [lost, ...this.#idle.splice(0)]) session.dispose().catch(() => {});
  }

  #room(): boolean {
    if (this.count === 0) return true;
    return this.count < this.#most && (this.bytes / this.count) * (this.count + 1) <= this.#mostBytes;
  }

  /** A new session, or `instead` where none can be had: for want of memory, or because the NPU has no room for another one. Then it is not tried again. */
  async #open(instead: Session | undefined): Promise<Session> {
    try {
      return await this.#model.createSession();
    } catch (error) {
      if (!instead) throw error;
      this.#most = this.count;
      return instead;
    }
  }
}
