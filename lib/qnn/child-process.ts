/** A child process in which a QNN library may crash or hang. */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** How a child stopped being of use; it is dead when this is known. `how`: "SIGSEGV", "exit code 70: the last line it wrote". */
export type Ending = { kind: 'crashed'; how: string } | { kind: 'hung'; milliseconds: number };

const KEPT_STDERR = 2000;

/** The program `name` beside the module `from`, or where the build puts it when that runs as source. */
export function programBeside(from: string, name: string): URL {
  const beside = new URL(name, from);
  return existsSync(fileURLToPath(beside)) ? beside : new URL(beside.href.replace(/\/lib\/(?!.*\/lib\/)/, '/dist/'));
}

export class QnnChild<Request extends object, Reply> {
  readonly #process: ChildProcess;
  readonly #isReply: (message: unknown) => message is Reply;
  readonly #onExit = () => this.kill();
  #stderr = '';
  #alive = true;

  /** `program`: a module that answers each message with one or more replies over Node's IPC channel. */
  constructor(program: URL, isReply: (message: unknown) => message is Reply) {
    this.#isReply = isReply;
    this.#process = fork(fileURLToPath(program), [], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], execArgv: [] });
    this.#process.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-KEPT_STDERR);
    });
    process.once('exit', this.#onExit);
  }

  get alive(): boolean {
    return this.#alive;
  }

  /**
   * Sends a request and hands its replies to `onReply`, which says how many milliseconds the next one may take, or null when there is none. Resolves to undefined then, or to
   * how the child ended before. `milliseconds`: for the first reply. Never rejects. One request at a time.
   */
  ask(request: Request, milliseconds: number, onReply: (reply: Reply) => number | null): Promise<Ending | undefined> {
    const child = this.#process;
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout;
      const wait = (next: number) => {
        clearTimeout(timer);
        timer = setTimeout(() => finish({ kind: 'hung', milliseconds: next }), next);
      };
      const finish = (end?: Ending) => {
        clearTimeout(timer);
        child.off('message', onMessage).off('exit', onGone).off('disconnect', onGone).off('error', onError);
        if (end) this.kill();
        resolve(end);
      };
      const onMessage = (message: unknown) => {
        if (!this.#isReply(message))
          return finish({ kind: 'crashed', how: `it said ${JSON.stringify(message)?.slice(0, 100)}, which is no reply` });
        const next = onReply(message);
        if (next === null) finish();
        else wait(next);
      };
      // What it said last is in the channel until that is closed too.
      const onGone = () => {
        if (!child.connected && (child.exitCode !== null || child.signalCode !== null))
          finish({ kind: 'crashed', how: this.#describeExit() });
      };
      const onError = (error: Error) => finish({ kind: 'crashed', how: error.message });
      wait(milliseconds);
      child.on('message', onMessage).on('exit', onGone).on('disconnect', onGone).on('error', onError);
      if (child.connected) child.send(request, (error) => error && onGone());
      onGone();
    });
  }

  /** Ends the process whatever it is doing. Idempotent. */
  kill(): void {
    this.#alive = false;
    process.off('exit', this.#onExit);
    this.#process.kill('SIGKILL');
  }

  #describeExit(): string {
    const { exitCode, signalCode } = this.#process;
    const last = this.#stderr.trim().split('\n').at(-1);
    return `${signalCode ?? `exit code ${exitCode}`}${last ? `: ${last.slice(0, 200)}` : ''}`;
  }
}
