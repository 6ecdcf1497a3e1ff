/** Who may ask: the key, and which web pages. */
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import { ApiError } from './errors.js';
import type { Exchange } from './exchange.js';

export interface AccessOptions {
  /** Undefined: everybody who reaches the server. */
  apiKey: string | undefined;
  /** Origins of web pages that may ask, `*` for all; besides the server's own page. */
  corsOrigins: readonly string[];
  /** Only requests to a name of this machine: another name that leads here is a page's attempt to get past the browser. */
  loopbackOnly: boolean;
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** The host of a `Host` header, without port and brackets; undefined when it is none. */
function hostOf(header: string): string | undefined {
  return /^(?:\[([0-9a-f:.]+)\]|([\w.-]+))(?::\d+)?$/i.exec(header)?.slice(1).find(Boolean)?.toLowerCase();
}

/** Whether a host is this machine and nothing else. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host.endsWith('.localhost') || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

export class Access {
  readonly #key: Buffer | undefined;
  readonly #origins: ReadonlySet<string>;
  readonly #loopbackOnly: boolean;

  constructor({ apiKey, corsOrigins, loopbackOnly }: AccessOptions) {
    this.#key = apiKey === undefined ? undefined : digest(apiKey);
    this.#origins = new Set(corsOrigins);
    this.#loopbackOnly = loopbackOnly;
  }

  /** Throws ApiError 403 for a host or an origin that must not ask. Returns the headers that let an allowed page read the answer. */
  checkOrigin(exchange: Exchange): Record<string, string> {
    const host = exchange.header('host');
    const name = host === undefined ? undefined : hostOf(host);
    if (this.#loopbackOnly && !(name !== undefined && isLoopback(name)))
      throw new ApiError(403, 'This server answers to names of this machine only.', { code: 'forbidden_host' });
    const origin = exchange.header('origin');
    if (origin === undefined || origin === `http://${host}` || origin === `https://${host}`) return {};
    if (!this.#origins.has('*') && !this.#origins.has(origin))
      throw new ApiError(403, 'This server does not answer to web pages of other origins.', { code: 'forbidden_origin' });
    return { 'Access-Control-Allow-Origin': this.#origins.has('*') ? '*' : origin, Vary: 'Origin' };
  }

  /** Throws ApiError 401. */
  checkKey(exchange: Exchange): void {
    if (!this.#key) return;
    const given = /^Bearer\s+(.+)$/i.exec(exchange.header('authorization') ?? '')?.[1];
    // Digests have one length, so that the comparison takes the same time whatever was given.
    if (given !== undefined && timingSafeEqual(digest(given.trim()), this.#key)) return;
    const message = given === undefined ? "The request needs 'Authorization: Bearer KEY'." : 'The API key is wrong.';
    throw new ApiError(401, message, { code: 'invalid_api_key', headers: { 'WWW-Authenticate': 'Bearer' } });
  }
}
