/** The server: connections, routes, and its beginning and end. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { LutraError } from '../graph/errors.js';
import type { Model } from '../runtime/model.js';
import type { Placement } from '../runtime/placement.js';
import { Access, isLoopback } from './access.js';
import { ActivityFeed } from './activity.js';
import { ApiError } from './errors.js';
import { EVENTS, Exchange } from './exchange.js';
import { Figures } from './figures.js';
import { chatCompletions, completions, type Endpoints } from './generate.js';
import type { Settings } from './options.js';
import { pageFiles } from './page.js';
import { preflight, refuse } from './protocol.js';
import { Queue } from './queue.js';
import { Runner } from './runner.js';
import { SessionPool } from './sessions.js';

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
  constructor(model: Model, name: string, options: Settings) {
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
    this.#pool.giveBack(session, 0);
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
    if (exchange.request.method === 'HEAD') exchange.send(200, EVENTS, '');
    else this.#activity.watch(exchange, { kind: 'server', model: this.name, contextSize, placement: this.placement });
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
