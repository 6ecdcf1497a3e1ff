/** `serve`: an HTTP server with OpenAI's endpoints before one model. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LutraError } from '../graph/errors.js';
import { type LoadOptions, loadModel, type Model } from '../runtime/model.js';
import { type Check, callable, checkOptions, integer, strings, text } from '../runtime/options.js';
import type { Placement } from '../runtime/placement.js';
import { Access, isLoopback } from './access.js';
import { ActivityFeed } from './activity.js';
import { ApiError } from './errors.js';
import { Exchange } from './exchange.js';
import { Figures } from './figures.js';
import { chatCompletions, completions, type Endpoints } from './generate.js';
import { pageFiles } from './page.js';
import { Queue } from './queue.js';
import { Runner } from './runner.js';
import { SessionPool } from './sessions.js';

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
  /** How long {@link LutraServer.close} waits for answers under way, in milliseconds; default 10,000. */
  drainMs?: number;
  /** How to load the model. `profile` is on unless it is false: the page and GET /events show where the time goes. */
  model?: LoadOptions;
  /** Told of failures that are not the client's. */
  onError?: (error: unknown) => void;
}

const anything: Check = () => undefined;

const checks: Record<keyof ServeOptions, Check> = {
  host: text,
  port: integer(0, 65535),
  apiKey: (value) => (typeof value === 'string' && value.trim() === value && value !== '' ? undefined : 'a text without spaces around it'),
  name: (value) => (typeof value === 'string' && value !== '' ? undefined : 'a text that is not empty'),
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

/** How long a server that closes waits for readers of answers that are complete. */
const LAST_WORDS_MS = 1000;

/** Connections at once, those that wait and those that watch. */
const MAX_CONNECTIONS = 1024;

interface Route {
  method: 'GET' | 'POST';
  path: string;
  /** Whether the key is asked for. */
  open?: boolean;
  handle(exchange: Exchange): void | Promise<void>;
}

/** A server that listens. */
export class LutraServer {
  readonly model: Model;
  /** What clients call the model. */
  readonly name: string;
  readonly #http: Server;
  readonly #host: string;
  readonly #access: Access;
  readonly #routes: readonly Route[];
  readonly #queue: Queue;
  readonly #pool: SessionPool;
  readonly #figures: Figures;
  readonly #activity: ActivityFeed;
  readonly #open = new Set<Exchange>();
  readonly #drainMs: number;
  readonly #onError: (error: unknown) => void;
  #placement: Placement | undefined;
  #closing: Promise<void> | undefined;

  /** Use {@link serve}. */
  constructor(model: Model, name: string, options: ServeOptions & typeof DEFAULTS) {
    const { host, apiKey, corsOrigins, queue, sessions, sessionBytes, bodyLimit } = options;
    this.model = model;
    this.name = name;
    this.#host = host;
    this.#drainMs = options.drainMs;
    this.#onError = options.onError ?? (() => {});
    this.#access = new Access({ apiKey, corsOrigins, loopbackOnly: isLoopback(host) });
    this.#queue = new Queue(queue);
    this.#pool = new SessionPool(model, { sessions, bytes: sessionBytes });
    this.#figures = new Figures(this.#queue, this.#pool);
    this.#activity = new ActivityFeed(this.#queue);
    const runner = new Runner(model, this.#queue, this.#pool, [this.#figures, this.#activity]);
    this.#routes = this.#makeRoutes({ model, name, runner, bodyLimit });
    this.#http = createServer({
      headersTimeout: 10_000,
      requestTimeout: 30_000,
      connectionsCheckingInterval: 2_000,
      keepAliveTimeout: 10_000,
      maxHeaderSize: 16_384,
      requireHostHeader: false,
    });
    this.#http.maxConnections = MAX_CONNECTIONS;
    this.#http.on('request', (request, response) => void this.#answer(request, response));
    this.#http.on('clientError', refuse);
    this.#http.on('connection', (socket) =>
      socket.once('close', () => {
        for (const exchange of this.#open) if (exchange.request.socket === socket) exchange.leave();
      }),
    );
  }

  get port(): number {
    return (this.#http.address() as AddressInfo | null)?.port ?? 0;
  }

  /** Where clients find it: `http://127.0.0.1:8080`; OpenAI's clients want `/v1` behind it. */
  get url(): string {
    return `http://${this.#host.includes(':') ? `[${this.#host}]` : this.#host}:${this.port}`;
  }

  /** Where the parts of the model run. */
  get placement(): Placement {
    if (!this.#placement) throw new LutraError('LUTRA_BUSY', 'The server has not started.');
    return this.#placement;
  }

  /** Of {@link serve}: opens the first session, so that what is wrong with the NPU is known before anybody asks, and listens. */
  async start(port: number): Promise<void> {
    const { session } = await this.#pool.take([]);
    this.#placement = session.placement();
    await this.#pool.giveBack(session, 0);
    await this.#listen(port);
  }

  /**
   * Takes no new requests, waits for the answers under way (`drainMs`), ends those that are left, and frees the model. Idempotent; `now` waits for none.
   */
  async close(options: { now?: boolean } = {}): Promise<void> {
    if (options.now) this.#cancelAll();
    this.#closing ??= this.#close();
    await this.#closing;
  }

  async #listen(port: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', (error: NodeJS.ErrnoException) => {
        const remedy = error.code === 'EADDRINUSE' ? 'Choose another port, or 0 for a free one.' : 'Check host and port.';
        reject(
          new LutraError('LUTRA_IO', `The server cannot listen on ${this.#host}, port ${port}: ${error.message}`, remedy, { cause: error }),
        );
      });
      this.#http.listen(port, this.#host, resolve);
    });
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#http.close(() => resolve()));
    this.#activity.close();
    const late = setTimeout(() => this.#cancelAll(), this.#drainMs);
    await this.#queue.drained();
    clearTimeout(late);
    // What was computed last is still on its way to its readers.
    const end = performance.now() + LAST_WORDS_MS;
    while (this.#open.size > 0 && performance.now() < end) await sleep(10);
    this.#http.closeAllConnections();
    await closed;
    await this.#pool.dispose();
    await this.model.dispose();
  }

  #cancelAll(): void {
    for (const exchange of this.#open) exchange.cancel(new ApiError(503, 'The server is shutting down.', { code: 'shutting_down' }));
  }

  #makeRoutes(endpoints: Endpoints): Route[] {
    const created = Math.floor(Date.now() / 1000);
    const model = { id: endpoints.name, object: 'model', created, owned_by: 'lutra', context_length: endpoints.model.contextSize };
    return [
      { method: 'POST', path: '/v1/chat/completions', handle: (exchange) => chatCompletions(endpoints, exchange) },
      { method: 'POST', path: '/v1/completions', handle: (exchange) => completions(endpoints, exchange) },
      { method: 'GET', path: '/v1/models', handle: (exchange) => exchange.sendJson(200, { object: 'list', data: [model] }) },
      { method: 'GET', path: `/v1/models/${encodeURIComponent(endpoints.name)}`, handle: (exchange) => exchange.sendJson(200, model) },
      {
        method: 'GET',
        path: '/metrics',
        handle: (exchange) => exchange.send(200, 'text/plain; version=0.0.4; charset=utf-8', this.#figures.registry.text()),
      },
      { method: 'GET', path: '/events', handle: (exchange) => this.#watch(exchange) },
      ...pageFiles.map(({ path, send }): Route => ({ method: 'GET', path, open: true, handle: send })),
      { method: 'GET', path: '/health', open: true, handle: (exchange) => this.#health(exchange) },
    ];
  }

  #watch(exchange: Exchange): void {
    const { contextSize } = this.model;
    this.#activity.watch(exchange, { kind: 'server', model: this.name, contextSize, placement: this.placement });
  }

  #health(exchange: Exchange): void {
    const { running, waiting } = this.#queue;
    const status = this.#closing ? 'stopping' : 'ok';
    exchange.sendJson(this.#closing ? 503 : 200, { status, running, waiting, sessions: this.#pool.count });
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const exchange = new Exchange(request, response, (ended) => this.#end(ended));
    this.#open.add(exchange);
    try {
      for (const [name, value] of Object.entries(this.#access.checkOrigin(exchange))) response.setHeader(name, value);
      if (request.method === 'OPTIONS') return preflight(exchange);
      const route = this.#route(exchange);
      if (!route.open) this.#access.checkKey(exchange);
      if (this.#closing) response.setHeader('Connection', 'close');
      if (this.#closing && route.method === 'POST') throw new ApiError(503, 'The server is shutting down.', { code: 'shutting_down' });
      await route.handle(exchange);
    } catch (error) {
      this.#fail(exchange, error);
    }
  }

  #end(exchange: Exchange): void {
    const { path, began, response } = exchange;
    this.#open.delete(exchange);
    // Paths that are no endpoint's would make a series each.
    const known = this.#routes.some((route) => route.path === path) ? path : 'other';
    this.#figures.request(known, response.writableFinished ? response.statusCode : 0, performance.now() - began);
  }

  /** Throws ApiError 404 and 405. */
  #route({ path, request }: Exchange): Route {
    const method = request.method === 'HEAD' ? 'GET' : request.method;
    const there = this.#routes.filter((route) => route.path === path);
    const route = there.find((one) => one.method === method);
    if (route) return route;
    if (there.length === 0) throw new ApiError(404, `There is nothing at ${JSON.stringify(path.slice(0, 100))}.`, { code: 'unknown_url' });
    const allow = there.map((one) => one.method).join(', ');
    throw new ApiError(405, `${path} takes ${allow}.`, { code: 'method_not_allowed', headers: { Allow: allow } });
  }

  #fail(exchange: Exchange, error: unknown): void {
    const failure = exchange.failure(error);
    if (failure.status >= 500 && !exchange.signal.aborted) this.#onError(error);
    exchange.sendError(failure);
  }
}

/** What a page asks the browser before it asks us; the origin was checked. */
function preflight(exchange: Exchange): void {
  exchange.response.writeHead(204, {
    'Access-Control-Allow-Methods': 'GET, POST',
    'Access-Control-Allow-Headers': 'Authorization, Content-Type',
    'Access-Control-Max-Age': '600',
  });
  exchange.response.end();
}

/** Answers what is not HTTP. */
function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  const [status, phrase, message] =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? [431, 'Request Header Fields Too Large', 'The headers are too long.']
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? [408, 'Request Timeout', 'The request took too long to arrive.']
        : [400, 'Bad Request', 'This is not an HTTP request.'];
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const body = JSON.stringify(new ApiError(status as number, message as string).body);
  socket.end(
    `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}

/**
 * Loads a model and serves it. Errors: those of `loadModel`; LUTRA_IO when host and port cannot be had.
 */
export async function serve(directory: string, options: ServeOptions = {}): Promise<LutraServer> {
  checkOptions('serve', options, checks);
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const all = { ...DEFAULTS, ...given };
  const model = await loadModel(directory, { profile: true, ...options.model });
  const server = new LutraServer(model, options.name ?? basename(model.path), all);
  try {
    await server.start(all.port);
  } catch (error) {
    await model.dispose();
    throw error;
  }
  return server;
}
