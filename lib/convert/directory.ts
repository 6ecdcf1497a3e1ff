/**
 * The output directory appears whole or not at all: everything is written into a sibling directory that is renamed at the end.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectory } from '../files/make.js';
import { jsonObject, MAX_JSON_BYTES, readBytes } from '../files/read.js';
import { LutraError } from '../graph/errors.js';

const MARK = '.lutra-tmp-';

function ioError(what: string, error: unknown): LutraError {
  return new LutraError('LUTRA_IO', `${what}: ${error instanceof Error ? error.message : String(error)}`, '', { cause: error });
}

type Existing = 'nothing' | 'empty' | 'model' | 'foreign';

/** What is at the output path. A directory counts as a model when its lutra.json says so. */
async function existing(path: string): Promise<Existing> {
  const found = await stat(path).catch(() => undefined);
  if (!found) return 'nothing';
  if (!found.isDirectory()) return 'foreign';
  if ((await readdir(path)).length === 0) return 'empty';
  try {
    const file = join(path, 'lutra.json');
    const spec = jsonObject(await readBytes(file, MAX_JSON_BYTES), file);
    return 'format' in spec && 'arch' in spec ? 'model' : 'foreign';
  } catch {
    return 'foreign';
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** Removes what killed conversions to the same output left behind. */
async function removeStale(parent: string, prefix: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (Number.isInteger(pid) && pid > 0 && !alive(pid)) await rm(join(parent, name), { recursive: true, force: true });
  }
}

/** A directory in the making. */
export class OutputDirectory {
  private readonly removeAtExit: () => void;

  private constructor(
    /** Where to write. */
    readonly path: string,
    private readonly target: string,
  ) {
    this.removeAtExit = () => rmSync(path, { recursive: true, force: true });
    process.once('exit', this.removeAtExit);
  }

  /** Refuses an output that is something other than a model or an empty directory: LUTRA_INVALID_ARGUMENT. Parents are made. */
  static async create(output: string): Promise<OutputDirectory> {
    const target = resolve(output);
    if ((await existing(target)) === 'foreign') {
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `${output} exists and is not a lutra model`,
        'Choose another output directory, or remove it yourself.',
      );
    }
    const parent = dirname(target);
    const prefix = `.${basename(target)}${MARK}`;
    const path = join(parent, `${prefix}${process.pid}-${randomBytes(4).toString('hex')}`);
    try {
      await makeDirectory(parent);
      await removeStale(parent, prefix);
      await mkdir(path);
    } catch (error) {
      throw ioError(`Cannot create a directory beside ${output}`, error);
    }
    return new OutputDirectory(path, target);
  }

  /** Puts the directory in place of the output; a model that was there is replaced. */
  async commit(): Promise<void> {
    // Asked again: minutes have passed, and what is not a model must survive.
    const before = await existing(this.target);
    if (before === 'foreign') {
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `${this.target} appeared meanwhile and is not a lutra model`,
        'Choose another output directory.',
      );
    }
    const old = `${this.path}-old`;
    try {
      if (before === 'empty') await rmdir(this.target);
      if (before === 'model') await rename(this.target, old);
      try {
        await rename(this.path, this.target);
      } catch (error) {
        if (before === 'model') await rename(old, this.target);
        throw error;
      }
      await rm(old, { recursive: true, force: true });
    } catch (error) {
      throw ioError(`Cannot put the model in place at ${this.target}`, error);
    }
    process.removeListener('exit', this.removeAtExit);
  }

  /** Removes what was written; nothing after {@link commit}. */
  async discard(): Promise<void> {
    process.removeListener('exit', this.removeAtExit);
    await rm(this.path, { recursive: true, force: true });
  }
}
