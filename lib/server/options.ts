/** Options of `serve`, checked, with their defaults. */
import type { LoadOptions } from '../runtime/model.js';
import { type Check, callable, checkOptions, integer, strings } from '../runtime/options.js';

/** How to serve. All fields are optional. */
export interface ServeOptions {
  /** Default 127.0.0.1: nobody but this machine. */
  host?: string;
  /** Default 8080; 0 takes a free one. */
  port?: number;
  /** What clients must send as `Authorization: Bearer KEY`. Default: nothing. */
  apiKey?: string;
  /** What clients call the model; default: the name of its directory. */
  name?: string;
  /** Origins of web pages that may ask (`https://example.org`, or `*`). Default: none but the server's own page. */
  corsOrigins?: string[];
  /** Requests that may wait; the next is answered with 429. Default 64. */
  queue?: number;
  /** Sessions that are kept for the next turns of conversations; default 4. */
  sessions?: number;
  /** Bytes of their KV caches, activations and packed NPU weights at most; default 1 GiB. One session is always kept. */
  sessionBytes?: number;
  /** Longest body of a request in bytes; default 1 MiB. */
  bodyLimit?: number;
  /** How long `close` waits for answers under way, in milliseconds; default 10,000. */
  drainMs?: number;
  /** How to load the model. `profile` is on unless it is false: the page and GET /events show where the time goes. */
  model?: LoadOptions;
  /** Told of failures that are not the client's. */
  onError?: (error: unknown) => void;
}

const anything: Check = () => undefined;

const filled: Check = (value) => (typeof value === 'string' && value !== '' ? undefined : 'a text that is not empty');

const checks: Record<keyof ServeOptions, Check> = {
  host: filled,
  port: integer(0, 65535),
  apiKey: (value) => (typeof value === 'string' && value.trim() === value && value !== '' ? undefined : 'a text without spaces around it'),
  name: filled,
  corsOrigins: strings,
  queue: integer(0, 65536),
  sessions: integer(1, 1024),
  sessionBytes: integer(0),
  bodyLimit: integer(1024, 1 << 28),
  drainMs: integer(0, 86_400_000),
  model: anything, // loadModel says more
  onError: callable,
};

const DEFAULTS = {
  host: '127.0.0.1',
  port: 8080,
  queue: 64,
  sessions: 4,
  sessionBytes: 2 ** 30,
  bodyLimit: 2 ** 20,
  drainMs: 10_000,
  corsOrigins: [] as string[],
} as const;

/** Options with a value for each that has a default. */
export type Settings = ServeOptions & typeof DEFAULTS;

/** Throws LUTRA_INVALID_ARGUMENT for unknown names and wrong values. */
export function settings(options: ServeOptions): Settings {
  checkOptions('serve', options, checks);
  return { ...DEFAULTS, ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) };
}
