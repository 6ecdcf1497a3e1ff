/** One child process of a probe: requests to it and what it answers. */
import { type Ending, QnnChild } from '../child-process.js';
import { isReply, type Reply, type Request } from './protocol.js';

export interface Answer {
  /** Of the case that was asked for, as far as the child came to say. */
  forms: string[];
  end: Exclude<Reply, { forms: string[] }> | Ending;
}

export class ProbeChild {
  readonly #child: QnnChild<Request, Reply>;
  #requests = 0;

  /** `program`: a module that speaks the protocol. */
  constructor(program: URL) {
    this.#child = new QnnChild(program, isReply);
  }

  get alive(): boolean {
    return this.#child.alive;
  }

  /** Requests that it has answered. */
  get requests(): number {
    return this.#requests;
  }

  /** Never rejects. One at a time. */
  async ask(request: Request, milliseconds: number): Promise<Answer> {
    const forms: string[] = [];
    const deadline = performance.now() + milliseconds;
    let last: Exclude<Reply, { forms: string[] }> | undefined;
    const ended = await this.#child.ask(request, milliseconds, (reply) => {
      if (!('forms' in reply)) {
        last = reply;
        return null;
      }
      forms.push(...reply.forms);
      return Math.max(1, deadline - performance.now());
    });
    if (ended) return { forms, end: ended };
    this.#requests++;
    // The child did not end, so that its last reply is one.
    return { forms, end: last! };
  }

  kill(): void {
    this.#child.kill();
  }
}
