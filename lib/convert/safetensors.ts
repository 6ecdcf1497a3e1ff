/**
 * Writer of safetensors files laid out for mapping: the data of every tensor starts at a multiple of 64 bytes of the file.
 *
 * The format allows no holes, so the header is padded with spaces and the gap before a tensor is a tensor of its own (`__padN`).
 * All sizes are known beforehand; data are written once, in order, and hashed on the way.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { PartDigest } from '../files/digest.js';
import { LutraError } from '../graph/errors.js';
import type { FileHashes } from '../graph/spec.js';

export const ALIGNMENT = 64;

export type SafetensorsDtype = 'F32' | 'F16' | 'U32' | 'I8' | 'U8';

const DTYPE_BYTES: Record<SafetensorsDtype, number> = { F32: 4, F16: 2, U32: 4, I8: 1, U8: 1 };

/** A tensor to be written. */
export interface SafetensorsEntry {
  name: string;
  dtype: SafetensorsDtype;
  shape: number[];
}

function entryBytes(entry: SafetensorsEntry): number {
  return entry.shape.reduce((product, length) => product * length, DTYPE_BYTES[entry.dtype]);
}

function padding(bytes: number): number {
  return (ALIGNMENT - (bytes % ALIGNMENT)) % ALIGNMENT;
}

/** The entries with the padding between them, and the bytes that the file starts with. */
export function safetensorsHeader(entries: readonly SafetensorsEntry[]): { header: Uint8Array; laidOut: SafetensorsEntry[] } {
  const laidOut: SafetensorsEntry[] = [];
  const table: Record<string, { dtype: SafetensorsDtype; shape: number[]; data_offsets: [number, number] }> = {};
  let offset = 0;
  const place = (entry: SafetensorsEntry): void => {
    if (entry.name in table) throw new LutraError('LUTRA_INTERNAL', `tensor ${entry.name} is written twice`);
    const end = offset + entryBytes(entry);
    table[entry.name] = { dtype: entry.dtype, shape: entry.shape, data_offsets: [offset, end] };
    laidOut.push(entry);
    offset = end;
  };
  entries.forEach((entry, index) => {
    const gap = padding(offset);
    if (gap > 0) place({ name: `__pad${index}`, dtype: 'U8', shape: [gap] });
    place(entry);
  });
  const json = Buffer.from(JSON.stringify(table), 'utf8');
  const padded = json.length + padding(8 + json.length);
  const header = Buffer.alloc(8 + padded, ' ');
  header.writeBigUInt64LE(BigInt(padded), 0);
  json.copy(header, 8);
  return { header, laidOut };
}

/** Writes one file. Call {@link write} for every entry in order, in one or several pieces, then {@link finish}. */
export class SafetensorsWriter {
  private readonly hash = createHash('sha256');
  private readonly tensors: Record<string, string> = {};
  private part = new PartDigest();
  private index = -1;
  private left = 0;

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly laidOut: readonly SafetensorsEntry[],
    private readonly header: string,
  ) {}

  static async create(path: string, entries: readonly SafetensorsEntry[]): Promise<SafetensorsWriter> {
    const { header, laidOut } = safetensorsHeader(entries);
    const digest = new PartDigest().update(header).digest();
    const writer = new SafetensorsWriter(path, await open(path, 'wx'), laidOut, digest);
    await writer.append(header);
    return writer;
  }

  private async append(bytes: Uint8Array): Promise<void> {
    this.hash.update(bytes);
    let done = 0;
    while (done < bytes.length) done += (await this.handle.write(bytes, done, bytes.length - done)).bytesWritten;
  }

  /** Bytes of the current entry. */
  private async put(entry: SafetensorsEntry, bytes: Uint8Array): Promise<void> {
    await this.append(bytes);
    this.part.update(bytes);
    this.left -= bytes.length;
    if (this.left > 0) return;
    this.tensors[entry.name] = this.part.digest();
    this.part = new PartDigest();
  }

  /** Moves on to the next entry, writing the padding before it. */
  private async next(): Promise<SafetensorsEntry | undefined> {
    for (;;) {
      const entry = this.laidOut[++this.index];
      if (!entry) return undefined;
      this.left = entryBytes(entry);
      if (!entry.name.startsWith('__pad')) return entry;
      await this.put(entry, new Uint8Array(this.left));
    }
  }

  /** Appends bytes of tensor `name`: the current one while it is incomplete, the next one otherwise. */
  async write(name: string, data: ArrayBufferView): Promise<void> {
    const entry = this.left > 0 ? this.laidOut[this.index] : await this.next();
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    if (entry?.name !== name || bytes.length > this.left) {
      throw new LutraError(
        'LUTRA_INTERNAL',
        `${this.path}: ${bytes.length} bytes of ${name} do not fit where ${entry?.name ?? 'the end'} is due`,
      );
    }
    await this.put(entry, bytes);
  }

  /** Closes the file. */
  async finish(): Promise<FileHashes> {
    if (this.left > 0 || (await this.next())) throw new LutraError('LUTRA_INTERNAL', `${this.path}: not every tensor was written`);
    await this.handle.sync();
    await this.handle.close();
    return { sha256: this.hash.digest('hex'), header: this.header, tensors: this.tensors };
  }

  /** Closes without finishing; for error paths. */
  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);
  }
}
