/** One wrong input and the error that it must end in. */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'vitest';
import { convertModel } from '../../../lib/convert/index.js';
import { LutraError, type LutraErrorCode } from '../../../lib/graph/errors.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { type LoadOptions, loadModel, type Model } from '../../../lib/runtime/model.js';
import { reseal } from '../../reference/reseal.js';
import type { TinyModelFiles } from '../tiny.js';

/** What cases work with: a directory to write in, and a model that is right. */
export interface World {
  root: string;
  files: TinyModelFiles;
  model: Model;
}

/** What a call ended in. */
export interface Outcome {
  code: string;
  message: string;
  remedy: string;
}

export interface BadCase {
  name: string;
  /** USAGE: a wrong command line, which has no LutraErrorCode. */
  code: LutraErrorCode | 'USAGE';
  /** What the message must name: the value, the file, the option. */
  says: string | RegExp;
  /** Made once; handed to every call. */
  prepare(world: World): unknown;
  /** Must fail, every time in the same way. */
  call(world: World, prepared: unknown): unknown;
}

/** A case whose input takes making. */
export function made<T>(
  name: string,
  code: BadCase['code'],
  says: BadCase['says'],
  prepare: (world: World) => T | Promise<T>,
  call: (prepared: T, world: World) => unknown,
): BadCase {
  return { name, code, says, prepare, call: (world, prepared) => call(prepared as T, world) };
}

/** A case that is one call. */
export function bad(name: string, code: BadCase['code'], says: BadCase['says'], call: (world: World) => unknown): BadCase {
  return { name, code, says, prepare: () => undefined, call };
}

/** How a call ends. Throws when it does not fail, or fails with anything but a LutraError (or what a command printed as one). */
export async function outcomeOf(call: () => unknown): Promise<Outcome> {
  let error: unknown;
  try {
    const result = await call();
    if (isOutcome(result)) return result;
    throw new Error(`nothing was wrong: ${String(result).slice(0, 80)}`);
  } catch (thrown) {
    error = thrown;
  }
  if (error instanceof LutraError) return { code: error.code, message: error.message, remedy: error.remedy };
  throw new Error(`not a LutraError: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, { cause: error });
}

function isOutcome(value: unknown): value is Outcome {
  return typeof value === 'object' && value !== null && 'code' in value && 'remedy' in value && 'message' in value;
}

let copies = 0;

/** A new place to write a file to. */
export function place(world: World, name: string): string {
  const directory = join(world.root, `case${copies++}`);
  mkdirSync(directory);
  return join(directory, name);
}

export function file(world: World, name: string, content: string | Uint8Array): string {
  const path = place(world, name);
  writeFileSync(path, content);
  return path;
}

/** A copy of the good model, spoiled. */
export function spoiled(world: World, change: (directory: string) => void): string {
  const directory = place(world, 'model');
  cpSync(world.files.directory, directory, { recursive: true });
  change(directory);
  return directory;
}

/** A copy whose lutra.json was changed, with digests that fit. */
export function respecified(world: World, change: (spec: Spec) => void): string {
  return spoiled(world, (directory) => reseal(directory, change as (spec: Record<string, unknown>) => void));
}

/** Converts a model for the CPU, whatever goes wrong; nothing may be left where it would have been. */
export async function tryConvert(input: string, world: World, config?: string): Promise<void> {
  const output = place(world, 'converted');
  try {
    await convertModel({ input, output, addon: loadAddon(), precision: null, ...(config === undefined ? {} : { config }) });
  } finally {
    const left = readdirSync(dirname(output));
    rmSync(dirname(output), { recursive: true });
    expect(left).toEqual([]);
  }
}

/** Loads a model and opens a session, whatever goes wrong on the way; everything is freed. */
export async function tryModel(directory: string, _world?: World, options: LoadOptions = {}): Promise<void> {
  const model = await loadModel(directory, { npu: 'host', contextSize: 64, threads: 1, ...options });
  try {
    await model.createSession();
  } finally {
    await model.dispose();
  }
}

/** Parsed lutra.json, to be filled with nonsense. */
export type Spec = Record<string, unknown> & Record<'arch' | 'tensors' | 'linears' | 'hashes' | 'tokens', Record<string, unknown>>;

/** Things in a file system that are no files, by what they are. Each is made at a path that must be free. */
export const NO_FILES: Readonly<Record<string, (path: string) => void>> = {
  'a directory': (path) => mkdirSync(path),
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a link to /dev/null': (path) => symlinkSync('/dev/null', path),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a link to itself': (path) => symlinkSync(path, path),
  'a dangling link': (path) => symlinkSync(`${path}.nowhere`, path),
  // A regular file by its own account, which cannot be read from the beginning.
  'the memory of a process': (path) => symlinkSync('/proc/self/mem', path),
};

/** Puts something that is no file in the place of a file. */
export function replace(path: string, kind: string): void {
  rmSync(path, { recursive: true, force: true });
  const make = NO_FILES[kind];
  if (!make) throw new Error(`nothing is ${kind}`);
  make(path);
}
