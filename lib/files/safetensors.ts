/** Headers of safetensors files: read without trusting a length, parsed without trusting a type. */
import type { FileHandle } from 'node:fs/promises';
import type { LutraError } from '../graph/errors.js';
import { isObject, readFully } from './read.js';

/** A header may not be larger than this; more is a foreign file, not a model. */
const MAX_HEADER_BYTES = 64 * 2 ** 20;
const PREFIX_BYTES = 8;

/** Name, type, shape and place of one tensor of a safetensors file; offsets count from the start of the file. */
export interface StoredTensor {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

/** The length word of an open file of `size` bytes and the header behind it. `bad` makes the error of a file that is none. */
export async function readSafetensorsHeader(
  handle: FileHandle,
  size: number,
  path: string,
  bad: (what: string) => LutraError,
): Promise<Buffer> {
  const prefix = Buffer.alloc(PREFIX_BYTES);
  if (size < PREFIX_BYTES) throw bad(`is truncated: it has ${size} bytes.`);
  await readFully(handle, prefix, 0, path);
  const length = Number(prefix.readBigUInt64LE());
  if (length < 2 || length > MAX_HEADER_BYTES) throw bad(`is not a safetensors file: its header would have ${length} bytes.`);
  if (PREFIX_BYTES + length > size) throw bad(`is truncated: ${size} bytes, its header alone has ${PREFIX_BYTES + length}.`);
  const header = Buffer.alloc(PREFIX_BYTES + length);
  await readFully(handle, header, 0, path);
  return header;
}

/** The tensors that a header (with its length word) describes, or undefined when it is none. */
export function parseSafetensorsHeader(header: Buffer): StoredTensor[] | undefined {
  let table: unknown;
  try {
    table = JSON.parse(header.toString('utf8', PREFIX_BYTES));
  } catch {
    return undefined;
  }
  if (!isObject(table)) return undefined;
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(table)) {
    if (name === '__metadata__') continue;
    if (!isObject(entry) || typeof entry.dtype !== 'string' || !Array.isArray(entry.shape) || !Array.isArray(entry.data_offsets))
      return undefined;
    const [begin, end] = entry.data_offsets.map((offset: unknown) => (Number.isSafeInteger(offset) ? (offset as number) : -1));
    if (begin === undefined || end === undefined || begin < 0 || end < begin) return undefined;
    const { dtype } = entry;
    tensors.push({ name, dtype, shape: entry.shape as number[], begin: header.length + begin, end: header.length + end });
  }
  return tensors;
}
