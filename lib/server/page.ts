/** The page at `/`: three files that load nothing from anywhere else. */
import { readFile } from 'node:fs/promises';
import type { Exchange } from './exchange.js';

/** The files lie in lib/server/page of the package, whether this module runs from lib or from dist. */
const DIRECTORY = new URL('../../lib/server/page/', import.meta.url);

const FILES: readonly { path: string; file: string; type: string }[] = [
  { path: '/', file: 'index.html', type: 'text/html; charset=utf-8' },
  { path: '/style.css', file: 'style.css', type: 'text/css; charset=utf-8' },
  { path: '/app.js', file: 'app.js', type: 'text/javascript; charset=utf-8' },
  { path: '/icon.svg', file: 'icon.svg', type: 'image/svg+xml' },
];

/** Nothing but the server's own files, nothing inline, in nobody's frame. */
const HEADERS = {
  'Content-Security-Policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
} as const;

export interface PageFile {
  path: string;
  send(exchange: Exchange): Promise<void>;
}

/** The files of the page, as routes. */
export const pageFiles: readonly PageFile[] = FILES.map(({ path, file, type }) => ({
  path,
  send: async (exchange) => exchange.send(200, type, await readFile(new URL(file, DIRECTORY)), HEADERS),
}));
