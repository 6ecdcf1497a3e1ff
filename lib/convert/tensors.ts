/**
 * Tensors of cpu.safetensors and their data in lutra's layout, whatever kind of file they come from.
 *
 * Values never change unless a tensor is quantised anew: blocks and codes are packed as they are, BF16 widens to F32, vectors become F32. One slab of rows is in memory at a time.
 */
import { type BlockType, DTYPES, isBlockType, type LowBitType, lowBitFormat, needsWholeBlocks } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, CpuType, TensorSpec } from '../graph/spec.js';
import { floatsOf, notFinite } from './floats.js';
import type { SafetensorsEntry } from './safetensors.js';
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
  dequantizePacked(type: number, packed: Uint8Array, rows: number, cols: number): Float32Array;
  quantizeS8(weights: Float32Array, rows: number, cols: number, transpose: boolean): { codes: Int8Array; scales: Float32Array };
}

/** Consecutive rows of a tensor in the order of the original model; a multiple of 16 except at the end. */
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
  slabs(addon: PackAddon): AsyncGenerator<Slab>;
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
  if (at < 0) return;
  throw new LutraError('LUTRA_BAD_FILE', `${path}: tensor ${name} holds infinities or what is no number`, 'Export the file again.');
}

/** Rows of F32, F16 or BF16 as they are, checked. Vectors are F32 whatever the file has. */
export function plainSlab(
  path: string,
  name: string,
  type: 'F32' | 'F16' | 'BF16',
  bytes: Uint8Array,
  place: { first: number; rows: number; vector: boolean },
): Slab {
  const { vector, ...rows } = place;
  const floats = floatsOf(type, bytes);
  checkFinite(path, name, notFinite(floats));
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
  addon: PackAddon,
  type: LowBitType,
  { codes, scales, offsets }: LowBitRows,
  place: { first: number; rows: number; cols: number; order: Uint32Array | null },
): Slab {
  const { first, rows, cols, order } = place;
  const { code } = DTYPES[type];
  const packed = addon.packLowBit(code, rows, cols, codes, scales, offsets);
  const floats = (): Float32Array => {
    const values = addon.dequantizePacked(code, packed, rows, cols);
    if (order === null) return values;
    const out = new Float32Array(values.length);
    for (let row = 0; row < rows; row++) {
      for (let col = 0; col < cols; col++) out[row * cols + order[col]!] = values[row * cols + col]!;
    }
    return out;
  };
  return { first, rows, stored: () => packed, floats };
}

/** How values are quantised anew. */
export interface Requantising {
  /** [cols]: how much the columns matter; null: all alike. */
  importance: Float32Array | null;
  threads: number;
}

/** Data of a tensor as cpu.safetensors holds them, in pieces. */
export async function* cpuData(
  tensor: CpuTensor,
  addon: PackAddon,
  { importance, threads }: Requantising,
): AsyncGenerator<ArrayBufferView> {
  const { name, source, type, imported, shape } = tensor;
  const [, cols = 1] = shape;
  for await (const slab of source.slabs(addon)) {
    if (type !== imported) {
      if (!isBlockType(type)) throw new LutraError('LUTRA_INTERNAL', `${name} cannot become ${type}`);
      yield addon.quantizeLowBit(DTYPES[type].code, slab.floats(), slab.rows, cols, importance, threads);
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
  for await (const slab of tensor.source.slabs(addon)) out.set(slab.floats(), slab.first * cols);
  return out;
}
