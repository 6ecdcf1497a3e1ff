/**
 * Which tensors of a GGUF file become which tensors of cpu.safetensors, and their data in lutra's layout.
 *
 * Values never change: blocks are packed as they are, BF16 widens to F32, vectors become F32. One slab of rows is in memory at a time.
 */
import { type BlockType, DTYPES, isBlockType, lowBitFormat, needsWholeBlocks } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, CpuType, LinearName, TensorSpec } from '../graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape } from '../models/index.js';
import { GGUF_LINEARS, type GgufFamily } from './families.js';
import { floatsOf, notFinite, notFiniteHalf } from './floats.js';
import type { GgufFile, GgufTensor } from './gguf.js';
import { unpermuteRows } from './rows.js';
import type { SafetensorsEntry } from './safetensors.js';

/** The native functions that conversion needs; a part of the addon. */
export interface PackAddon {
  packGgml(type: number, blocks: Uint8Array, rows: number, cols: number): Uint8Array;
  /** Low-bit type `type` from floats [rows, cols]; `importance` [cols] weighs the errors of the columns. */
  quantizeLowBit(type: number, weights: Float32Array, rows: number, cols: number, importance: Float32Array | null): Uint8Array;
  dequantizePacked(type: number, packed: Uint8Array, rows: number, cols: number): Float32Array;
  quantizeS8(weights: Float32Array, rows: number, cols: number, transpose: boolean): { codes: Int8Array; scales: Float32Array };
}

/** One tensor of cpu.safetensors and where it comes from. */
export interface CpuTensor extends TensorSpec {
  name: string;
  source: GgufTensor;
  /** What the source's values are held as without loss; another `type` is quantised anew from them. */
  imported: CpuType;
  /** Rows of q and k go back to their original order, head by head. */
  unpermute: boolean;
}

/** Bytes of source data held at a time. */
const SLAB_BYTES = 4 << 20;
const TILE_ROWS = 16;
const BLOCK_COLS = 32;

/** ggml's block types: bytes of a packed block of 16 × 32, and with how many halves a ggml block begins. */
const GGML_BLOCKS = {
  q4_0: { packedBytes: 288, halves: 1 },
  q4_1: { packedBytes: 320, halves: 2 },
  q8_0: { packedBytes: 544, halves: 1 },
} as const;

/** Bytes of a tile of 16 rows (docs/architecture.md, "Packed CPU weights"). */
function tileBytes(type: BlockType, cols: number): number {
  const chunks = Math.ceil(cols / BLOCK_COLS);
  if (needsWholeBlocks(type)) return chunks * GGML_BLOCKS[type].packedBytes;
  const format = lowBitFormat(type);
  if (!format) throw new LutraError('LUTRA_INTERNAL', `${type} is no packed type`);
  const groups = format.group === 0 ? 1 : Math.ceil(chunks / (format.group / BLOCK_COLS));
  const numbers = TILE_ROWS * (format.group === 0 ? 4 : 2) * (format.offset === 'none' ? 1 : 2);
  return chunks * 64 * format.bits + groups * numbers;
}

/** Bytes of a packed weight: whole tiles of 16 rows. */
export function packedBytes(type: BlockType, rows: number, cols: number): number {
  return Math.ceil(rows / TILE_ROWS) * tileBytes(type, cols);
}

function importType(file: GgufFile, source: GgufTensor): CpuType {
  if (source.type.cpu) return source.type.cpu;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `${file.path}: tensor ${source.name} has type ${source.type.name}`,
    'lutra converts F32, F16, BF16, Q4_0, Q4_1 and Q8_0: quantise the model to one of these.',
  );
}

function vector(file: GgufFile, name: string, from: string, length: number): CpuTensor {
  const source = file.tensor(from, 1, length);
  const type = importType(file, source);
  if (isBlockType(type))
    throw new LutraError('LUTRA_UNSUPPORTED', `${file.path}: tensor ${from} has type ${source.type.name}; vectors are F32, F16 or BF16`);
  return { name, source, type: 'f32', imported: type, shape: [length], unpermute: false };
}

function matrix(file: GgufFile, name: string, from: string, rows: number, cols: number): CpuTensor {
  const source = file.tensor(from, rows, cols);
  const type = importType(file, source);
  return { name, source, type, imported: type, shape: [rows, cols], unpermute: false };
}

/** All tensors of cpu.safetensors in file order. A tensor of the GGUF file that nothing uses means a model that lutra does not know. */
export function listCpuTensors(file: GgufFile, arch: ArchSpec, family: GgufFamily): CpuTensor[] {
  const list = [
    matrix(file, 'embed', 'token_embd.weight', arch.vocab, arch.hidden),
    vector(file, 'norm', 'output_norm.weight', arch.hidden),
  ];
  if (!arch.tied) list.push(matrix(file, 'lm_head', 'output.weight', arch.vocab, arch.hidden));
  if (arch.ropeFactors) list.push(vector(file, 'rope_factors', 'rope_freqs.weight', arch.headDim / 2));
  for (let layer = 0; layer < arch.layers; layer++) {
    const block = `blk.${layer}.`;
    list.push(vector(file, `layers.${layer}.attn_norm`, `${block}attn_norm.weight`, arch.hidden));
    list.push(vector(file, `layers.${layer}.ffn_norm`, `${block}ffn_norm.weight`, arch.hidden));
    for (const linear of LINEAR_NAMES) list.push(...linearTensors(file, arch, family, layer, linear));
  }
  const used = new Set(list.map((tensor) => tensor.source.name));
  const unused = [...file.tensors.keys()].find((name) => !used.has(name));
  if (unused !== undefined) {
    throw new LutraError(
      'LUTRA_UNSUPPORTED',
      `${file.path}: tensor ${unused} is none that lutra knows in this architecture`,
      'The model computes something that lutra does not.',
    );
  }
  return list;
}

function linearTensors(file: GgufFile, arch: ArchSpec, family: GgufFamily, layer: number, linear: LinearName): CpuTensor[] {
  const [rows, cols] = linearShape(arch, linear);
  const key = linearKey(layer, linear);
  const from = `blk.${layer}.${GGUF_LINEARS[linear]}`;
  const unpermute = family.permutedQk && (linear === 'q' || linear === 'k');
  const tensors = [{ ...matrix(file, key, `${from}.weight`, rows, cols), unpermute }];
  if (arch.qkvBias && (linear === 'q' || linear === 'k' || linear === 'v')) {
    tensors.push({ ...vector(file, `${key}.bias`, `${from}.bias`, rows), unpermute });
  }
  return tensors;
}

/** The entry of a tensor in the file: blocks are bytes, the rest has its own type. */
export function cpuEntry(tensor: CpuTensor): SafetensorsEntry {
  const { name, type, shape } = tensor;
  if (isBlockType(type)) return { name, dtype: 'U8', shape: [packedBytes(type, shape[0] ?? 1, shape[1] ?? 1)] };
  return { name, dtype: type === 'f16' ? 'F16' : 'F32', shape };
}

/** Source rows in the original order, slab by slab. A slab is a multiple of 16 rows (and of a head, when rows move) except the last. */
async function* slabs(
  file: GgufFile,
  tensor: CpuTensor,
  headDim: number,
): AsyncGenerator<{ first: number; rows: number; bytes: Uint8Array }> {
  const { source, unpermute } = tensor;
  if (source.rows === 1) {
    // A vector: its elements are what moves.
    const bytes = await file.readRows(source, 0, 1);
    yield { first: 0, rows: 1, bytes: unpermute ? unpermuteRows(bytes, source.type.bytes, headDim) : bytes };
    return;
  }
  const unit = unpermute ? TILE_ROWS * headDim : TILE_ROWS;
  const step = unit * Math.max(1, Math.floor(SLAB_BYTES / (unit * source.rowBytes)));
  for (let first = 0; first < source.rows; first += step) {
    const rows = Math.min(step, source.rows - first);
    const bytes = await file.readRows(source, first, rows);
    yield { first, rows, bytes: unpermute ? unpermuteRows(bytes, source.rowBytes, headDim) : bytes };
  }
}

/** Data of a tensor as cpu.safetensors holds them, in pieces. `importance` [cols]: how much the columns matter where values are quantised anew. */
export async function* cpuData(
  file: GgufFile,
  tensor: CpuTensor,
  headDim: number,
  addon: PackAddon,
  importance: Float32Array | null = null,
): AsyncGenerator<ArrayBufferView> {
  const { source, type, imported } = tensor;
  for await (const { rows, bytes } of slabs(file, tensor, headDim)) {
    checkSlab(file, tensor, bytes);
    if (type !== imported && lowBitFormat(type)) {
      yield addon.quantizeLowBit(DTYPES[type].code, floatsOfSlab(addon, tensor, bytes, rows), rows, source.cols, importance);
    } else if (isBlockType(type)) yield checkedPack(addon, tensor, type, bytes, rows);
    else if (type === 'f16') yield bytes;
    else yield floatsOf(plainType(source), bytes);
  }
}

/** Scales and minima of ggml blocks. */
function blockHalves(bytes: Uint8Array, blockBytes: number, halves: number): Uint16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = new Uint16Array((bytes.length / blockBytes) * halves);
  for (let i = 0; i < out.length; i++) out[i] = view.getUint16(Math.floor(i / halves) * blockBytes + 2 * (i % halves), true);
  return out;
}

/** `at`: of the first bad value in a slab; below 0: there is none. */
function checkFinite(file: GgufFile, source: GgufTensor, at: number): void {
  if (at < 0) return;
  throw new LutraError(
    'LUTRA_BAD_FILE',
    `${file.path}: tensor ${source.name} holds infinities or what is no number`,
    'Export the file again.',
  );
}

function checkSlab(file: GgufFile, { source, imported }: CpuTensor, bytes: Uint8Array): void {
  if (needsWholeBlocks(imported))
    checkFinite(file, source, notFiniteHalf(blockHalves(bytes, source.type.bytes, GGML_BLOCKS[imported].halves)));
  else if (imported === 'f16') checkFinite(file, source, notFiniteHalf(new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2)));
  else checkFinite(file, source, notFinite(floatsOf(plainType(source), bytes)));
}

function checkedPack(addon: PackAddon, tensor: CpuTensor, type: BlockType, bytes: Uint8Array, rows: number): Uint8Array {
  const packed = addon.packGgml(DTYPES[type].code, bytes, rows, tensor.source.cols);
  if (packed.length !== packedBytes(type, rows, tensor.source.cols)) {
    throw new LutraError('LUTRA_INTERNAL', `packing ${rows} rows of ${tensor.name} gave ${packed.length} bytes`);
  }
  return packed;
}

/** Rows of the source as F32. */
function floatsOfSlab(addon: PackAddon, tensor: CpuTensor, bytes: Uint8Array, rows: number): Float32Array {
  const { source, imported } = tensor;
  if (!isBlockType(imported)) return floatsOf(plainType(source), bytes);
  return addon.dequantizePacked(DTYPES[imported].code, checkedPack(addon, tensor, imported, bytes, rows), rows, source.cols);
}

function plainType(source: GgufTensor): 'F32' | 'F16' | 'BF16' {
  const { name } = source.type;
  if (name === 'F32' || name === 'F16' || name === 'BF16') return name;
  throw new LutraError('LUTRA_INTERNAL', `${source.name} of type ${name} is not plain`);
}

/** A whole tensor as F32, row major, in the original row order: the source's values. */
export async function denseF32(file: GgufFile, tensor: CpuTensor, headDim: number, addon: PackAddon): Promise<Float32Array> {
  const { source } = tensor;
  const out = new Float32Array(source.rows * source.cols);
  for await (const { first, rows, bytes } of slabs(file, tensor, headDim))
    out.set(floatsOfSlab(addon, tensor, bytes, rows), first * source.cols);
  return out;
}
