/**
 * Between the token stream and the reader: joins tokens to text and holds tokens back while their text may still become a stop string
 * or ends inside a character. What comes out is final.
 */
import type { TextDecoder } from './tokenizer.js';

/** One delivered token and the text that became certain with it (empty for special tokens and for parts of a character). */
export interface TokenEvent {
  token: number;
  text: string;
  /** Logarithm of the probability that the model gives to the token, before temperature and the other options; where `logprobs` asks for it. */
  logprob?: number;
  /** The most likely tokens in its place, as many as `logprobs` says, the likeliest first. */
  alternatives?: { token: number; logprob: number }[];
}

/** The part of a {@link TokenEvent} that the native loop gives as pairs of token and logarithm, the token itself first. */
function probabilities(pairs: Float64Array | undefined): Pick<TokenEvent, 'logprob' | 'alternatives'> {
  if (!pairs) return {};
  const all = Array.from({ length: pairs.length / 2 }, (_, i) => ({ token: pairs[2 * i]!, logprob: pairs[2 * i + 1]! }));
  return { logprob: all[0]!.logprob, alternatives: all.slice(1) };
}

/** Length of the longest end of `text` that is the beginning, but not the whole, of one of `stops`. */
export function heldLength(text: string, stops: readonly string[]): number {
  let held = 0;
  for (const stop of stops) {
    for (let length = Math.min(stop.length - 1, text.length); length > held; length--) {
      if (text.endsWith(stop.slice(0, length))) held = length;
    }
  }
  return held;
}

/** Where the first of `stops` begins in `text`; -1 when none is there. */
function firstStop(text: string, stops: readonly string[]): number {
  let first = -1;
  for (const stop of stops) {
    const at = text.indexOf(stop);
    if (at >= 0 && (first < 0 || at < first)) first = at;
  }
  return first;
}

export class StopFilter {
  readonly #stops: readonly string[];
  readonly #decoder: TextDecoder;
  #held: TokenEvent[] = [];
  #matched = false;

  constructor(decoder: TextDecoder, stops: readonly string[]) {
    this.#decoder = decoder;
    this.#stops = stops;
  }

  /** A stop string was found: nothing more will come out. */
  get matched(): boolean {
    return this.#matched;
  }

  /**
   * Takes a token, returns the events that are certain now. When a stop string is complete, the tokens that begin in it are dropped and
   * the one that it begins inside of keeps the text before it.
   */
  push(token: number, logprobs?: Float64Array): TokenEvent[] {
    if (this.#matched) return [];
    const piece = this.#decoder.push(token);
    this.#held.push({ token, text: piece, ...probabilities(logprobs) });
    const text = this.#held.map((event) => event.text).join('');
    const stop = firstStop(text, this.#stops);
    if (stop >= 0) {
      this.#matched = true;
      return this.#cut(stop);
    }
    // No text yet: a part of a character, which belongs together with the tokens that complete it.
    if (piece === '') return [];
    return this.#release(text.length - heldLength(text, this.#stops));
  }

  /** The rest, when no token follows. */
  end(): TokenEvent[] {
    const last = this.#held.at(-1);
    if (this.#matched || !last) return [];
    last.text += this.#decoder.end();
    const text = this.#held.map((event) => event.text).join('');
    const stop = firstStop(text, this.#stops);
    if (stop >= 0) {
      this.#matched = true;
      return this.#cut(stop);
    }
    return this.#release(text.length);
  }

  /** Events whose whole text lies in the first `length` characters. */
  #release(length: number): TokenEvent[] {
    let end = 0;
    let count = 0;
    for (const event of this.#held) {
      end += event.text.length;
      if (end > length) break;
      count++;
    }
    return this.#held.splice(0, count);
  }

  /** Events before character `length`; the one that crosses it is shortened. */
  #cut(length: number): TokenEvent[] {
    const out: TokenEvent[] = [];
    let begin = 0;
    for (const event of this.#held) {
      if (begin >= length) break;
      out.push({ ...event, text: event.text.slice(0, length - begin) });
      begin += event.text.length;
    }
    this.#held = [];
    return out;
  }
}
