/** One child process of a probe, and how it ends. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { isReply, type Reply, type Request } from './protocol.js';

/** How a child stopped being of use. It is dead when this is known. */
export type Ending = { kind: 'crashed'; how: string } | { kind: 'hung' };
export interface Answer {
  /** Of the case that was asked for, as far as the child came to say. */
  forms: string[];
  end: Exclude<Reply, { forms: string[] }> | Ending;
}

const KEPT_STDERR = 2000;

export class ProbeChild {
  readonly #process: ChildProcess;
  #stderr = '';
  #requests = 0;
  #alive = true;

  /** `program`: a module that speaks the protocol. */
  constructor(program: URL) {
    this.#process = fork(fileURLToPath(program), [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [] });
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-KEPT_STDERR);
    });
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** Requests that it has answered. */
  get requests(): number {
    return this.#requests;
  }

  /** Never rejects. One at a time. */
  ask(request: Request, milliseconds: number): Promise<Answer> {
    const child = this.#process;
    return new Promise((resolve) => {
      const forms: string[] = [];
      const finish = (end: Answer['end']) => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onGone).off('disconnect', onGone).off('error', onError);
        if ('kind' in end) this.kill();
        else this.#requests++;
        resolve({ forms, end });
      };
      const onMessage = (message: unknown) => {
        if (!isReply(message)) finish({ kind: 'crashed', how: `answered ${JSON.stringify(message).slice(0, 100)}, which is no reply` });
        else if ('forms' in message) forms.push(...message.forms);
        else finish(message);
      };
      // What it said last is in the channel until that is closed too.
      const onGone = () => {
        if (!child.connected && (child.exitCode !== null || child.signalCode !== null))
          finish({ kind: 'crashed', how: this.#describeExit() });
      };
      const onError = (error: Error) => finish({ kind: 'crashed', how: error.message });
      const timer = setTimeout(() => finish({ kind: 'hung' }), milliseconds);
      child.on('message', onMessage).on('exit', onGone).on('disconnect', onGone).on('error', onError);
      if (child.connected) child.send(request, (error) => error && onGone());
      onGone();
    });
  }

  /** Ends the process whatever it is doing. Idempotent. */
  kill(): void {
    this.#alive = false;
    this.#process.kill('SIGKILL');
  }

  #describeExit(): string {
    const { exitCode, signalCode } = this.#process;
    const last = this.#stderr.trim().split('\n').at(-1);
    return `${signalCode ?? `exit code ${exitCode}`}${last ? `: ${last.slice(0, 200)}` : ''}`;
  }
}
