/**
 * Structural check of a GGUF file before anything is parsed.
 *
 * Every count and length of the header is compared with the bytes that are left in the file, so a truncated, foreign or
 * hostile file ends in LUTRA_BAD_FILE after at most one pass over the header and without allocating what it claims.
 */
import { readSync } from 'node:fs';
import { LutraError } from '../graph/errors.js';
import { ggmlType } from './ggml-types.js';

const WINDOW = 1 << 20;
/** Bytes of the metadata value types by code; 8 is a string, 9 an array. */
const SCALAR_BYTES: Record<number, number> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const STRING = 8;
const ARRAY = 9;
const MAX_ARRAY_DEPTH = 4;
/** The metadata library keeps the whole header in memory and refuses more than this. */
const MAX_HEADER_BYTES = 48_000_000;
const MAX_NAME_BYTES = 65_535;

/** Reads numbers off an open file, one window at a time, never past its end. */
class HeaderCursor {
  private readonly window = Buffer.alloc(WINDOW);
  private windowStart = 0;
  private windowBytes = 0;
  position = 0;

  constructor(
    private readonly fd: number,
    readonly size: number,
    private readonly file: string,
  ) {}

  bad(what: string): LutraError {
    return new LutraError('LUTRA_BAD_FILE', `${this.file} is not a readable GGUF file: ${what}`, 'Download or export the file again.');
  }

  /** Moves over `bytes` bytes of the file. */
  skip(bytes: number, what: string): void {
    if (bytes > this.size - this.position) throw this.bad(`it ends inside ${what} (byte ${this.size})`);
    this.position += bytes;
    if (this.position > MAX_HEADER_BYTES) {
      throw new LutraError('LUTRA_UNSUPPORTED', `${this.file} has a header of more than ${MAX_HEADER_BYTES} bytes`);
    }
  }

  private take(bytes: number, what: string): { buffer: Buffer; at: number } {
    const start = this.position;
    this.skip(bytes, what);
    if (start < this.windowStart || start + bytes > this.windowStart + this.windowBytes) {
      this.windowStart = start;
      this.windowBytes = this.fill(start);
      if (this.windowBytes < bytes) throw this.bad(`it ends inside ${what}`);
    }
    return { buffer: this.window, at: start - this.windowStart };
  }

  /** Reads until the window is full or the file ends. */
  private fill(start: number): number {
    let done = 0;
    for (let more = 1; more > 0 && done < WINDOW; done += more) more = readSync(this.fd, this.window, done, WINDOW - done, start + done);
    return done;
  }

  u32(what: string): number {
    const { buffer, at } = this.take(4, what);
    return buffer.readUInt32LE(at);
  }

  /** A 64-bit count or length; anything above 2^53 is nonsense. */
  u64(what: string): number {
    const { buffer, at } = this.take(8, what);
    const value = buffer.readBigUInt64LE(at);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.bad(`${what} is ${value}`);
    return Number(value);
  }

  skipString(what: string, limit = Number.MAX_SAFE_INTEGER): void {
    const bytes = this.u64(`the length of ${what}`);
    if (bytes > limit) throw this.bad(`${what} has ${bytes} bytes`);
    this.skip(bytes, what);
  }
}

function skipValue(cursor: HeaderCursor, type: number, what: string, depth: number): void {
  const scalar = SCALAR_BYTES[type];
  if (scalar !== undefined) cursor.skip(scalar, what);
  else if (type === STRING) cursor.skipString(what);
  else if (type === ARRAY) skipArray(cursor, what, depth);
  else throw cursor.bad(`${what} has the unknown type ${type}`);
}

function skipArray(cursor: HeaderCursor, what: string, depth: number): void {
  if (depth >= MAX_ARRAY_DEPTH) throw cursor.bad(`${what} nests arrays more than ${MAX_ARRAY_DEPTH} deep`);
  const element = cursor.u32(what);
  const count = cursor.u64(`the length of ${what}`);
  const scalar = SCALAR_BYTES[element];
  // A string or an array takes at least eight bytes, so a claimed count that the file cannot hold fails here, not in a loop.
  if (count * (scalar ?? 8) > cursor.size - cursor.position)
    throw cursor.bad(`${what} claims ${count} elements, more than the file can hold`);
  if (scalar !== undefined) cursor.skip(count * scalar, what);
  else for (let i = 0; i < count; i++) skipValue(cursor, element, what, depth + 1);
}

function skipTensorInfo(cursor: HeaderCursor, index: number): void {
  const what = `the description of tensor ${index}`;
  cursor.skipString(what, MAX_NAME_BYTES);
  const dims = cursor.u32(what);
  if (dims < 1 || dims > 4) throw cursor.bad(`${what} has ${dims} dimensions`);
  for (let i = 0; i < dims; i++) {
    if (cursor.u64(what) === 0) throw cursor.bad(`${what} has a dimension of length 0`);
  }
  const type = cursor.u32(what);
  if (!ggmlType(type)) throw cursor.bad(`${what} has the unknown type ${type}`);
  cursor.u64(what);
}

/**
 * Walks the header of an open GGUF file of `size` bytes. Throws LUTRA_BAD_FILE when it is not one, LUTRA_UNSUPPORTED for versions
 * before 2, big-endian files and headers above 48 MB. Returns where the header ends.
 */
export function checkGgufHeader(fd: number, size: number, file: string): number {
  const cursor = new HeaderCursor(fd, size, file);
  if (size < 24) throw cursor.bad(`${size} bytes are too few`);
  if (cursor.u32('the magic') !== 0x46554747) throw cursor.bad('it does not start with "GGUF"');
  const version = cursor.u32('the version');
  if ((version & 0xffff) === 0 || version === 1) {
    throw new LutraError(
      'LUTRA_UNSUPPORTED',
      `${file} is a ${version === 1 ? 'version 1' : 'big-endian'} GGUF file`,
      'Export it again with a current llama.cpp.',
    );
  }
  if (version !== 2 && version !== 3) throw cursor.bad(`its version is ${version}, known are 2 and 3`);
  const tensors = cursor.u64('the tensor count');
  const entries = cursor.u64('the metadata count');
  // 13 bytes of the smallest metadata entry, 32 of the smallest tensor description.
  if (entries * 13 + tensors * 32 > size)
    throw cursor.bad(`it claims ${tensors} tensors and ${entries} metadata entries, more than it can hold`);
  for (let i = 0; i < entries; i++) {
    const what = `metadata entry ${i}`;
    cursor.skipString(what, MAX_NAME_BYTES);
    skipValue(cursor, cursor.u32(what), what, 0);
  }
  for (let i = 0; i < tensors; i++) skipTensorInfo(cursor, i);
  return cursor.position;
}
