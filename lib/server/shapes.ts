/** Answers in OpenAI's form: chunk by chunk, or whole. */
import { randomBytes } from 'node:crypto';
import type { TokenEvent } from '../runtime/stop-filter.js';
import type { Tokenizer } from '../runtime/tokenizer.js';
import { type ChatLogprob, chatLogprob, completionLogprobs } from './logprobs.js';
import type { Outcome } from './runner.js';
import type { Call, CallParser, Part } from './tool-calls.js';

/** Builds one answer from the tokens as they come. */
export interface Shape {
  /** Chunks before the first token. */
  begin(): object[];
  /** Chunks for a token. */
  push(event: TokenEvent): object[];
  /** Nothing that comes now would be delivered. */
  readonly enough: boolean;
  /** Chunks after the last token, {@link whole} is complete then. */
  end(outcome: Outcome): object[];
  whole(outcome: Outcome): object;
}

export interface ShapeOptions {
  model: string;
  /** Seconds since 1970. */
  created: number;
  includeUsage: boolean;
  /** Whether the answer has the probabilities of its tokens. */
  logprobs: boolean;
  tokenizer: Tokenizer;
}

export function newId(prefix: string): string {
  return `${prefix}${randomBytes(12).toString('hex')}`;
}

export function usage({ promptTokens, cachedTokens, completionTokens }: Outcome): object {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}

/** The context is a length, too. */
function finishReason({ finishReason: reason }: Outcome): string {
  return reason === 'stop' ? 'stop' : 'length';
}

/** What every chunk of an answer has in common. */
class Envelope {
  readonly #fields: object;
  readonly #includeUsage: boolean;

  constructor(id: string, object: string, { model, created, includeUsage }: ShapeOptions) {
    this.#fields = { id, object, created, model, system_fingerprint: null };
    this.#includeUsage = includeUsage;
  }

  choice(choice: object): object {
    return { ...this.#fields, choices: [{ index: 0, ...choice }], ...(this.#includeUsage ? { usage: null } : {}) };
  }

  /** The last chunk, where one is wanted. */
  usage(outcome: Outcome): object[] {
    return this.#includeUsage ? [{ ...this.#fields, choices: [], usage: usage(outcome) }] : [];
  }
}

/** An answer of POST /v1/completions. */
export class CompletionShape implements Shape {
  readonly enough = false;
  readonly #id = newId('cmpl-');
  readonly #options: ShapeOptions;
  readonly #envelope: Envelope;
  readonly #events: TokenEvent[] = [];
  #text = '';
  /** Of the events that went out. */
  #sent = { events: 0, text: 0 };

  constructor(options: ShapeOptions) {
    this.#options = options;
    this.#envelope = new Envelope(this.#id, 'text_completion', options);
  }

  begin(): object[] {
    return [];
  }

  push(event: TokenEvent): object[] {
    this.#text += event.text;
    if (this.#options.logprobs) this.#events.push(event);
    return event.text === '' ? [] : [this.#chunk(null)];
  }

  end(outcome: Outcome): object[] {
    return [this.#chunk(finishReason(outcome)), ...this.#envelope.usage(outcome)];
  }

  /** What has come since the last chunk. */
  #chunk(finish: string | null): object {
    const { events, text } = this.#sent;
    this.#sent = { events: this.#events.length, text: this.#text.length };
    return this.#envelope.choice({ text: this.#text.slice(text), logprobs: this.#logprobs(events, text), finish_reason: finish });
  }

  #logprobs(event: number, offset: number): object | null {
    const { logprobs, tokenizer } = this.#options;
    return logprobs ? completionLogprobs(this.#events.slice(event), tokenizer, offset) : null;
  }

  whole(outcome: Outcome): object {
    return {
      id: this.#id,
      object: 'text_completion',
      created: this.#options.created,
      model: this.#options.model,
      system_fingerprint: null,
      choices: [{ index: 0, text: this.#text, logprobs: this.#logprobs(0, 0), finish_reason: finishReason(outcome) }],
      usage: usage(outcome),
    };
  }
}

export interface ChatShapeOptions extends ShapeOptions {
  /** Finds calls in the text; undefined: all of it is said. */
  parser: CallParser | undefined;
  parallelCalls: boolean;
}

interface ToolCall {
  id: string;
  type: 'function';
  function: Call;
}

/** An answer of POST /v1/chat/completions. */
export class ChatShape implements Shape {
  readonly #id = newId('chatcmpl-');
  readonly #options: ChatShapeOptions;
  readonly #envelope: Envelope;
  #text = '';
  readonly #calls: ToolCall[] = [];
  readonly #logprobs: ChatLogprob[] = [];
  /** Of these, how many went out. */
  #sent = 0;

  constructor(options: ChatShapeOptions) {
    this.#options = options;
    this.#envelope = new Envelope(this.#id, 'chat.completion.chunk', options);
  }

  get enough(): boolean {
    return !this.#options.parallelCalls && this.#calls.length > 0;
  }

  begin(): object[] {
    return [this.#delta({ role: 'assistant', content: '' })];
  }

  push(event: TokenEvent): object[] {
    const { parser, tokenizer } = this.#options;
    const { text } = event;
    const logprob = chatLogprob(event, tokenizer);
    if (logprob) this.#logprobs.push(logprob);
    return this.#deliver(parser ? parser.push(text) : [{ text }]);
  }

  end(outcome: Outcome): object[] {
    const rest = this.#deliver(this.enough ? [] : (this.#options.parser?.end() ?? []));
    return [...rest, this.#delta({}, this.#finishReason(outcome)), ...this.#envelope.usage(outcome)];
  }

  whole(outcome: Outcome): object {
    const calls = this.#calls.length > 0;
    return {
      id: this.#id,
      object: 'chat.completion',
      created: this.#options.created,
      model: this.#options.model,
      system_fingerprint: null,
      choices: [
        {
          index: 0,
          message: {
            role: 'assistant',
            content: calls && this.#text === '' ? null : this.#text,
            refusal: null,
            ...(calls ? { tool_calls: this.#calls } : {}),
          },
          logprobs: this.#options.logprobs ? { content: this.#logprobs, refusal: null } : null,
          finish_reason: this.#finishReason(outcome),
        },
      ],
      usage: usage(outcome),
    };
  }

  #finishReason(outcome: Outcome): string {
    const reason = finishReason(outcome);
    return reason === 'stop' && this.#calls.length > 0 ? 'tool_calls' : reason;
  }

  #delta(delta: object, finish: string | null = null): object {
    const logprobs = this.#options.logprobs ? { content: this.#logprobs.slice(this.#sent), refusal: null } : null;
    this.#sent = this.#logprobs.length;
    return this.#envelope.choice({ delta, logprobs, finish_reason: finish });
  }

  #deliver(parts: readonly Part[]): object[] {
    const chunks: object[] = [];
    for (const part of parts) {
      if (this.enough) break;
      if ('call' in part) {
        const call: ToolCall = { id: newId('call_'), type: 'function', function: part.call };
        chunks.push(this.#delta({ tool_calls: [{ index: this.#calls.length, ...call }] }));
        this.#calls.push(call);
      } else if (part.text !== '') {
        this.#text += part.text;
        chunks.push(this.#delta({ content: part.text }));
      }
    }
    return chunks;
  }
}
