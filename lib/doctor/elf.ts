/** What the header of a shared library says, without running anything of it. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

export interface ElfFile {
  bits: 32 | 64;
  /** As `process.arch` names it, `hexagon`, or the number of the ELF standard. */
  machine: string;
  /** 75: v75; of a Hexagon file only. */
  hexagonArch?: number;
  /** Names of the libraries that it needs (DT_NEEDED). */
  needed: string[];
  /** Of the segments that are mapped, in bytes: less than the system's page size cannot be loaded. */
  alignment: number;
}

const MACHINES: ReadonlyMap<number, string> = new Map([
  [3, 'ia32'],
  [40, 'arm'],
  [62, 'x64'],
  [164, 'hexagon'],
  [183, 'arm64'],
]);
const [PT_LOAD, PT_DYNAMIC] = [1, 2];
const [DT_NULL, DT_NEEDED, DT_STRTAB, DT_STRSZ] = [0, 1, 5, 10];
/** Larger tables than a library has: such a file is damaged. */
const MAX_SEGMENTS = 256;
const MAX_TABLE_BYTES = 1 << 20;

interface Segment {
  type: number;
  offset: number;
  address: number;
  bytes: number;
  alignment: number;
}

class Reader {
  readonly #descriptor: number;
  readonly #size: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
    this.#size = fstatSync(descriptor).size;
  }

  /** Throws a RangeError when the file does not have them. */
  bytes(offset: number, length: number): Buffer {
    if (!(offset >= 0 && length >= 0 && offset + length <= this.#size)) throw new RangeError(`ends at byte ${this.#size}`);
    const buffer = Buffer.alloc(length);
    if (readSync(this.#descriptor, buffer, 0, length, offset) !== length) throw new RangeError('cannot be read to its end');
    return buffer;
  }
}

/** Words of the width that the file's class has. */
function word(buffer: Buffer, offset: number, bits: 32 | 64): number {
  return bits === 64 ? Number(buffer.readBigUInt64LE(offset)) : buffer.readUInt32LE(offset);
}

function segmentsOf(reader: Reader, header: Buffer, bits: 32 | 64): Segment[] {
  const table = word(header, bits === 64 ? 32 : 28, bits);
  const size = header.readUInt16LE(bits === 64 ? 54 : 42);
  const count = header.readUInt16LE(bits === 64 ? 56 : 44);
  const least = bits === 64 ? 56 : 32;
  if (count > MAX_SEGMENTS || (count > 0 && size < least)) throw new RangeError('has a damaged segment table');
  return Array.from({ length: count }, (_, i) => {
    const entry = reader.bytes(table + i * size, least);
    const at = (wide: number, narrow: number) => word(entry, bits === 64 ? wide : narrow, bits);
    return { type: entry.readUInt32LE(0), offset: at(8, 4), address: at(16, 8), bytes: at(32, 16), alignment: at(48, 28) };
  });
}

function neededOf(reader: Reader, segments: readonly Segment[], bits: 32 | 64): string[] {
  const dynamic = segments.find(({ type }) => type === PT_DYNAMIC);
  if (!dynamic) return [];
  if (dynamic.bytes > MAX_TABLE_BYTES) throw new RangeError('has a damaged dynamic table');
  const table = reader.bytes(dynamic.offset, dynamic.bytes);
  const step = bits / 8;
  const needed: number[] = [];
  let [strings, stringBytes] = [0, 0];
  for (let at = 0; at + 2 * step <= table.length; at += 2 * step) {
    const [tag, value] = [word(table, at, bits), word(table, at + step, bits)];
    if (tag === DT_NULL) break;
    if (tag === DT_NEEDED) needed.push(value);
    if (tag === DT_STRTAB) strings = value;
    if (tag === DT_STRSZ) stringBytes = value;
  }
  const mapped = segments.find(({ type, address, bytes: own }) => type === PT_LOAD && strings >= address && strings < address + own);
  if (needed.length === 0 || !mapped || stringBytes > MAX_TABLE_BYTES) return [];
  const text = reader.bytes(mapped.offset + strings - mapped.address, stringBytes);
  return needed.filter((at) => at < text.length).map((at) => text.toString('latin1', at, Math.max(at, text.indexOf(0, at))));
}

/** Why it is none: a sentence's end ("is no ELF file"), when it cannot be read as one. */
export function readElf(path: string): ElfFile | string {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch (error) {
    return `cannot be opened (${error instanceof Error ? error.message : String(error)})`;
  }
  try {
    const reader = new Reader(descriptor);
    const start = reader.bytes(0, 20);
    if (start.toString('latin1', 0, 4) !== '\x7fELF') return 'is no ELF file';
    const bits = start[4] === 2 ? 64 : 32;
    if (start[5] !== 1) return 'is for processors of the other byte order';
    const header = reader.bytes(0, bits === 64 ? 64 : 52);
    const number = header.readUInt16LE(18);
    const machine = MACHINES.get(number) ?? String(number);
    const segments = segmentsOf(reader, header, bits);
    const loads = segments.filter(({ type }) => type === PT_LOAD);
    const flags = header.readUInt32LE(bits === 64 ? 48 : 36);
    return {
      bits,
      machine,
      // The low byte of e_flags is the version in hexadecimal digits: 0x75 is v75.
      ...(machine === 'hexagon' ? { hexagonArch: Number((flags & 0xff).toString(16)) } : {}),
      needed: neededOf(reader, segments, bits),
      alignment: loads.reduce((least, { alignment }) => Math.min(least, alignment), loads[0]?.alignment ?? 0),
    };
  } catch (error) {
    return error instanceof RangeError ? `is truncated or damaged: it ${error.message}` : `cannot be read (${String(error)})`;
  } finally {
    closeSync(descriptor);
  }
}
