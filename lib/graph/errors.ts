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
  'LUTRA_QNN_QUARANTINED',
  'LUTRA_NPU_HUNG',
  'LUTRA_DISPOSED',
  'LUTRA_BUSY',
  'LUTRA_ABORTED',
  'LUTRA_OUT_OF_MEMORY',
  'LUTRA_INTERNAL',
] as const;

export type LutraErrorCode = (typeof ERROR_CODES)[number];

/** What to do where the place that failed knows nothing better. An abort needs none. */
const REMEDIES: Readonly<Record<LutraErrorCode, string>> = {
  LUTRA_INVALID_ARGUMENT: 'Correct what the message names.',
  LUTRA_NOT_FOUND: 'Check the path or the name.',
  LUTRA_IO: 'Check that the file can be read and written, and that the disk is not full.',
  LUTRA_BAD_FILE: 'Convert the model again.',
  LUTRA_BAD_PLAN: 'Convert the model again with this version; if it stays, report a defect.',
  LUTRA_UNSUPPORTED: 'Use another model or file; the message says what this version lacks.',
  LUTRA_CONTEXT_FULL: 'Shorten the prompt, or load the model with a larger contextSize.',
  LUTRA_LIBRARY_NOT_FOUND: 'Check the path of the library, and that the libraries which it needs lie beside it.',
  LUTRA_NOT_QNN: 'Give the path of a QNN backend library, for example libQnnHtp.so.',
  LUTRA_QNN_VERSION: 'Use a release of the QNN library that this version of lutra knows.',
  LUTRA_QNN_CALL: "Look at the library's log: option onLog, or --verbose.",
  LUTRA_QNN_NODE: "Look at the library's log (option onLog, or --verbose), or choose another precision for this linear.",
  LUTRA_QNN_QUARANTINED:
    'Use the host NPU, or another release of the library; `lutra qnn quarantine --clear` lets this one be tested again.',
  LUTRA_NPU_HUNG: "Go on without this library: npu 'host' or 'none'.",
  LUTRA_DISPOSED: 'Load or create it again.',
  LUTRA_BUSY: 'Await the call under way, or use a second session.',
  LUTRA_ABORTED: '',
  LUTRA_OUT_OF_MEMORY: 'Use a smaller context, or close other programs.',
  LUTRA_INTERNAL: 'Please report this message as a defect.',
};

/** A failure with a stable `code`, a sentence (`message`) and what the user can do about it (`remedy`; empty only for aborts). */
export class LutraError extends Error {
  readonly code: LutraErrorCode;
  readonly remedy: string;

  constructor(code: LutraErrorCode, message: string, remedy = '', options?: ErrorOptions) {
    super(message, options);
    this.name = 'LutraError';
    this.code = code;
    this.remedy = remedy || REMEDIES[code];
  }
}

/** Whether a string is one of {@link ERROR_CODES}. */
export function isLutraErrorCode(code: string): code is LutraErrorCode {
  return (ERROR_CODES as readonly string[]).includes(code);
}
