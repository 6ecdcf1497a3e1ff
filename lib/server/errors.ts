/** Failures as OpenAI's clients read them: `{ error: { message, type, param, code } }` with a status. */
import { LutraError, type LutraErrorCode } from '../graph/errors.js';

export interface ErrorBody {
  error: { message: string; type: string; param: string | null; code: string | null };
}

export interface ApiErrorOptions {
  /** The field that is wrong. */
  param?: string | null;
  code?: string | null;
  /** Headers of the answer, for example Retry-After. */
  headers?: Record<string, string>;
}

/** An answer that is an error. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly status: number;
  readonly param: string | null;
  readonly code: string | null;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, { param = null, code = null, headers = {} }: ApiErrorOptions = {}) {
    super(message);
    this.status = status;
    this.param = param;
    this.code = code;
    this.headers = headers;
  }

  get body(): ErrorBody {
    return { error: { message: this.message, type: typeOf(this.status), param: this.param, code: this.code } };
  }
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** A wrong field of a request. */
export function invalid(param: string, message: string, code: string | null = null): ApiError {
  return new ApiError(400, message, { param, code });
}

/** What a request can be to blame for; everything else is the server's fault. */
const STATUS: Partial<Record<LutraErrorCode, number>> = {
  LUTRA_INVALID_ARGUMENT: 400,
  LUTRA_UNSUPPORTED: 400,
  LUTRA_CONTEXT_FULL: 400,
  LUTRA_DISPOSED: 503,
  LUTRA_ABORTED: 503,
  LUTRA_OUT_OF_MEMORY: 503,
};

/** Any failure as an answer. What is a defect says no more than that: the message may hold what does not concern the client. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof LutraError)) return new ApiError(500, 'The server failed; its log says more.', { code: 'LUTRA_INTERNAL' });
  const code = error.code === 'LUTRA_CONTEXT_FULL' ? 'context_length_exceeded' : error.code;
  return new ApiError(STATUS[error.code] ?? 500, [error.message, error.remedy].filter(Boolean).join(' '), { code });
}
