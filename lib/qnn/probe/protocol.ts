/** What the parent of a probe and its child processes say to each other, over Node's IPC channel: a library may print on standard output what it likes. */
import type { BackendInfo } from '../../native/addon.js';
import type { ConformanceResult, ConformanceSubject } from '../../native/qnn-addon.js';

export interface ProbedLibrary {
  /** Absolute path, or `host`. */
  library: string;
  soc?: number;
}

export type Request = { open: ProbedLibrary } | { run: string; subject: ConformanceSubject };

export type Reply =
  | { opened: BackendInfo }
  /** Before a case runs, because the child may not live to tell afterwards. */
  | { forms: string[] }
  | { result: ConformanceResult }
  | { failed: { code: string; message: string; remedy: string } };

/** Whether something that came through the channel is a reply. */
export function isReply(message: unknown): message is Reply {
  if (typeof message !== 'object' || message === null) return false;
  if ('opened' in message) return isObject(message.opened) && typeof message.opened.buildId === 'string';
  if ('forms' in message) return Array.isArray(message.forms) && message.forms.every((form) => typeof form === 'string');
  if ('result' in message) {
    const { result } = message;
    return isObject(result) && ['ok', 'refused', 'wrong'].includes(String(result.verdict)) && typeof result.message === 'string';
  }
  return 'failed' in message && isObject(message.failed) && typeof message.failed.message === 'string';
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}
