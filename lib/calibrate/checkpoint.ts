/**
 * How far a calibration came, so that it can go on: one line of JSON that says of what it is, then the statistics of every site as 64-bit floats, little endian.
 */

import { sha256 } from '../files/digest.js';
import { readBytes } from '../files/read.js';
import { writeFileWhole } from '../files/write.js';
import { LutraError } from '../graph/errors.js';

const KIND = 'lutra calibration checkpoint 1';
/** Statistics of more than any model has. */
const MAX_BYTES = 2 ** 31 - 1;

/** What a calibration is of; one that is of something else cannot go on from its checkpoint. */
export interface Identity {
  /** Digests of the weights and of the plan that runs them. */
  weights: string;
  plan: string;
  /** Digests of the texts, in order. */
  texts: string[];
  windows: number | null;
  windowTokens: number;
}

export interface Checkpoint {
  /** Windows that the statistics are of. */
  done: number;
  values: Float64Array[];
}

interface Header extends Identity {
  kind: typeof KIND;
  done: number;
  lengths: number[];
  sha256: string;
}

const WORDS: Readonly<Record<keyof Identity, string>> = {
  weights: 'another model',
  plan: 'another model or version of lutra',
  texts: 'another text',
  windows: 'another number of windows',
  windowTokens: 'windows of another length',
};

function bytesOf(values: Float64Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}

/** Replaces the checkpoint in one step. Throws LUTRA_IO. */
export async function writeCheckpoint(path: string, identity: Identity, { done, values }: Checkpoint): Promise<void> {
  const payload = values.map(bytesOf);
  const header: Header = { kind: KIND, ...identity, done, lengths: values.map(({ length }) => length), sha256: digestOf(payload) };
  await writeFileWhole(path, [Buffer.from(`${JSON.stringify(header)}\n`), ...payload]);
}

function digestOf(parts: readonly Uint8Array[]): string {
  return sha256(Buffer.from(parts.map(sha256).join()));
}

/**
 * What is at `path`; null: nothing. Errors: LUTRA_INVALID_ARGUMENT (of another model, text or options), LUTRA_BAD_FILE (damaged, or no checkpoint), LUTRA_IO.
 */
export async function readCheckpoint(path: string, identity: Identity): Promise<Checkpoint | null> {
  const remedy = `Remove ${path} to start from the beginning, or choose another output.`;
  const bytes = await readBytes(path, MAX_BYTES, { remedy }).catch((error: unknown) => {
    if (error instanceof LutraError && error.code === 'LUTRA_NOT_FOUND') return null;
    throw error;
  });
  if (bytes === null) return null;
  const bad = (what: string) => new LutraError('LUTRA_BAD_FILE', `${path} ${what}.`, remedy);
  const end = bytes.indexOf(10);
  const header = headerOf(bytes.subarray(0, Math.max(0, end)));
  if (!header) throw bad('is no checkpoint of a calibration');
  for (const field of Object.keys(WORDS) as (keyof Identity)[]) {
    if (JSON.stringify(header[field]) === JSON.stringify(identity[field])) continue;
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${path} is the checkpoint of ${WORDS[field]}: it cannot be gone on from.`, remedy);
  }
  const total = header.lengths.reduce((sum, length) => sum + length * 8, 0);
  if (bytes.length - end - 1 !== total) throw bad(`is damaged: it has ${bytes.length - end - 1} bytes of statistics, not ${total}`);
  let at = end + 1;
  const values = header.lengths.map((length) => {
    const one = new Float64Array(length);
    bytesOf(one).set(bytes.subarray(at, at + length * 8));
    at += length * 8;
    return one;
  });
  if (digestOf(values.map(bytesOf)) !== header.sha256) throw bad('is damaged: its statistics have another digest');
  return { done: header.done, values };
}

function headerOf(line: Uint8Array): Header | undefined {
  try {
    const header = JSON.parse(Buffer.from(line).toString('utf8')) as Partial<Header> | null;
    const counts = (list: unknown): boolean =>
      Array.isArray(list) && list.every((one) => Number.isSafeInteger(one) && one >= 0 && one < MAX_BYTES);
    return header?.kind === KIND && counts([header.done]) && counts(header.lengths) ? (header as Header) : undefined;
  } catch {
    return undefined;
  }
}
