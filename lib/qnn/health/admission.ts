/** Which libraries may be used: tested once, in a child process, before their first use; not again after they crashed, hung or computed wrong numbers. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { LutraError } from '../../graph/errors.js';
import type { BackendInfo, NativeNpu } from '../../native/addon.js';
import { loadAddon } from '../../native/loader.js';
import { GOLDEN_VERSION } from './golden.js';
import { type Finding, selfTest } from './self-test.js';
import type { Subject, Verdict, Verdicts } from './verdicts.js';

export type LibraryNpu = Extract<NativeNpu, { kind: 'library' }>;

/** The library file as it is now, on this system. A file that cannot be looked at has no size: opening it says why. */
export function librarySubject({ path, soc }: LibraryNpu): Subject {
  const file = statSync(path, { throwIfNoEntry: false });
  const state = {
    golden: GOLDEN_VERSION,
    bytes: file?.size ?? 0,
    modifiedMs: file?.mtimeMs ?? 0,
    // The driver that the library talks to comes with the system.
    system: `${process.platform}-${process.arch} ${release()}`,
  };
  return { path, soc: soc ?? null, model: null, state };
}

const VERBS: Readonly<Record<Finding['cause'], string>> = { crashed: 'it crashed', hung: 'it hung', wrong: 'it computed wrong numbers' };

export function quarantineError({ path, model }: Subject, { cause, what }: Finding): LutraError {
  return new LutraError(
    'LUTRA_QNN_QUARANTINED',
    `The QNN library ${path} is quarantined${model === null ? '' : ` for the model ${model}`}: ${VERBS[cause]} (${what}).`,
    'Use the host NPU, or another release of the library, which is tested anew; `lutra qnn quarantine --clear` lets this one be tested again.',
  );
}

/** Whether a file may hold code. */
function isElf(path: string): boolean {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) return false;
  const magic = Buffer.alloc(4);
  try {
    const file = openSync(path, 'r');
    readSync(file, magic, 0, magic.length, 0);
    closeSync(file);
  } catch {
    return false; // the loader says why
  }
  return magic.toString('latin1') === '\x7fELF';
}

/** Tests of this process under way. */
const tests = new Map<string, Promise<Verdict>>();

async function judge(library: LibraryNpu, subject: Subject, verdicts: Verdicts, npuTimeoutMs: number): Promise<Verdict> {
  const known = verdicts.find(subject);
  if (known) return known;
  const { path, soc } = library;
  // The loader refuses it without running anything of it, and is quicker than a process.
  if (!isElf(path)) loadAddon().qnn.openLibrary({ path, quiet: true });
  const found = await selfTest({ path, ...(soc === undefined ? {} : { soc }) }, npuTimeoutMs);
  const verdict: Verdict = 'cause' in found ? { good: false, ...found } : { good: true, backend: found };
  await verdicts.keep(subject, verdict);
  return verdict;
}

/**
 * The identity of a library that may be used; tests it first when nothing is known about it. Throws LUTRA_QNN_QUARANTINED, and the library's own error when it says that it cannot
 * be used, which is not remembered.
 */
export async function admit(library: LibraryNpu, verdicts: Verdicts, npuTimeoutMs: number): Promise<BackendInfo | null> {
  const subject = librarySubject(library);
  const key = JSON.stringify(subject);
  const test = tests.get(key) ?? judge(library, subject, verdicts, npuTimeoutMs).finally(() => tests.delete(key));
  tests.set(key, test);
  const verdict = await test;
  if (!verdict.good) throw quarantineError(subject, verdict);
  return verdict.backend;
}
