/**
 * Writer of safetensors files laid out for mapping: the data of every tensor starts at a multiple of 64 bytes of the file.
 *
 * The format allows no holes, so the header is padded with spaces and the gap before a tensor is a tensor of its own (`__padN`).
 * All sizes are known beforehand; data are written once, in order, and hashed on the way. A writer that is to be gone on with after its process was killed keeps the digests of what it
 * has written beside the file; whoever goes on reads the file against them.
 */
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
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

/** Of the file beside a weight file that has the digests of the tensors that are whole, padding included, in their order. */
export const JOURNAL = '.done';

const journalOf = (path: string): string => path + JOURNAL;

/** The digest of `bytes` from `at` on, which `take` gets piece by piece; null: the file ends before. */
async function partAt(handle: FileHandle, at: number, bytes: number, take: (block: Uint8Array) => void): Promise<string | null> {
  const part = new PartDigest();
  const buffer = Buffer.allocUnsafeSlow(Math.min(bytes, 1 << 20));
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, bytes - done), at + done);
    if (bytesRead === 0) return null;
    const block = buffer.subarray(0, bytesRead);
    take(block);
    part.update(block);
    done += bytesRead;
  }
  return part.digest();
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
  private hash = createHash('sha256');
  private readonly tensors: Record<string, string> = {};
  private part = new PartDigest();
  private index = -1;
  private left = 0;
  private position = 0;
  private readonly taken = new Set<string>();

  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly laidOut: readonly SafetensorsEntry[],
    private readonly header: string,
    private readonly journal: FileHandle | null = null,
  ) {}

  static async create(path: string, entries: readonly SafetensorsEntry[]): Promise<SafetensorsWriter> {
    const { header, laidOut } = safetensorsHeader(entries);
    const digest = new PartDigest().update(header).digest();
    const writer = new SafetensorsWriter(path, await open(path, 'wx'), laidOut, digest);
    await writer.append(header);
    return writer;
  }

  /**
   * Goes on with a file of the same entries that a writer of this kind has not finished, behind the last tensor that is as it was written; begins anew where there is none. `unitOf`: tensors
   * that follow each other and have the same unit are taken together or not at all.
   */
  static async resume(
    path: string,
    entries: readonly SafetensorsEntry[],
    unitOf: (name: string) => string = (name) => name,
  ): Promise<SafetensorsWriter> {
    const { header, laidOut } = safetensorsHeader(entries);
    const digests = (await readFile(journalOf(path), 'utf8').catch(() => '')).split('\n').slice(0, -1);
    const digest = new PartDigest().update(header).digest();
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT);
    const journal = await open(journalOf(path), 'w').catch(async (error: unknown) => {
      await handle.close();
      throw error;
    });
    const writer = new SafetensorsWriter(path, handle, laidOut, digest, journal);
    try {
      await writer.takeOver(header, digests, unitOf);
    } catch (error) {
      await writer.abandon();
      throw error;
    }
    return writer;
  }

  /** Whether a tensor is there already; writing it again does nothing. */
  has(name: string): boolean {
    return this.taken.has(name);
  }

  /** Reads what a writer left, as far as it is what `digests` say, and places itself behind it. */
  private async takeOver(header: Uint8Array, digests: readonly string[], unitOf: (name: string) => string): Promise<void> {
    const { laidOut, handle } = this;
    const found = Buffer.alloc(header.length);
    const { bytesRead } = await handle.read(found, 0, found.length, 0);
    if (bytesRead < header.length || !found.equals(header)) {
      await handle.truncate(0);
      return this.append(header);
    }
    // Padding belongs to what comes behind it.
    const units = laidOut.map(({ name }) => (name.startsWith('__pad') ? null : unitOf(name)));
    for (let i = units.length - 2; i >= 0; i--) units[i] ??= units[i + 1] ?? null;
    const hash = createHash('sha256').update(header);
    let good = { count: 0, position: header.length, hash: hash.copy() };
    let at = header.length;
    for (const [i, entry] of laidOut.entries()) {
      const bytes = entryBytes(entry);
      const digest = await partAt(handle, at, bytes, (block) => hash.update(block));
      if (digest === null || digest !== digests[i]) break;
      at += bytes;
      if (units[i] !== units[i + 1]) good = { count: i + 1, position: at, hash: hash.copy() };
    }
    for (const [i, { name }] of laidOut.slice(0, good.count).entries()) {
      this.taken.add(name);
      this.tensors[name] = digests[i] ?? '';
    }
    this.index = good.count - 1;
    this.hash = good.hash;
    this.position = good.position;
    await handle.truncate(good.position);
    await this.journal?.appendFile(
      digests
        .slice(0, good.count)
        .map((digest) => `${digest}\n`)
        .join(''),
    );
  }

  private async append(bytes: Uint8Array): Promise<void> {
    this.hash.update(bytes);
    let done = 0;
    while (done < bytes.length) done += (await this.handle.write(bytes, done, bytes.length - done, this.position + done)).bytesWritten;
    this.position += bytes.length;
  }

  /** Bytes of the current entry. */
  private async put(entry: SafetensorsEntry, bytes: Uint8Array): Promise<void> {
    await this.append(bytes);
    this.part.update(bytes);
    this.left -= bytes.length;
    if (this.left > 0) return;
    const digest = this.part.digest();
    this.tensors[entry.name] = digest;
    this.part = new PartDigest();
    await this.journal?.appendFile(`${digest}\n`);
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
    if (this.taken.has(name)) return;
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

  /** Closes the file. The digests beside it stay, so that a process that is killed later finds it whole. */
  async finish(): Promise<FileHashes> {
    if (this.left > 0 || (await this.next())) throw new LutraError('LUTRA_INTERNAL', `${this.path}: not every tensor was written`);
    await this.handle.sync();
    await this.handle.close();
    await this.journal?.close();
    return { sha256: this.hash.digest('hex'), header: this.header, tensors: this.tensors };
  }

  /** Closes without finishing; for error paths. */
  async abandon(): Promise<void> {
    await this.handle.close().catch(() => undefined);
    await this.journal?.close().catch(() => undefined);
  }
}
