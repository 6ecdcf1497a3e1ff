/**
 * Reading of files that somebody else named: only regular files, within a limit, as UTF-8 where text is wanted. What is none of these ends in one
 * LutraError that names the path, and nothing waits for a FIFO or reads a device without an end.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { inspect } from 'node:util';
import { LutraError } from '../graph/errors.js';

/** Larger than any JSON file of a model. */
export const MAX_JSON_BYTES = 256 * 2 ** 20;
/** Larger than any text for calibration or evaluation; a string may not be much longer. */
export const MAX_TEXT_BYTES = 256 * 2 ** 20;

/** Of a path; no system that lutra runs on takes a longer one. */
const MAX_PATH = 4096;

/** How the errors of a file read. */
export interface Wanted {
  /** What a user can do; default: what the code suggests. */
  remedy?: string;
  /** Code when there is no such file; default LUTRA_NOT_FOUND. */
  missing?: 'LUTRA_NOT_FOUND' | 'LUTRA_BAD_FILE';
}

/** A failure of the file system as a LutraError; what is none comes back as it is. */
export function fileError(path: string, error: unknown, { remedy, missing = 'LUTRA_NOT_FOUND' }: Wanted = {}): unknown {
  if (error instanceof LutraError || !(error instanceof Error)) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code !== 'string') return error;
  if (code === 'ENOENT' || code === 'ENOTDIR') return new LutraError(missing, `${path} is missing.`, remedy, { cause: error });
  // "EIO: i/o error, read 'x'" without what was called on what.
  const reason = error.message.replace(/, \w+( '.*')?$/s, '');
  return new LutraError('LUTRA_IO', `${path} cannot be read: ${reason}.`, '', { cause: error });
}

/** Throws LUTRA_INVALID_ARGUMENT for what no system takes as a path. `what`: what it is the path of. */
export function checkPath(path: unknown, what: string): asserts path is string {
  if (typeof path === 'string' && path.length > 0 && path.length <= MAX_PATH && !path.includes('\0')) return;
  const shown = inspect(path, { depth: 0, maxStringLength: 60, breakLength: Number.POSITIVE_INFINITY });
  throw new LutraError('LUTRA_INVALID_ARGUMENT', `${shown} is not the path of ${what}.`);
}

/** Opens a regular file. Errors: LUTRA_INVALID_ARGUMENT (no path), LUTRA_NOT_FOUND (or as `wanted` says), LUTRA_BAD_FILE (something else than a file), LUTRA_IO. */
export async function openFile(path: string, wanted: Wanted = {}): Promise<{ handle: FileHandle; size: number }> {
  checkPath(path, 'a file');
  const notFile = () => new LutraError('LUTRA_BAD_FILE', `${path} is not a file.`, wanted.remedy ?? 'Give the path of a file.');
  let handle: FileHandle | undefined;
  try {
    // Not opened to be asked: that alone has effects on a device.
    if (!(await stat(path)).isFile()) throw notFile();
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const found = await handle.stat();
    if (!found.isFile()) throw notFile();
    return { handle, size: found.size };
  } catch (error) {
    await handle?.close();
    throw fileError(path, error, wanted);
  }
}

/** Reads `bytes` full from `position` on. Throws LUTRA_IO when the file ends before. */
export async function readFully(handle: FileHandle, bytes: Uint8Array, position: number, path: string): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await handle.read(bytes, done, bytes.length - done, position + done).catch((error: unknown) => {
      throw fileError(path, error);
    });
    if (bytesRead === 0) throw new LutraError('LUTRA_IO', `${path} became shorter while it was read.`);
    done += bytesRead;
  }
}

/** The content of a regular file of at most `limit` bytes. */
export async function readBytes(path: string, limit: number, wanted: Wanted = {}): Promise<Buffer> {
  const { handle, size } = await openFile(path, wanted);
  try {
    if (size > limit) throw new LutraError('LUTRA_BAD_FILE', `${path} has ${size} bytes; at most ${limit} make sense.`, wanted.remedy);
    const bytes = Buffer.allocUnsafeSlow(size);
    await readFully(handle, bytes, 0, path);
    return bytes;
  } finally {
    await handle.close();
  }
}

/** Bytes of a file as text. Throws LUTRA_BAD_FILE. */
export function utf8(bytes: Uint8Array, path: string, wanted: Wanted = {}): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new LutraError('LUTRA_BAD_FILE', `${path} is not UTF-8.`, wanted.remedy ?? 'Convert the file to UTF-8.', { cause: error });
  }
}

/** Bytes of a file as a JSON object. Throws LUTRA_BAD_FILE. */
export function jsonObject(bytes: Uint8Array, path: string, wanted: Wanted = {}): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(utf8(bytes, path, wanted));
  } catch (error) {
    if (error instanceof LutraError) throw error;
    throw new LutraError('LUTRA_BAD_FILE', `${path} is not JSON: ${(error as Error).message}`, wanted.remedy, { cause: error });
  }
  if (isObject(value)) return value;
  throw new LutraError('LUTRA_BAD_FILE', `${path} is not a JSON object.`, wanted.remedy);
}

/** An object of JSON, rather than a list or a value. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
