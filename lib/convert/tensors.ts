/**
 * Tensors of cpu.safetensors and their data in lutra's layout, whatever kind of file they come from.
 *
 * Values never change unless a tensor is quantised anew: blocks and codes are packed as they are, BF16 widens to F32, vectors become F32. One slab of rows is in memory at a time.
 */
import { type BlockType, DTYPES, isBlockType, type LowBitType, lowBitFormat, needsWholeBlocks } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, CpuType, TensorSpec } from '../graph/spec.js';
import type { SafetensorsEntry } from './safetensors.js';
import { Scratch } from './scratch.js';
import type { TokenizerFiles } from './tokenizer-json.js';

/** The native functions that conversion needs; a part of the addon. */
export interface PackAddon {
  packGgml(type: number, blocks: Uint8Array, rows: number, cols: number): Uint8Array;
  /** Codes [rows, cols] of low-bit type `type` with scales and offsets [rows, groups of a row]. */
  packLowBit(type: number, rows: number, cols: number, codes: Uint8Array, scales: Float32Array, offsets: Float32Array | null): Uint8Array;
  /** Low-bit type `type` from floats [rows, cols]; `importance` [cols] weighs the errors of the columns; `threads`: 1 unless given. */
  quantizeLowBit(
    type: number,
    weights: Float32Array,
    rows: number,
    cols: number,
    importance: Float32Array | null,
    threads?: number,
  ): Uint8Array;
  /** Into `out` when there is one. */
  dequantizePacked(type: number, packed: Uint8Array, rows: number, cols: number, out?: Float32Array): Float32Array;
  /** Little-endian numbers as F32, exactly. False when one is infinite or no number. */
  widen(type: FloatType, bytes: Uint8Array, out: Float32Array): boolean;
  foldS8(options: FoldOptions): Promise<boolean>;
}

export type FloatType = 'F32' | 'F16' | 'BF16';

/** What vectors are multiplied by: v becomes (v ∘ diagonal) · (H ⊗ matrix), H the normalised Hadamard matrix. */
export interface FoldRotation {
  diagonal: Float32Array;
  /** Row major. */
  matrix: Float32Array;
}

/**
 * Rows of a matrix, rotated, as 8-bit codes with a scale per row: max|w| / 127, codes half to even. Resolves to false when a weight is infinite or no number. The arrays may neither
 * be read nor written nor detached until it has settled.
 */
export interface FoldOptions {
  /** [rows × cols]; overwritten when there is a rotation. */
  values: Float32Array;
  rows: number;
  cols: number;
  /** The first of the rows in the whole matrix, which has `total`. */
  first: number;
  total: number;
  rotation: FoldRotation | null;
  /** Whether the rotation is of the columns (each has one element of every output), which wants all rows at once, rather than of the rows. */
  outputs: boolean;
  /** Whether codes are those of the whole matrix, [cols × total]; else of the rows, [rows × cols]. */
  transpose: boolean;
  codes: Int8Array;
  /** Of the whole matrix. */
  scales: Float32Array;
  threads: number;
}

/** What slabs are made with. */
export interface SlabTools {
  addon: PackAddon;
  scratch: Scratch;
}

/** Consecutive rows of a tensor in the order of the original model; a multiple of 16 except at the end. Valid until the next slab is asked for with the same tools. */
export interface Slab {
  first: number;
  rows: number;
  /** As cpu.safetensors holds them in the imported type. */
  stored(): ArrayBufferView;
  /** Their values, row major, with the columns in the order of the input. */
  floats(): Float32Array;
}

/** Where the values of a tensor come from. */
export interface TensorSource {
  /** In the words of the file. */
  name: string;
  /** That are read. */
  bytes: number;
  slabs(tools: SlabTools): AsyncGenerator<Slab>;
}

/** One tensor of cpu.safetensors. */
export interface CpuTensor extends TensorSpec {
  name: string;
  source: TensorSource;
  /** What the source's values are held as without loss; another `type` is quantised anew from them. */
  imported: CpuType;
}

/** A model to convert: a file or directory that was opened, and what was found in it. */
export interface ModelSource {
  path: string;
  /** Of the model. */
  name: string;
  arch: ArchSpec;
  tokenizer: TokenizerFiles;
  /** In the order of cpu.safetensors. */
  tensors: CpuTensor[];
  /** Orders of columns that tensors name. */
  orders: ReadonlyMap<string, Uint32Array>;
  /** Of everything that {@link blocks} gives. */
  size: number;
  /** The weights as they lie in the files, block by block; a block is valid until the next one is asked for. */
  blocks(): AsyncGenerator<Uint8Array, void>;
  close(): Promise<void>;
}

/** Bytes of source data held at a time. */
const SLAB_BYTES = 4 << 20;
const TILE_ROWS = 16;
const BLOCK_COLS = 32;

/** ggml's block types: bytes of a packed block of 16 × 32. */
const GGML_PACKED_BYTES = { q4_0: 288, q4_1: 320, q8_0: 544 } as const;

/** Columns that share a scale are counted in blocks of 32; the last group may be shorter. */
export function groupsOf(group: number, cols: number): number {
  return group === 0 ? 1 : Math.ceil(Math.ceil(cols / BLOCK_COLS) / (group / BLOCK_COLS));
}

/** Bytes of a tile of 16 rows (docs/architecture.md, "Packed CPU weights"). */
function tileBytes(type: BlockType, cols: number): number {
  const chunks = Math.ceil(cols / BLOCK_COLS);
  if (needsWholeBlocks(type)) return chunks * GGML_PACKED_BYTES[type];
  const format = lowBitFormat(type);
  if (!format) throw new LutraError('LUTRA_INTERNAL', `${type} is no packed type`);
  const numbers = TILE_ROWS * (format.group === 0 ? 4 : 2) * (format.offset === 'none' ? 1 : 2);
  return chunks * 64 * format.bits + groupsOf(format.group, cols) * numbers;
}

/** Bytes of a packed weight: whole tiles of 16 rows. */
export function packedBytes(type: BlockType, rows: number, cols: number): number {
  return Math.ceil(rows / TILE_ROWS) * tileBytes(type, cols);
}

/** The entry of a tensor in the file: blocks are bytes, the rest has its own type. */
export function cpuEntry(tensor: CpuTensor): SafetensorsEntry {
  const { name, type, shape } = tensor;
  if (isBlockType(type)) return { name, dtype: 'U8', shape: [packedBytes(type, shape[0] ?? 1, shape[1] ?? 1)] };
  return { name, dtype: type === 'f16' ? 'F16' : 'F32', shape };
}

/** Where slabs begin and how many rows they have. `unit`: rows that must not be separated, beside tiles. */
export function* slabRanges(rows: number, rowBytes: number, unit = 1): Generator<{ first: number; count: number }> {
  const least = TILE_ROWS * unit;
  const step = least * Math.max(1, Math.floor(SLAB_BYTES / (least * rowBytes)));
  for (let first = 0; first < rows; first += step) yield { first, count: Math.min(step, rows - first) };
}

/** `at`: of the first bad value in a slab; below 0: there is none. */
export function checkFinite(path: string, name: string, at: number): void {
  if (at >= 0) throw notFiniteError(path, name);
}

function notFiniteError(path: string, name: string): LutraError {
  return new LutraError('LUTRA_BAD_FILE', `${path}: tensor ${name} holds infinities or what is no number`, 'Export the file again.');
}

/** Rows of F32, F16 or BF16 as they are, checked. Vectors are F32 whatever the file has. */
export function plainSlab(
  path: string,
  name: string,
  type: FloatType,
  bytes: Uint8Array,
  place: { first: number; rows: number; vector: boolean },
  { addon, scratch }: SlabTools,
): Slab {
  const { vector, ...rows } = place;
  const floats = scratch.floats('slab', bytes.length / (type === 'F32' ? 4 : 2));
  if (!addon.widen(type, bytes, floats)) throw notFiniteError(path, name);
  return { ...rows, stored: () => (type === 'F16' && !vector ? bytes : floats), floats: () => floats };
}

/** Codes of rows with their numbers: [rows, cols], [rows, groups of a row], the same. */
export interface LowBitRows {
  codes: Uint8Array;
  scales: Float32Array;
  offsets: Float32Array | null;
}

/** Rows of a low-bit type. `order`: for each stored column the input's; null: the same. */
export function lowBitSlab(
  { addon, scratch }: SlabTools,
  type: LowBitType,
  { codes, scales, offsets }: LowBitRows,
  place: { first: number; rows: number; cols: number; order: Uint32Array | null },
): Slab {
  const { first, rows, cols, order } = place;
  const { code } = DTYPES[type];
  const packed = addon.packLowBit(code, rows, cols, codes, scales, offsets);
  const floats = (): Float32Array => {
    const values = addon.dequantizePacked(code, packed, rows, cols, scratch.floats('slab', rows * cols));
    if (order === null) return values;
    const out = scratch.floats('ordered', values.length);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) out[row * cols + order[col]!] = values[row * cols + col]!;
    }
    return out;
  };
  return { first, rows, stored: () => packed, floats };
}

/** How values are quantised anew, and with what. */
export interface Requantising extends SlabTools {
  /** [cols]: how much the columns matter; null: all alike. */
  importance: Float32Array | null;
  threads: number;
}

/** Data of a tensor as cpu.safetensors holds them, in pieces. */
export async function* cpuData(tensor: CpuTensor, { importance, threads, ...tools }: Requantising): AsyncGenerator<ArrayBufferView> {
  const { name, source, type, imported, shape } = tensor;
  const [, cols = 1] = shape;
  for await (const slab of source.slabs(tools)) {
    if (type !== imported) {
      if (!isBlockType(type)) throw new LutraError('LUTRA_INTERNAL', `${name} cannot become ${type}`);
      yield tools.addon.quantizeLowBit(DTYPES[type].code, slab.floats(), slab.rows, cols, importance, threads);
      continue;
    }
    const data = slab.stored();
    if (isBlockType(type) && data.byteLength !== packedBytes(type, slab.rows, cols))
      throw new LutraError('LUTRA_INTERNAL', `packing ${slab.rows} rows of ${name} gave ${data.byteLength} bytes`);
    yield data;
  }
}

/** A whole tensor as F32, row major, in the original order of rows and columns: the source's values. */
export async function denseF32(tensor: CpuTensor, addon: PackAddon): Promise<Float32Array> {
  const [rows = 1, cols = 1] = tensor.shape;
  const out = new Float32Array(rows * cols);
  for await (const slab of tensor.source.slabs({ addon, scratch: new Scratch() })) out.set(slab.floats(), slab.first * cols);
  return out;
}
