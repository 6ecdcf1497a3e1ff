/** node-llama-cpp as a measuring stick, in a child process of its own. */
import { type ChildProcess, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface OracleOptions {
  threads?: number;
  contextSize?: number;
  /** Type of its KV cache; F16 is its default. */
  kv?: 'F16' | 'F32';
}

const worker = fileURLToPath(new URL('./worker.mjs', import.meta.url));
const installed = fileURLToPath(new URL('./node_modules/node-llama-cpp', import.meta.url));

export class LlamaOracle {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #next = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', ({ id, result, error }: { id: number; result?: unknown; error?: string }) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.resolve(result);
      else waiting?.reject(new Error(error));
    });
    child.on('exit', (code) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the oracle ended with code ${code}`));
      this.#waiting.clear();
    });
  }

  static async open(path: string, { threads = 1, contextSize = 512, kv = 'F32' }: OracleOptions = {}): Promise<LlamaOracle> {
    if (!existsSync(installed)) throw new Error('node-llama-cpp is missing: npm ci --prefix tests/oracle --ignore-scripts --omit=optional');
    const oracle = new LlamaOracle(fork(worker, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }));
    await oracle.#call('open', { path, threads, contextSize, kv });
    return oracle;
  }

  #call(method: string, params: object): Promise<unknown> {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ id, method, params });
    });
  }

  /** Logits of every position, from an empty context: [tokens × vocab]. */
  async logits(tokens: readonly number[]): Promise<Float32Array> {
    return (await this.#call('logits', { tokens })) as Float32Array;
  }

  async greedy(tokens: readonly number[], count: number): Promise<number[]> {
    return (await this.#call('greedy', { tokens, count })) as number[];
  }

  async time(tokens: readonly number[], count: number): Promise<{ prefillMs: number; decodeMs: number }> {
    return (await this.#call('time', { tokens, count })) as { prefillMs: number; decodeMs: number };
  }

  async tokenize(text: string): Promise<number[]> {
    return (await this.#call('tokenize', { text })) as number[];
  }

  close(): void {
    this.#child.disconnect();
  }
}
