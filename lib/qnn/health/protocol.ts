/** What the parent of a self-test and its child process say to each other, over Node's IPC channel: a library may print on standard output what it likes. */
import type { LutraErrorCode } from '../../graph/errors.js';
import { isLutraErrorCode } from '../../graph/errors.js';
import type { BackendInfo } from '../../native/addon.js';

/** The library to test. */
export interface Request {
  path: string;
  soc?: number;
}

export type Reply =
  /** What is done next. It may be the last thing that this process does. */
  | { step: string }
  /** Everything was right. */
  | { passed: BackendInfo }
  | { wrong: string }
  /** The library refused or failed, and said so. */
  | { failed: { code: LutraErrorCode; message: string; remedy: string } };

/** Whether something that came through the channel is a reply. */
export function isReply(message: unknown): message is Reply {
  if (!isRecord(message)) return false;
  const { step, passed, wrong, failed } = message;
  if (isRecord(failed)) return typeof failed.code === 'string' && isLutraErrorCode(failed.code) && typeof failed.message === 'string';
  return typeof step === 'string' || typeof wrong === 'string' || isBackendInfo(passed);
}

/** Whether something that was read is the identity of a backend. */
export function isBackendInfo(value: unknown): value is BackendInfo {
  if (!isRecord(value)) return false;
  const { name, buildId, apiVersion, backendApiVersion, backendId } = value;
  return [name, buildId, apiVersion, backendApiVersion].every((text) => typeof text === 'string') && typeof backendId === 'number';
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
