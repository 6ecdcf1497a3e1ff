/** What is answered below the endpoints: to browsers that ask first, and to what is not HTTP. */
import type { Socket } from 'node:net';
import { ApiError } from './errors.js';
import type { Exchange } from './exchange.js';

/** What a browser asks before it lets a page ask; the origin was checked. */
export function preflight(exchange: Exchange): void {
  exchange.response.writeHead(204, {
    'Access-Control-Allow-Methods': 'GET, POST',
    'Access-Control-Allow-Headers': 'Authorization, Content-Type',
    'Access-Control-Max-Age': '600',
  });
  exchange.response.end();
}

interface Refusal {
  status: number;
  phrase: string;
  code: string;
  message: string;
}

const BAD: Refusal = { status: 400, phrase: 'Bad Request', code: 'bad_http', message: 'This is not an HTTP request.' };

/** By the codes of Node.js' parser. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  HPE_HEADER_OVERFLOW: {
    status: 431,
    phrase: 'Request Header Fields Too Large',
    code: 'headers_too_large',
    message: 'The headers are too long.',
  },
  ERR_HTTP_REQUEST_TIMEOUT: {
    status: 408,
    phrase: 'Request Timeout',
    code: 'request_timeout',
    message: 'The request took too long to arrive.',
  },
};

/** Answers what cannot be read as a request, and closes the connection. */
export function refuse(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const { status, phrase, code, message } = REFUSALS[error.code ?? ''] ?? BAD;
  const body = JSON.stringify(new ApiError(status, message, { code }).body);
  const head = [
    `HTTP/1.1 ${status} ${phrase}`,
    'Content-Type: application/json; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
  ];
  socket.end([...head, 'Connection: close', '', body].join('\r\n'));
}
