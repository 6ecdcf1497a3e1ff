/** Directories to write in. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * Makes a directory and what it lies in; one that exists is fine. Errors are the file system's. Not mkdir's `recursive`, which tries for ever where directories exist and
 * none can be made, as in /proc.
 */
export async function makeDirectory(path: string): Promise<void> {
  const isDirectory = (one: string): Promise<boolean> =>
    stat(one).then(
      (found) => found.isDirectory(),
      () => false,
    );
  try {
    await mkdir(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST' && (await isDirectory(path))) return;
    const parent = dirname(path);
    if (code !== 'ENOENT' || parent === path || (await isDirectory(parent))) throw error;
    await makeDirectory(parent);
    await makeDirectory(path);
  }
}
