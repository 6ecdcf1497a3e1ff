/**
 * A GGUF file opened for import: typed metadata look-ups and tensors by name, read piece by piece.
 */
import type { FileHandle } from 'node:fs/promises';
import { gguf } from '@huggingface/gguf';
import { fileError, openFile, readFully } from '../files/read.js';
import { LutraError } from '../graph/errors.js';
import { type GgmlType, ggmlType } from './ggml-types.js';
import { checkGgufHeader } from './gguf-check.js';

/** A tensor of the file. Row major, `cols` fastest; a vector has one row. */
export interface GgufTensor {
  name: string;
  type: GgmlType;
  code: number;
  rows: number;
  cols: number;
  rowBytes: number;
  /** Absolute, in bytes. */
  offset: number;
}

export class GgufFile {
  private constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
    private readonly metadata: ReadonlyMap<string, unknown>,
    readonly tensors: ReadonlyMap<string, GgufTensor>,
  ) {}

  /** Opens and checks a file. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
  static async open(path: string): Promise<GgufFile> {
    const { handle, size } = await openFile(path);
    try {
      const headerEnd = checkGgufHeader(handle.fd, size, path);
      const { metadata, tensors } = await parse(path, headerEnd, size);
      return new GgufFile(path, size, handle, metadata, tensors);
    } catch (error) {
      await handle.close();
      throw fileError(path, error);
    }
  }

  async close(): Promise<void> {
    await this.handle.close();
  }

  private wrong(key: string, expected: string): LutraError {
    const found = this.metadata.has(key) ? 'is not' : 'is missing; expected';
    return new LutraError('LUTRA_BAD_FILE', `${this.path}: metadata ${key} ${found} ${expected}`, 'Export the file again.');
  }

  /** A finite number; without `fallback` the key must exist. */
  number(key: string, fallback?: number): number {
    const value = this.metadata.get(key);
    if (value === undefined && fallback !== undefined) return fallback;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isFinite(number)) throw this.wrong(key, 'a number');
    return number;
  }

  /** A number above 0. */
  positive(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    if (value <= 0) throw this.wrong(key, `above 0 (it is ${value})`);
    return value;
  }

  /** A whole number in [min, 2^31). */
  integer(key: string, min: number, fallback?: number): number {
    const value = this.number(key, fallback);
    if (!Number.isInteger(value) || value < min || value >= 2 ** 31)
      throw this.wrong(key, `a whole number from ${min} on (it is ${value})`);
    return value;
  }

  string(key: string, fallback?: string): string {
    const value = this.metadata.get(key) ?? fallback;
    if (typeof value !== 'string') throw this.wrong(key, 'a string');
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.metadata.get(key) ?? fallback;
    if (typeof value !== 'boolean') throw this.wrong(key, 'true or false');
    return value;
  }

  strings(key: string): string[] {
    const value = this.metadata.get(key);
    if (!Array.isArray(value) || !value.every((item): item is string => typeof item === 'string'))
      throw this.wrong(key, 'a list of strings');
    return value;
  }

  numbers(key: string): number[] {
    const value = this.metadata.get(key);
    if (!Array.isArray(value) || !value.every((item): item is number => typeof item === 'number'))
      throw this.wrong(key, 'a list of numbers');
    return value;
  }

  has(key: string): boolean {
    return this.metadata.has(key);
  }

  /** A tensor that must exist with the given shape; `rows` 1 for a vector. */
  tensor(name: string, rows: number, cols: number): GgufTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new LutraError('LUTRA_BAD_FILE', `${this.path} has no tensor ${name}`, 'The file is incomplete: export it again.');
    if (tensor.rows !== rows || tensor.cols !== cols) {
      const found = `${tensor.rows} × ${tensor.cols}`;
      throw new LutraError(
        'LUTRA_BAD_FILE',
        `${this.path}: tensor ${name} is ${found}, its metadata says ${rows} × ${cols}`,
        'Export the file again.',
      );
    }
    return tensor;
  }

  /** Bytes of `count` rows from `first` on. They fill `bytes`, when there is one. */
  async readRows(
    tensor: GgufTensor,
    first: number,
    count: number,
    bytes: Uint8Array = new Uint8Array(count * tensor.rowBytes),
  ): Promise<Uint8Array> {
    await readFully(this.handle, bytes, tensor.offset + first * tensor.rowBytes, this.path);
    return bytes;
  }

  /** The whole file, block by block; a block is valid until the next one is asked for. */
  async *blocks(blockBytes = 1 << 20): AsyncGenerator<Uint8Array, void> {
    const buffer = Buffer.allocUnsafeSlow(blockBytes);
    for (let at = 0; at < this.size; at += blockBytes) {
      const block = buffer.subarray(0, Math.min(blockBytes, this.size - at));
      await readFully(this.handle, block, at, this.path);
      yield block;
    }
  }
}

type Parsed = Awaited<ReturnType<typeof gguf>>;

async function parse(
  path: string,
  headerEnd: number,
  size: number,
): Promise<{ metadata: Map<string, unknown>; tensors: Map<string, GgufTensor> }> {
  let parsed: Parsed;
  try {
    parsed = await gguf(path, { allowLocalFile: true });
  } catch (error) {
    const failure = fileError(path, error);
    if (failure !== error) throw failure;
    throw new LutraError('LUTRA_BAD_FILE', `${path} is not a readable GGUF file: ${String(error)}`, 'Download or export the file again.', {
      cause: error,
    });
  }
  const metadata = new Map<string, unknown>(Object.entries(parsed.metadata));
  const alignment = Number(metadata.get('general.alignment') ?? 32);
  const bad = (what: string) =>
    new LutraError('LUTRA_BAD_FILE', `${path} is not a readable GGUF file: ${what}`, 'Download or export the file again.');
  if (!Number.isInteger(alignment) || alignment < 1 || alignment > 65_536 || (alignment & (alignment - 1)) !== 0) {
    throw bad(`its alignment is ${alignment}`);
  }
  const dataStart = Math.ceil(headerEnd / alignment) * alignment;
  const tensors = new Map<string, GgufTensor>();
  for (const info of parsed.tensorInfos) {
    const tensor = describe(info, dataStart);
    if (typeof tensor === 'string') throw bad(tensor);
    if (tensors.has(tensor.name)) throw bad(`tensor ${tensor.name} appears twice`);
    if (tensor.offset % alignment !== 0) throw bad(`tensor ${tensor.name} is not aligned to ${alignment} bytes`);
    const end = tensor.offset + tensor.rows * tensor.rowBytes;
    if (!Number.isSafeInteger(end) || end > size)
      throw bad(`tensor ${tensor.name} ends at byte ${end}, the file has ${size}: it is truncated`);
    tensors.set(tensor.name, tensor);
  }
  return { metadata, tensors };
}

/** One tensor, or what is wrong with its description. */
function describe(info: Parsed['tensorInfos'][number], dataStart: number): GgufTensor | string {
  const type = ggmlType(info.dtype);
  if (!type) return `tensor ${info.name} has the unknown type ${info.dtype}`;
  const [cols = 1, ...rest] = info.shape.map(Number);
  const rows = rest.reduce((product, length) => product * length, 1);
  if (cols % type.elements !== 0) return `tensor ${info.name} has ${cols} columns, ${type.name} needs a multiple of ${type.elements}`;
  const rowBytes = (cols / type.elements) * type.bytes;
  return { name: info.name, type, code: info.dtype, rows, cols, rowBytes, offset: dataStart + Number(info.offset) };
}
