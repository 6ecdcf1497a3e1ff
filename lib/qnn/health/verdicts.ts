/** What is known about libraries, and about models on them: in this process, and in files that other processes read. */
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { makeDirectory } from '../../files/make.js';
import type { BackendInfo } from '../../native/addon.js';
import { isBackendInfo, isRecord } from './protocol.js';
import { CAUSES, type Finding } from './self-test.js';

/** What was judged. A verdict holds for exactly this; one file holds the last verdict about `path`, `soc` and `model`. */
export interface Subject {
  /** Of the library. */
  path: string;
  soc: number | null;
  /** Path of a model directory; null: the library itself. */
  model: string | null;
  /** Everything else that the verdict depends on. */
  state: Readonly<Record<string, string | number>>;
}

export type GoodVerdict = { good: true; backend: BackendInfo | null };
export type BadVerdict = { good: false } & Finding;
export type Verdict = GoodVerdict | BadVerdict;

/** A verdict as it is kept. */
export interface VerdictRecord<V extends Verdict = Verdict> {
  subject: Subject;
  verdict: V;
  /** ISO date and time. */
  at: string;
}

const SUFFIX = '.verdict.json';
/** Since the start of this process, whatever becomes of the files. */
const memory = new Map<string, Verdict>();

function isSubject(value: unknown): value is Subject {
  if (!isRecord(value)) return false;
  const { path, soc, model, state } = value;
  return (
    typeof path === 'string' &&
    (soc === null || typeof soc === 'number') &&
    (model === null || typeof model === 'string') &&
    isRecord(state)
  );
}

function isVerdict(value: unknown): value is Verdict {
  if (!isRecord(value)) return false;
  if (value.good === true) return value.backend === null || isBackendInfo(value.backend);
  return value.good === false && CAUSES.some((cause) => cause === value.cause) && typeof value.what === 'string';
}

/** Undefined for what is no record: damaged, of another version, unreadable. */
function readRecord(file: string): VerdictRecord | undefined {
  try {
    const record: unknown = JSON.parse(readFileSync(file, 'utf8'));
    if (!isRecord(record) || !isSubject(record.subject) || !isVerdict(record.verdict) || typeof record.at !== 'string') return undefined;
    return { subject: record.subject, verdict: record.verdict, at: record.at };
  } catch {
    return undefined;
  }
}

const keyOf = ({ path, soc, model, state }: Subject): string => JSON.stringify([path, soc, model, Object.entries(state).sort()]);

export class Verdicts {
  readonly #directory: string | null;

  /** `directory`: where files are kept; null: nowhere. */
  constructor(directory: string | null) {
    this.#directory = directory;
  }

  /** The verdict about exactly this subject. */
  find(subject: Subject): Verdict | undefined {
    const key = keyOf(subject);
    const known = memory.get(key);
    if (known || this.#directory === null) return known;
    const record = readRecord(this.#file(this.#directory, subject));
    if (!record || keyOf(record.subject) !== key) return undefined;
    memory.set(key, record.verdict);
    return record.verdict;
  }

  /** Known in this process at once. Files that cannot be written are done without: the next process judges anew. Never rejects. */
  async keep(subject: Subject, verdict: Verdict): Promise<void> {
    memory.set(keyOf(subject), verdict);
    if (this.#directory === null) return;
    const file = this.#file(this.#directory, subject);
    const part = `${file}.${process.pid}-${randomBytes(4).toString('hex')}.part`;
    const record: VerdictRecord = { subject, verdict, at: new Date().toISOString() };
    try {
      await makeDirectory(this.#directory);
      await writeFile(part, JSON.stringify(record));
      await rename(part, file);
    } catch {
      await rm(part, { force: true }).catch(() => {});
    }
  }

  /** All bad verdicts that are kept in files. */
  quarantined(): VerdictRecord<BadVerdict>[] {
    return this.#files().flatMap(({ record }) => {
      if (!record || record.verdict.good) return [];
      return [{ ...record, verdict: record.verdict }];
    });
  }

  /** Forgets all bad verdicts, and files that cannot be read. */
  clear(): void {
    for (const { file, record } of this.#files()) if (!record?.verdict.good) rmSync(file, { force: true });
    for (const [key, verdict] of memory) if (!verdict.good) memory.delete(key);
  }

  #files(): { file: string; record: VerdictRecord | undefined }[] {
    const directory = this.#directory;
    if (directory === null) return [];
    let names: string[];
    try {
      names = readdirSync(directory);
    } catch {
      return []; // nothing was ever kept
    }
    return names
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => ({ file: join(directory, name), record: readRecord(join(directory, name)) }));
  }

  #file(directory: string, { path, soc, model }: Subject): string {
    const place = createHash('sha256')
      .update(JSON.stringify([path, soc, model]))
      .digest('hex');
    return join(directory, `${basename(model ?? path)}-${place.slice(0, 16)}${SUFFIX}`);
  }
}
