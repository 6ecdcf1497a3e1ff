/** One request and its answer. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { ApiError, toApiError } from './errors.js';
import { isShallow, MAX_DEPTH } from './fields.js';

/** A reader that is this far behind is let go: answers are not kept for clients that do not read. */
const MAX_UNSENT_BYTES = 4 << 20;

/** How long a client may take to read the rest of an answer. */
const DRAIN_MS = 30_000;

/** A body that is too long is read to its end, so that the client gets to read why; up to this many times the limit. */
const PATIENCE = 16;

/** The type of streams of server-sent events. */
export const EVENTS = 'text/event-stream; charset=utf-8';

/** What every answer carries. */
const SAFE_HEADERS = { 'X-Content-Type-Options': 'nosniff', 'Cache-Control': 'no-store' } as const;

export class Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  /** When it came (performance.now). */
  readonly began = performance.now();
  readonly #abort = new AbortController();
  readonly #onEnd: (exchange: Exchange) => void;
  #ended = false;

  /** @param onEnd called once, when the answer is complete or its client is gone */
  constructor(request: IncomingMessage, response: ServerResponse, onEnd: (exchange: Exchange) => void) {
    this.request = request;
    this.response = response;
    this.path = (request.url ?? '/').split('?', 1)[0] ?? '/';
    this.#onEnd = onEnd;
    response.on('close', () => this.leave());
    response.on('error', () => {});
  }

  /** Aborted when the client goes away before it has the whole answer, or by {@link cancel}. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /** The client is gone. A response that waits behind another one on its connection is not told, so the connection tells. */
  leave(): void {
    if (this.#ended) return;
    this.#ended = true;
    if (!this.response.writableFinished) this.#abort.abort(new Error('The client went away.'));
    this.#onEnd(this);
  }

  get gone(): boolean {
    return this.#ended || this.response.destroyed;
  }

  /** A failure as it is answered: {@link cancel} may have said why. */
  failure(error: unknown): ApiError {
    const { reason } = this.signal;
    return reason instanceof ApiError ? reason : toApiError(error);
  }

  /** Ends what is computed for this answer. */
  cancel(reason: ApiError): void {
    this.#abort.abort(reason);
  }

  header(name: string): string | undefined {
    const value = this.request.headers[name];
    return Array.isArray(value) ? value[0] : value;
  }

  /** The body as JSON. Throws ApiError: 415, 413, 400. */
  async json(limit: number): Promise<unknown> {
    if (!/^application\/json\s*(;|$)/i.test(this.header('content-type') ?? ''))
      throw new ApiError(415, "The request needs 'Content-Type: application/json'.", { code: 'unsupported_media_type' });
    if ((this.header('content-encoding') ?? 'identity') !== 'identity')
      throw new ApiError(415, 'The body must not be compressed.', { code: 'unsupported_media_type' });
    const bytes = await this.#body(limit);
    try {
      const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
      if (isShallow(value, MAX_DEPTH)) return value;
    } catch (error) {
      const reason = error instanceof SyntaxError ? error.message.slice(0, 200) : 'it is not UTF-8';
      throw new ApiError(400, `The body is no JSON: ${reason}.`, { code: 'invalid_json' });
    }
    throw new ApiError(400, `The body is nested deeper than ${MAX_DEPTH}.`, { code: 'invalid_json' });
  }

  async #body(limit: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    let length = 0;
    try {
      for await (const part of this.request as AsyncIterable<Buffer>) {
        length += part.length;
        if (length > PATIENCE * limit) break;
        if (length <= limit) parts.push(part);
        else parts.length = 0;
      }
    } catch {
      throw new ApiError(400, 'The body ended early.', { code: 'incomplete_body' });
    }
    if (length <= limit) return Buffer.concat(parts);
    throw new ApiError(413, `The body is longer than ${limit} bytes.`, { code: 'body_too_large', headers: { Connection: 'close' } });
  }

  send(status: number, type: string, body: string | Buffer, headers: Readonly<Record<string, string>> = {}): void {
    if (this.gone || this.response.headersSent) return;
    this.response.writeHead(status, { ...SAFE_HEADERS, 'Content-Type': type, 'Content-Length': Buffer.byteLength(body), ...headers });
    this.#end(this.request.method === 'HEAD' ? undefined : body);
  }

  sendJson(status: number, body: object, headers?: Readonly<Record<string, string>>): void {
    this.send(status, 'application/json; charset=utf-8', JSON.stringify(body), headers);
  }

  sendError(error: ApiError): void {
    this.sendJson(error.status, error.body, error.headers);
  }

  /** Begins a stream of server-sent events. */
  beginEvents(): void {
    if (this.gone || this.response.headersSent) return;
    this.response.writeHead(200, { ...SAFE_HEADERS, 'Content-Type': EVENTS, 'X-Accel-Buffering': 'no' });
    this.response.flushHeaders();
  }

  /** One event: an object as JSON, a string as it is. Nobody waits for a slow reader: what it has not read is kept for it, up to a limit. */
  event(data: object | string): void {
    if (this.gone) return;
    this.response.write(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
    if (this.response.writableLength > MAX_UNSENT_BYTES) this.response.destroy();
  }

  endEvents(): void {
    if (!this.gone) this.#end();
  }

  #end(body?: string | Buffer): void {
    const { response } = this;
    const late = setTimeout(() => response.destroy(), DRAIN_MS);
    late.unref();
    response.once('close', () => clearTimeout(late));
    response.end(body);
  }
}
