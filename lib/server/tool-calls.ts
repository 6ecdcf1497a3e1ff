/** Calls of functions, as models write them into their text: found while the text streams, and taken out of it. */
import { heldLength } from '../runtime/stop-filter.js';

export interface Call {
  name: string;
  /** JSON, as clients expect it. */
  arguments: string;
}

export type Part = { text: string } | { call: Call };

/** Splits a stream of text into what is said and what is called. */
export interface CallParser {
  push(text: string): Part[];
  /** The rest, when no text follows. */
  end(): Part[];
}

/** One way to write calls. */
interface Format {
  /** Whether a chat template teaches the model this way. */
  teaches(template: string): boolean;
  parser(names: ReadonlySet<string>): CallParser;
}

/** The call that a JSON text stands for; undefined when it is none of a known function. */
function parseCall(json: string, names: ReadonlySet<string>): Call | undefined {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const { name, arguments: named, parameters } = value as { name?: unknown; arguments?: unknown; parameters?: unknown };
  if (typeof name !== 'string' || !names.has(name)) return undefined;
  const given = named ?? parameters ?? {};
  return { name, arguments: typeof given === 'string' ? given : JSON.stringify(given) };
}

/** `<tool_call>{"name": …, "arguments": …}</tool_call>`, any number of them behind a text: Qwen, Hermes, SmolLM. */
class TaggedCalls implements CallParser {
  static readonly open = '<tool_call>';
  static readonly close = '</tool_call>';
  readonly #names: ReadonlySet<string>;
  #held = '';
  #inside = false;
  #called = false;

  constructor(names: ReadonlySet<string>) {
    this.#names = names;
  }

  push(text: string): Part[] {
    this.#held += text;
    const parts: Part[] = [];
    for (;;) {
      const tag = this.#inside ? TaggedCalls.close : TaggedCalls.open;
      const at = this.#held.indexOf(tag);
      if (at < 0) break;
      const before = this.#held.slice(0, at);
      this.#held = this.#held.slice(at + tag.length);
      if (this.#inside) parts.push(this.#call(before, tag));
      else parts.push({ text: before.trimEnd() });
      this.#inside = !this.#inside;
    }
    // White space may be what stands in front of a call.
    if (!this.#inside) {
      const spoken = this.#held.slice(0, this.#held.length - heldLength(this.#held, [TaggedCalls.open])).trimEnd();
      parts.push({ text: spoken });
      this.#held = this.#held.slice(spoken.length);
    }
    return parts.filter(isSomething);
  }

  end(): Part[] {
    const rest = this.#held;
    this.#held = '';
    // A model may end its turn where the closing tag would be.
    const part = this.#inside ? this.#call(rest, '') : { text: this.#called ? rest.trimEnd() : rest };
    return [part].filter(isSomething);
  }

  #call(json: string, closing: string): Part {
    const call = parseCall(json, this.#names);
    this.#called ||= call !== undefined;
    return call ? { call } : { text: `${TaggedCalls.open}${json}${closing}` };
  }
}

function isSomething(part: Part): boolean {
  return 'call' in part || part.text !== '';
}

/** The whole answer is `{"name": …, "parameters": …}`: Llama 3. */
class BareCall implements CallParser {
  readonly #names: ReadonlySet<string>;
  #held = '';
  #spoken = false;

  constructor(names: ReadonlySet<string>) {
    this.#names = names;
  }

  push(text: string): Part[] {
    this.#held += text;
    const begin = this.#held.trimStart();
    if (!this.#spoken && (begin === '' || begin.startsWith('{'))) return [];
    this.#spoken = true;
    return this.#release();
  }

  end(): Part[] {
    const call = this.#spoken ? undefined : parseCall(this.#held, this.#names);
    return call ? [{ call }] : this.#release();
  }

  #release(): Part[] {
    const text = this.#held;
    this.#held = '';
    return text === '' ? [] : [{ text }];
  }
}

const FORMATS: readonly Format[] = [
  { teaches: (template) => template.includes(TaggedCalls.open), parser: (names) => new TaggedCalls(names) },
  { teaches: (template) => template.includes('"parameters"'), parser: (names) => new BareCall(names) },
];

/** How the model with this chat template writes calls of these functions; undefined when the template does not speak of functions, or in a way that is not known. */
export function callParser(template: string, names: readonly string[]): CallParser | undefined {
  if (!/\btools\b/.test(template)) return undefined;
  return FORMATS.find((format) => format.teaches(template))?.parser(new Set(names));
}
