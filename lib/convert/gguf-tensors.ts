/** Which tensors of a GGUF file become which tensors of cpu.safetensors, and how they are read. */
import { type BlockType, isBlockType, needsWholeBlocks } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, CpuType, LinearName } from '../graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape, modelFamily } from '../models/index.js';
import type { GgufFamily } from './families/index.js';
import { ggmlSlab } from './ggml-blocks.js';
import type { GgufFile, GgufTensor } from './gguf.js';
import { GGUF_LINEARS } from './gguf-arch.js';
import { unpermuteRows } from './rows.js';
import { type CpuTensor, lowBitSlab, plainSlab, type Slab, type SlabTools, slabRanges } from './tensors.js';
import { ternaryRows } from './ternary.js';

/** Where a tensor lies and what has to be done to its rows. */
interface Stored {
  file: GgufFile;
  source: GgufTensor;
  imported: CpuType;
  /** Rows of a head, when q and k go back to their original order; 1: they stay. */
  headDim: number;
  /** Of one dimension. */
  vector: boolean;
}

function importType(file: GgufFile, source: GgufTensor): CpuType {
  if (source.type.cpu) return source.type.cpu;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `${file.path}: tensor ${source.name} has type ${source.type.name}`,
    'lutra converts F32, F16, BF16, Q4_0, Q4_1 and Q8_0: quantise the model to one of these.',
  );
}

function sourceOf(stored: Stored): CpuTensor['source'] {
  const { source } = stored;
  return { name: source.name, bytes: source.rows * source.rowBytes, slabs: (tools) => slabs(stored, tools) };
}

function vector(file: GgufFile, name: string, from: string, length: number, headDim = 1): CpuTensor {
  const source = file.tensor(from, 1, length);
  const imported = importType(file, source);
  if (isBlockType(imported))
    throw new LutraError('LUTRA_UNSUPPORTED', `${file.path}: tensor ${from} has type ${source.type.name}; vectors are F32, F16 or BF16`);
  return { name, source: sourceOf({ file, source, imported, headDim, vector: true }), type: 'f32', imported: 'f32', shape: [length] };
}

function matrix(file: GgufFile, name: string, from: string, rows: number, cols: number, headDim = 1): CpuTensor {
  const source = file.tensor(from, rows, cols);
  const imported = importType(file, source);
  return { name, source: sourceOf({ file, source, imported, headDim, vector: false }), type: imported, imported, shape: [rows, cols] };
}

/** All tensors of cpu.safetensors in file order. A tensor of the GGUF file that nothing uses means a model that lutra does not know. */
export function listGgufTensors(file: GgufFile, arch: ArchSpec, family: GgufFamily): CpuTensor[] {
  const { qkNorm } = modelFamily(arch.family);
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
    if (qkNorm)
      for (const name of ['q', 'k'])
        list.push(vector(file, `layers.${layer}.${name}_norm`, `${block}attn_${name}_norm.weight`, arch.headDim));
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
  const headDim = family.permutedQk && (linear === 'q' || linear === 'k') ? arch.headDim : 1;
  const tensors = [matrix(file, key, `${from}.weight`, rows, cols, headDim)];
  if (arch.qkvBias && (linear === 'q' || linear === 'k' || linear === 'v'))
    tensors.push(vector(file, `${key}.bias`, `${from}.bias`, rows, headDim));
  return tensors;
}

/** Source rows in the original order. */
async function* slabs({ file, source, imported, headDim, vector }: Stored, tools: SlabTools): AsyncGenerator<Slab> {
  const { rows, cols, rowBytes, name, type } = source;
  // Of a vector, the elements are what moves.
  const unit = vector ? type.bytes : rowBytes;
  for (const { first, count } of slabRanges(rows, rowBytes, headDim)) {
    const read = await file.readRows(source, first, count, tools.scratch.bytes('read', count * rowBytes));
    const bytes = headDim > 1 ? unpermuteRows(read, unit, headDim) : read;
    if (isBlockType(imported)) yield packedSlab(file.path, source, imported, bytes, { first, rows: count, cols }, tools);
    else yield plainSlab(file.path, name, plainType(source), bytes, { first, rows: count, vector }, tools);
  }
}

/** Rows of blocks, kept bit for bit. */
function packedSlab(
  path: string,
  source: GgufTensor,
  imported: BlockType,
  bytes: Uint8Array,
  place: { first: number; rows: number; cols: number },
  tools: SlabTools,
): Slab {
  if (!needsWholeBlocks(imported))
    return lowBitSlab(tools, imported, ternaryRows(path, source.name, source.type.name, bytes), { ...place, order: null });
  return ggmlSlab(path, source.name, imported, bytes, place, tools);
}

function plainType(source: GgufTensor): 'F32' | 'F16' | 'BF16' {
  const { name } = source.type;
  if (name === 'F32' || name === 'F16' || name === 'BF16') return name;
  throw new LutraError('LUTRA_INTERNAL', `${source.name} of type ${name} is not plain`);
}
