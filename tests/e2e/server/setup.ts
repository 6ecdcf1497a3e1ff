/** A server on a tiny model, and clients. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { type Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import OpenAI from 'openai';
import { expect } from 'vitest';
import { DEFAULT_PRECISION } from '../../../lib/convert/precision.js';
import { type LutraServer, type ServeOptions, serve } from '../../../lib/server/index.js';
import { root as repository } from '../helpers.js';
import { makeTiny } from '../tiny.js';

export const CONTEXT = 512;
export const MODEL = 'tiny';

export interface Served {
  server: LutraServer;
  client: OpenAI;
  /** Failures that were not the client's. */
  failures: unknown[];
  stop(): Promise<void>;
}

export async function temporary(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'lutra-server-'));
}

export function clientOf(server: Pick<LutraServer, 'port'>, apiKey = 'none'): OpenAI {
  return new OpenAI({ baseURL: `http://127.0.0.1:${server.port}/v1`, apiKey, maxRetries: 0 });
}

/** Serves a model directory on a free port. */
export async function serveDirectory(directory: string, options: ServeOptions = {}): Promise<Served> {
  const failures: unknown[] = [];
  const server = await serve(directory, {
    port: 0,
    onError: (error) => failures.push(error),
    ...options,
    model: { npu: 'host', contextSize: CONTEXT, threads: 1, ...options.model },
  });
  return { server, client: clientOf(server, options.apiKey), failures, stop: () => server.close({ now: true }) };
}

/** A model of random weights in `root`; returns its directory. */
export async function tinyDirectory(root: string): Promise<string> {
  const { directory } = await makeTiny(root, MODEL, DEFAULT_PRECISION, { seed: 3, storages: ['q4_1', 'q8_0'], tied: false });
  return directory;
}

/** A server on it. */
export async function serveTiny(options: ServeOptions = {}): Promise<Served> {
  const root = await temporary();
  const directory = await tinyDirectory(root);
  const served = await serveDirectory(directory, options);
  return {
    ...served,
    stop: async () => {
      await served.stop();
      await rm(root, { recursive: true, force: true });
    },
  };
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
}

/** One plain HTTP request; a body that is no string or buffer is sent as JSON. */
export function ask(
  server: Pick<LutraServer, 'port'>,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
  agent?: Agent,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const request = httpRequest(
      { agent, port: server.port, host: '127.0.0.1', method, path, headers: { ...type, ...headers } },
      (response) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('error', reject);
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString('utf8') }),
        );
      },
    );
    request.on('error', reject);
    request.end(body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

/** Words that the tiny model was never taught. */
export const MESSAGES = [{ role: 'user' as const, content: 'hello world 12' }];

/** `lutra serve` in a process of its own. */
export interface Child {
  port: number;
  /** A figure of GET /metrics, labels and all. */
  figure(name: string): Promise<number>;
  rssBytes(): Promise<number>;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Resolves to the exit code when it has ended. */
  ended: Promise<number | null>;
}

export function spawnServer(directory: string, flags: readonly string[] = []): Promise<Child> {
  const main = join(repository, 'dist/cli/main.js');
  const child = spawn(process.execPath, [main, 'serve', directory, '--port', '0', '--npu', 'host', '--threads', '1', ...flags]);
  let stderr = '';
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  return new Promise((resolve, reject) => {
    void ended.then((code) => reject(new Error(`lutra serve ended with ${code}: ${stderr}`)));
    let stdout = '';
    child.stdout.on('data', (data) => {
      stdout += data;
      const port = Number(/127\.0\.0\.1:(\d+) /.exec(stdout)?.[1]);
      if (!(port > 0)) return;
      const figure = async (name: string) => {
        const { text } = await ask({ port }, 'GET', '/metrics');
        const line = text.split('\n').find((one) => one.startsWith(`${name} `));
        if (line === undefined) throw new Error(`no figure ${name}`);
        return Number(line.slice(name.length + 1));
      };
      resolve({
        port,
        figure,
        rssBytes: () => figure('process_resident_memory_bytes'),
        stderr: () => stderr,
        kill: (signal) => child.kill(signal),
        ended,
      });
    });
  });
}

/** Asks until the answer is what is wanted, for at most half a minute. */
export async function eventually<T>(look: () => Promise<T>, wanted: T): Promise<void> {
  const end = performance.now() + 30_000;
  for (;;) {
    const seen = await look();
    if (JSON.stringify(seen) === JSON.stringify(wanted)) return;
    if (performance.now() > end) expect(seen).toEqual(wanted);
    await sleep(20);
  }
}
