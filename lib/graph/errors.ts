/**
 * The one error type of lutra in JavaScript.
 *
 * Stable codes; the same list as native/base/error.h: add, never rename.
 */
export const ERROR_CODES = [
  'LUTRA_INVALID_ARGUMENT',
  'LUTRA_NOT_FOUND',
  'LUTRA_IO',
  'LUTRA_BAD_FILE',
  'LUTRA_BAD_PLAN',
  'LUTRA_UNSUPPORTED',
  'LUTRA_CONTEXT_FULL',
  'LUTRA_LIBRARY_NOT_FOUND',
  'LUTRA_NOT_QNN',
  'LUTRA_QNN_VERSION',
  'LUTRA_QNN_CALL',
  'LUTRA_QNN_NODE',
  'LUTRA_DISPOSED',
  'LUTRA_BUSY',
  'LUTRA_ABORTED',
  'LUTRA_OUT_OF_MEMORY',
  'LUTRA_INTERNAL',
] as const;

export type LutraErrorCode = (typeof ERROR_CODES)[number];

/** A failure with a stable `code`, a sentence (`message`) and what the user can do about it (`remedy`, may be empty). */
export class LutraError extends Error {
  readonly code: LutraErrorCode;
  readonly remedy: string;

  constructor(code: LutraErrorCode, message: string, remedy = '', options?: ErrorOptions) {
    super(message, options);
    this.name = 'LutraError';
    this.code = code;
    this.remedy = remedy;
  }
}

/** Whether a string is one of {@link ERROR_CODES}. */
export function isLutraErrorCode(code: string): code is LutraErrorCode {
  return (ERROR_CODES as readonly string[]).includes(code);
}
