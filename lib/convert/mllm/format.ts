/**
 * The index of an `.mllm` file, version 1 and 2 (docs/model-format.md): names, types and places of tensors, each checked against the file before anything is believed. Little endian.
 *
 *   1: i32 20012, u64 bytes of the index, then i32 length and text of a name, u64 bytes, u64 place, i32 type for each tensor; no shapes
 *   2: i32 0x519a, i32 2, a name in 512 bytes, u32 tensors, u64 place of the index; 352 bytes a tensor: u32, u32 type, u64 bytes, u64 place, u64 dimensions, 16 × i32, a name in 256 bytes
 */
import type { FileHandle } from 'node:fs/promises';
import { readFully } from '../../files/read.js';
import { LutraError } from '../../graph/errors.js';

const MAGIC_1 = 20_012;
const MAGIC_2 = 0x519a;
const HEAD_1 = 12;
const HEAD_2 = 532;
const ENTRY_2 = 352;
const NAME_AT = 96;
const MAX_DIMENSIONS = 16;
const MAX_NAME_BYTES = 512;
/** No model has an index of so many bytes. */
const MAX_INDEX_BYTES = 8 * 2 ** 20;

interface Place {
  name: string;
  begin: number;
  end: number;
}

export interface MllmTensor extends Place {
  type: MllmType;
  /** null: version 1 has none. */
  shape: number[] | null;
}

export interface MllmType {
  name: string;
  /** Elements and bytes of a block; 0: lutra does not read the type. */
  elements: number;
  bytes: number;
}

const read = (name: string, bytes: number, elements = 1): MllmType => ({ name, elements, bytes });
const foreign = (name: string): MllmType => ({ name, elements: 0, bytes: 0 });

const TYPES: ReadonlyMap<number, MllmType> = new Map([
  [0, read('F32', 4)],
  [1, read('F16', 2)],
  [2, read('Q4_0', 18, 32)],
  [3, read('Q4_1', 20, 32)],
  [8, read('Q8_0', 34, 32)],
  [9, foreign('Q8_1')],
  [10, foreign('Q8_PER_TENSOR')],
  [12, foreign('Q4_K')],
  [14, foreign('Q6_K')],
  [15, foreign('Q8_K')],
  [16, read('I8', 1)],
  [17, foreign('I16')],
  [18, foreign('I32')],
  [19, foreign('Q4_0_4_4')],
  [20, foreign('Q4_0_4_8')],
  [21, foreign('Q4_0_8_8')],
  [22, foreign('Q8_0_4_4')],
  [23, foreign('Q3_K')],
  [24, foreign('Q2_K')],
  [25, foreign('Q1_K')],
  [26, foreign('IQ2_XXS')],
  [27, foreign('IQ2_XS')],
  [28, foreign('IQ1_S')],
  [29, foreign('IQ1_M')],
  [30, foreign('IQ2_S')],
  [31, foreign('KLEIDIAI_Q4_0')],
  [32, foreign('Q8_0F')],
  [33, foreign('Q2_0')],
  [128, read('BF16', 2)],
  [129, read('U8', 1)],
  [130, foreign('U16')],
  [131, foreign('U32')],
  [132, foreign('I64')],
  [133, foreign('U64')],
  [134, foreign('BYTE')],
  [135, foreign('MXFP4')],
  [136, foreign('I4')],
  [137, foreign('U4')],
  [138, foreign('I2')],
  [139, foreign('U2')],
  ...Array.from({ length: 16 }, (_, i) => [140 + i, foreign(`${140 + i} (8 or 16 bits with scales)`)] as const),
  [156, read('BOOL', 1)],
]);

export function isMllm(head: Uint8Array): boolean {
  if (head.length < 4) return false;
  const magic = new DataView(head.buffer, head.byteOffset).getInt32(0, true);
  return magic === MAGIC_1 || magic === MAGIC_2;
}

/** Takes numbers off a piece of a file. */
class Cursor {
  at = 0;

  constructor(
    readonly bytes: Buffer,
    private readonly bad: (what: string) => LutraError,
  ) {}

  private take(bytes: number, what: string): number {
    if (bytes > this.bytes.length - this.at) throw this.bad(`its index ends inside ${what}`);
    this.at += bytes;
    return this.at - bytes;
  }

  i32(what: string): number {
    return this.bytes.readInt32LE(this.take(4, what));
  }

  /** Not exact above 2^53, where it is larger than any file all the same. */
  u64(what: string): number {
    return Number(this.bytes.readBigUInt64LE(this.take(8, what)));
  }

  name(bytes: number, what: string): string {
    if (bytes < 1 || bytes > MAX_NAME_BYTES) throw this.bad(`${what} would have a name of ${bytes} bytes`);
    const at = this.take(bytes, `the name of ${what}`);
    return nameOf(this.bytes.subarray(at, at + bytes), what, this.bad);
  }
}

function nameOf(bytes: Uint8Array, what: string, bad: (what: string) => LutraError): string {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw bad(`the name of ${what} is not UTF-8`);
  }
  if (name.length === 0 || name.includes('\0')) throw bad(`the name of ${what} is empty or has a zero in it`);
  return name;
}

function typeOf(code: number, name: string, path: string): MllmType {
  const type = TYPES.get(code);
  if (type) return type;
  throw new LutraError('LUTRA_UNSUPPORTED', `${path}: tensor ${name} has the unknown type ${code}`, 'Export the file again.');
}

export class MllmIndex {
  private constructor(
    readonly version: 1 | 2,
    readonly tensors: readonly MllmTensor[],
  ) {}

  /** Reads and checks the index of an open file. Errors: LUTRA_BAD_FILE, LUTRA_UNSUPPORTED (a version, a type that has no name), LUTRA_IO. */
  static async read(handle: FileHandle, size: number, path: string): Promise<MllmIndex> {
    const bad = (what: string) =>
      new LutraError('LUTRA_BAD_FILE', `${path} is not a readable .mllm file: ${what}`, 'Export the file again.');
    const piece = async (at: number, bytes: number, what: string): Promise<Buffer> => {
      if (bytes > MAX_INDEX_BYTES) throw bad(`${what} would have ${bytes} bytes`);
      if (at > size || bytes > size - at) throw bad(`it ends inside ${what} (byte ${size})`);
      const buffer = Buffer.alloc(bytes);
      await readFully(handle, buffer, at, path);
      return buffer;
    };
    const magic = (await piece(0, 4, 'its first word')).readInt32LE();
    if (magic !== MAGIC_1 && magic !== MAGIC_2) throw bad(`it begins with ${magic}`);
    const version = magic === MAGIC_1 ? 1 : 2;
    const { tensors, taken } = await (version === 1 ? readVersion1 : readVersion2)(piece, path, bad);
    if (tensors.length === 0) throw bad('it has no tensors');
    checkPlaces([...taken, ...tensors], size, bad);
    return new MllmIndex(version, tensors);
  }
}

interface Read {
  tensors: MllmTensor[];
  /** What of the file is none of a tensor. */
  taken: Place[];
}

type Piece = (at: number, bytes: number, what: string) => Promise<Buffer>;
type Bad = (what: string) => LutraError;

async function readVersion1(piece: Piece, path: string, bad: Bad): Promise<Read> {
  const indexBytes = Number((await piece(0, HEAD_1, 'its header')).readBigUInt64LE(4));
  const cursor = new Cursor(await piece(HEAD_1, indexBytes, 'its index'), bad);
  const tensors: MllmTensor[] = [];
  while (cursor.at < indexBytes) {
    const what = `tensor ${tensors.length}`;
    const name = cursor.name(cursor.i32(what), what);
    const bytes = cursor.u64(name);
    const begin = cursor.u64(name);
    tensors.push({ name, begin, end: begin + bytes, type: typeOf(cursor.i32(name), name, path), shape: null });
  }
  return { tensors, taken: [{ name: 'the index', begin: 0, end: HEAD_1 + indexBytes }] };
}

async function readVersion2(piece: Piece, path: string, bad: Bad): Promise<Read> {
  const head = await piece(0, HEAD_2, 'its header');
  const version = head.readInt32LE(4);
  if (version !== 2) throw new LutraError('LUTRA_UNSUPPORTED', `${path} is an .mllm file of version ${version}`, 'lutra reads 1 and 2.');
  const count = head.readUInt32LE(520);
  const at = Number(head.readBigUInt64LE(524));
  const index = await piece(at, count * ENTRY_2, 'its index');
  const tensors = Array.from({ length: count }, (_, i) => {
    const entry = index.subarray(i * ENTRY_2, (i + 1) * ENTRY_2);
    const nameBytes = entry.subarray(NAME_AT);
    const end = nameBytes.indexOf(0);
    const name = nameOf(end < 0 ? nameBytes : nameBytes.subarray(0, end), `tensor ${i}`, bad);
    const dimensions = Number(entry.readBigUInt64LE(24));
    if (dimensions > MAX_DIMENSIONS) throw bad(`tensor ${name} has ${dimensions} dimensions`);
    const shape = Array.from({ length: dimensions }, (_, d) => entry.readInt32LE(32 + 4 * d));
    if (shape.some((length) => length < 1)) throw bad(`tensor ${name} has the shape [${shape.join(', ')}]`);
    const begin = Number(entry.readBigUInt64LE(16));
    return { name, begin, end: begin + Number(entry.readBigUInt64LE(8)), type: typeOf(entry.readUInt32LE(4), name, path), shape };
  });
  const taken = [
    { name: 'the header', begin: 0, end: HEAD_2 },
    { name: 'the index', begin: at, end: at + count * ENTRY_2 },
  ];
  return { tensors, taken };
}

/** Every tensor lies in the file, where no other does, under a name of its own. */
function checkPlaces(places: readonly Place[], size: number, bad: Bad): void {
  const names = new Set<string>();
  for (const { name, begin, end } of places) {
    if (names.has(name)) throw bad(`there are two tensors ${name}`);
    names.add(name);
    if (end <= begin) throw bad(`tensor ${name} has no data`);
    if (end > size) throw bad(`tensor ${name} ends at byte ${end}, the file has ${size}: it is truncated`);
  }
  const sorted = places.toSorted((a, b) => a.begin - b.begin);
  for (const [i, place] of sorted.entries()) {
    const before = sorted[i - 1];
    if (before && place.begin < before.end) throw bad(`${place.name} lies over ${before.name}`);
  }
}
