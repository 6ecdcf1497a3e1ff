/** Sessions that keep what they have computed, so that the next turn of a conversation computes only what is new. */
import { LutraError } from '../graph/errors.js';
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
  readonly #limits: PoolLimits;
  readonly #packedBytes: number;
  /** Least recently used first. */
  #idle: Session[] = [];
  #lent = new Set<Session>();

  constructor(model: Model, limits: PoolLimits) {
    this.#model = model;
    this.#limits = limits;
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
    const session = best && (keeps || !(empty || this.#room())) ? best.session : (empty ?? (await this.#open()));
    const cached = session === best?.session ? best.common : 0;
    this.#idle = this.#idle.filter((other) => other !== session);
    this.#lent.add(session);
    session.truncate(cached);
    return { session, cached };
  }

  /** Takes a session back with the first `keep` of its tokens. */
  async giveBack(session: Session, keep: number): Promise<void> {
    this.#lent.delete(session);
    if (session.lost) return session.dispose();
    session.truncate(Math.min(keep, session.tokens.length));
    this.#idle.push(session);
  }

  async dispose(): Promise<void> {
    const all = [...this.#idle, ...this.#lent];
    this.#idle = [];
    this.#lent.clear();
    await Promise.all(all.map((session) => session.dispose()));
  }

  #room(): boolean {
    if (this.count === 0) return true;
    return this.count < this.#limits.sessions && (this.bytes / this.count) * (this.count + 1) <= this.#limits.bytes;
  }

  /** A new session; where there is no memory for it, in place of the one that was not used for longest. */
  async #open(): Promise<Session> {
    for (;;) {
      try {
        return await this.#model.createSession();
      } catch (error) {
        const oldest = this.#idle.shift();
        if (!oldest || !(error instanceof LutraError && error.code === 'LUTRA_OUT_OF_MEMORY')) throw error;
        await oldest.dispose();
      }
    }
  }
}
