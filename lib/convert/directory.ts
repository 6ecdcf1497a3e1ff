/**
 * The output directory appears whole or not at all: everything is written into a sibling directory that is renamed at the end. Of a conversion that was killed, the sibling is gone on with
 * by the next one that would write the same (the key in its name), and removed by any other.
 */
import { randomBytes } from 'node:crypto';
import { rmSync } from 'node:fs';
import { mkdir, readdir, rename, rm, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { makeDirectory } from '../files/make.js';
import { jsonObject, MAX_JSON_BYTES, readBytes } from '../files/read.js';
import { LutraError } from '../graph/errors.js';
import { JOURNAL } from './safetensors.js';

const MARK = '.lutra-tmp-';

/** What a rename ends with when somebody else has renamed meanwhile. */
const OVERTAKEN: readonly string[] = ['ENOTEMPTY', 'EEXIST', 'ENOENT'];
const MOST_ATTEMPTS = 16;

/** False: another conversion has put its model there. What fails otherwise leaves `old` where it is. */
async function moveBack(old: string, target: string): Promise<boolean> {
  try {
    await rename(old, target);
    return true;
  } catch {
    return (await existing(target)) !== 'model';
  }
}

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

/** What can be gone on with; everything else of a killed conversion is made again. */
const RESUMABLE = /^(cpu|npu|source)\.safetensors(\.done)?$/;

/** Makes `path`, of what a killed conversion with the same key left behind when there is something, and removes what others left. */
async function claim(parent: string, prefix: string, path: string, key: string): Promise<void> {
  let claimed = false;
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number.parseInt(name.slice(prefix.length), 10);
    if (!Number.isInteger(pid) || pid <= 0 || alive(pid)) continue;
    const stale = join(parent, name);
    // Of several who want it, one can rename it.
    if (!claimed && name.endsWith(`-${key}`))
      claimed = await rename(stale, path).then(
        () => true,
        () => false,
      );
    else await rm(stale, { recursive: true, force: true });
  }
  if (!claimed) return void (await mkdir(path));
  for (const name of await readdir(path)) {
    if (!RESUMABLE.test(name)) await rm(join(path, name), { recursive: true, force: true });
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

  /** Refuses an output that is something other than a model or an empty directory: LUTRA_INVALID_ARGUMENT. */
  static async check(output: string): Promise<void> {
    if ((await existing(resolve(output))) !== 'foreign') return;
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `${output} exists and is not a lutra model`,
      'Choose another output directory, or remove it yourself.',
    );
  }

  /**
   * As {@link check}. Parents are made. `key`: the same for conversions that write the same, in
   * characters of a file name.
   */
  static async create(output: string, key: string): Promise<OutputDirectory> {
    const target = resolve(output);
    await OutputDirectory.check(output);
    const parent = dirname(target);
    const prefix = `.${basename(target)}${MARK}`;
    const path = join(parent, `${prefix}${process.pid}-${randomBytes(4).toString('hex')}-${key}`);
    try {
      await makeDirectory(parent);
      await claim(parent, prefix, path, key);
    } catch (error) {
      throw ioError(`Cannot create a directory beside ${output}`, error);
    }
    return new OutputDirectory(path, target);
  }

  /** Puts the directory in place of the output; a model that was there is replaced. */
  async commit(): Promise<void> {
    const replaced: string[] = [];
    try {
      for (const name of await readdir(this.path)) if (name.endsWith(JOURNAL)) await rm(join(this.path, name));
      for (let attempt = 1; !(await this.swap(`${this.path}-old${attempt}`, replaced, attempt === MOST_ATTEMPTS)); ) attempt++;
    } catch (error) {
      throw error instanceof LutraError ? error : ioError(`Cannot put the model in place at ${this.target}`, error);
    } finally {
      for (const old of replaced) await rm(old, { recursive: true, force: true });
    }
    process.removeListener('exit', this.removeAtExit);
  }

  /** One attempt; false: another conversion to the same output was quicker. What was there is moved to `old`, and added to `replaced` once another model is in its place. */
  private async swap(old: string, replaced: string[], last: boolean): Promise<boolean> {
    // Asked again: minutes have passed, and what is not a model must survive.
    const before = await existing(this.target);
    if (before === 'foreign') {
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `${this.target} appeared meanwhile and is not a lutra model`,
        'Choose another output directory.',
      );
    }
    let moved = false;
    try {
      if (before === 'empty') await rmdir(this.target);
      if (before === 'model') await rename(this.target, old);
      moved = before === 'model';
      await rename(this.path, this.target);
      if (moved) replaced.push(old);
      return true;
    } catch (error) {
      const { code = '' } = error as NodeJS.ErrnoException;
      if (moved && !(await moveBack(old, this.target))) replaced.push(old);
      if (OVERTAKEN.includes(code) && !last) return false;
      throw error;
    }
  }

  /** Removes what was written; nothing after {@link commit}. */
  async discard(): Promise<void> {
    process.removeListener('exit', this.removeAtExit);
    await rm(this.path, { recursive: true, force: true });
  }
}
