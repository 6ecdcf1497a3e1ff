/** What the doctor and its child process say to each other. */
import type { LutraErrorCode } from '../graph/errors.js';
import { isLutraErrorCode } from '../graph/errors.js';
import type { NativeQnn } from '../native/qnn-addon.js';

export type PlatformDevice = ReturnType<NativeQnn['platformDevices']>[number];

/** `rpcMemory`: candidates for FastRPC's library. `platform`: a backend library that passed its test. */
export type Request = { rpcMemory: string[] } | { platform: string };
export type Failure = { code: LutraErrorCode; message: string; remedy: string };
export type Reply = { opened: string } | { devices: PlatformDevice[] } | { failed: Failure };

/** Whether something that came through the channel is a reply. */
export function isReply(message: unknown): message is Reply {
  if (typeof message !== 'object' || message === null) return false;
  const { opened, devices, failed } = message as Record<string, unknown>;
  if (typeof failed === 'object' && failed !== null) {
    const { code, message: sentence } = failed as Record<string, unknown>;
    return typeof code === 'string' && isLutraErrorCode(code) && typeof sentence === 'string';
  }
  return typeof opened === 'string' || Array.isArray(devices);
}
