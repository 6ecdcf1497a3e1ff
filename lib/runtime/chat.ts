/** A conversation: keeps the messages, and computes only what the KV cache does not hold yet. */
import { LutraError } from '../graph/errors.js';
import { type GenerateOptions, Generation } from './generate.js';
import { show } from './options.js';
import type { Session } from './session.js';
import type { TokenEvent } from './stop-filter.js';
import type { ChatMessage } from './tokenizer.js';

/** Length of the common beginning of two runs of ids. */
export function commonPrefix(a: readonly number[], b: readonly number[]): number {
  const limit = Math.min(a.length, b.length);
  let length = 0;
  while (length < limit && a[length] === b[length]) length++;
  return length;
}

export class Chat {
  readonly #session: Session;
  #messages: ChatMessage[];

  /** Made by `Model.createChat`. The session belongs to the chat. */
  constructor(session: Session, system?: string) {
    this.#session = session;
    this.#messages = system === undefined ? [] : [{ role: 'system', content: system }];
  }

  get messages(): readonly ChatMessage[] {
    return this.#messages;
  }

  /** Says something; the answer streams. Question and delivered answer join {@link messages} when it ends, also when it was aborted. */
  send(content: string, options: GenerateOptions = {}): Generation {
    if (typeof content !== 'string' || content.length === 0)
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `The content of a message is ${show(content)}, not a text.`);
    const messages: ChatMessage[] = [...this.#messages, { role: 'user', content }];
    let inner: Generation | undefined;
    const remember = (answer: string) => {
      this.#messages = [...messages, { role: 'assistant', content: answer }];
    };
    const session = this.#session;
    let outcome: Awaited<ReturnType<Generation['result']>> | undefined;
    async function* stream(): AsyncGenerator<TokenEvent, void> {
      const ids = session.encode(messages);
      // The last token is computed again at least: its logits begin the answer.
      session.truncate(Math.min(commonPrefix(session.tokens, ids), ids.length - 1));
      inner = session.generate(ids.slice(session.tokens.length), options);
      try {
        yield* inner;
      } finally {
        outcome = await inner.result();
        if (outcome.tokens.length > 0) remember(outcome.text);
      }
    }
    return new Generation(stream(), () => outcome);
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}
