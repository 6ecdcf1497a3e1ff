/** A server on a tiny model, and clients. */
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import OpenAI from 'openai';
import { DEFAULT_PRECISION } from '../../../lib/convert/precision.js';
import { type LutraServer, type ServeOptions, serve } from '../../../lib/server/index.js';
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

export function clientOf(server: LutraServer, apiKey = 'none'): OpenAI {
  return new OpenAI({ baseURL: `${server.url}/v1`, apiKey, maxRetries: 0 });
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

/** The same on a model of random weights. */
export async function serveTiny(options: ServeOptions = {}): Promise<Served> {
  const root = await temporary();
  const { directory } = await makeTiny(root, MODEL, DEFAULT_PRECISION, { seed: 3, storages: ['q4_1', 'q8_0'], tied: false });
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
  server: LutraServer,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const request = httpRequest({ port: server.port, host: '127.0.0.1', method, path, headers: { ...type, ...headers } }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text: Buffer.concat(parts).toString('utf8') }),
      );
    });
    request.on('error', reject);
    request.end(body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body));
  });
}

/** Words that the tiny model was never taught. */
export const MESSAGES = [{ role: 'user' as const, content: 'hello world 12' }];
