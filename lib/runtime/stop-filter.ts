/**
 * Between the token stream and the reader: joins tokens to text without ever splitting a UTF-8 sequence, and holds tokens back while
 * their text may still become a stop string. What comes out is final.
 */

/** One delivered token and the text that became certain with it (empty for special tokens and for parts of a character). */
export interface TokenEvent {
  token: number;
  text: string;
}

/** Turns a run of ids into text; special tokens become nothing. */
export type Decode = (tokens: number[]) => string;

/** U+FFFD at the end of a decoded run: the last bytes are the beginning of a character. */
const INCOMPLETE = '\uFFFD';

/** No character has more bytes than this many byte-level tokens; after that the bytes are simply not UTF-8. */
const MAX_CHARACTER_TOKENS = 4;

/** Ids to text, one by one. Decodes a short run again until it ends at a character, so that the cost per token does not grow. */
export class TextStream {
  readonly #decode: Decode;
  /** The last complete run, kept because what an id decodes to may depend on the one before it. */
  #context: number[] = [];
  #run: number[] = [];

  constructor(decode: Decode) {
    this.#decode = decode;
  }

  /** Text that is complete with this token. */
  push(token: number): string {
    this.#run.push(token);
    const text = this.#runText();
    if (text.endsWith(INCOMPLETE) && this.#run.length < MAX_CHARACTER_TOKENS) return '';
    this.#context = this.#run;
    this.#run = [];
    return text;
  }

  /** Whether the last token ended inside a character. */
  get incomplete(): boolean {
    return this.#run.length > 0;
  }

  /** What is left when no token follows. */
  end(): string {
    if (this.#run.length === 0) return '';
    const text = this.#runText();
    this.#context = this.#run;
    this.#run = [];
    return text;
  }

  #runText(): string {
    const before = this.#decode(this.#context);
    const all = this.#decode([...this.#context, ...this.#run]);
    return all.startsWith(before) ? all.slice(before.length) : this.#decode(this.#run);
  }
}

/** Length of the longest end of `text` that is the beginning, but not the whole, of one of `stops`. */
function heldLength(text: string, stops: readonly string[]): number {
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
  readonly #stream: TextStream;
  #held: TokenEvent[] = [];
  #matched = false;

  constructor(decode: Decode, stops: readonly string[]) {
    this.#stops = stops;
    this.#stream = new TextStream(decode);
  }

  /** A stop string was found: nothing more will come out. */
  get matched(): boolean {
    return this.#matched;
  }

  /**
   * Takes a token, returns the events that are certain now. When a stop string is complete, the tokens that begin in it are dropped and
   * the one that it begins inside of keeps the text before it.
   */
  push(token: number): TokenEvent[] {
    if (this.#matched) return [];
    this.#held.push({ token, text: this.#stream.push(token) });
    const text = this.#held.map((event) => event.text).join('');
    const stop = firstStop(text, this.#stops);
    if (stop >= 0) {
      this.#matched = true;
      return this.#cut(stop);
    }
    if (this.#stream.incomplete) return [];
    return this.#release(text.length - heldLength(text, this.#stops));
  }

  /** The rest, when no token follows. */
  end(): TokenEvent[] {
    const last = this.#held.at(-1);
    if (this.#matched || !last) return [];
    last.text += this.#stream.end();
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
      out.push({ token: event.token, text: event.text.slice(0, length - begin) });
      begin += event.text.length;
    }
    this.#held = [];
    return out;
  }
}
