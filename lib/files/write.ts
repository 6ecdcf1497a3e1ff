/** Writing of single files that are there whole or not at all. */
import { constants } from 'node:fs';
import { open, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { LutraError } from '../graph/errors.js';
import { makeDirectory } from './make.js';
import { checkPath } from './read.js';

/** A failure to write as a LutraError. */
export function writeError(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (error instanceof LutraError || !(error instanceof Error) || typeof code !== 'string') return error;
  const remedy = code === 'ENOSPC' ? `Free some space on the disk of ${dirname(path)}.` : '';
  return new LutraError('LUTRA_IO', `${path} cannot be written: ${error.message.replace(/, \w+( '.*')?$/s, '')}.`, remedy, {
    cause: error,
  });
}

/** Makes the directory of a file that is to be written later, and refuses a path that is no file's. Errors: LUTRA_INVALID_ARGUMENT, LUTRA_IO. */
export async function prepareFile(path: string): Promise<void> {
  checkPath(path, 'a file');
  const found = await stat(path).catch(() => undefined);
  if (found && !found.isFile()) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${path} is not a file.`, 'Choose another output.');
  await makeDirectory(dirname(path)).catch((error: unknown) => {
    throw writeError(path, error);
  });
}

/** Replaces a file by one with these bytes, in one step: whoever looks sees the old one or the new one, and it is on the disk. Throws LUTRA_IO; nothing is left beside it then. */
export async function writeFileWhole(path: string, parts: Iterable<Uint8Array>): Promise<void> {
  const part = `${path}.part`;
  try {
    const handle = await open(part, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o666);
    try {
      for (const bytes of parts) {
        for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done)).bytesWritten;
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(part, path);
  } catch (error) {
    await rm(part, { force: true }).catch(() => {});
    throw writeError(path, error);
  }
}
