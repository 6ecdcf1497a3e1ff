/** Matrices in ggml's block types, by the names of Hugging Face. */
import { type GgmlBlocks, ggmlRowBytes, ggmlSlab } from '../ggml-blocks.js';
import { slabRanges, type TensorSource } from '../tensors.js';
import type { Checkpoint } from './checkpoint.js';
import type { LowBitMatrix } from './grouped.js';

const TYPES: Readonly<Record<string, GgmlBlocks>> = { Q4_0: 'q4_0', Q4_1: 'q4_1', Q8_0: 'q8_0' };

/** null: it is in no blocks. Errors: LUTRA_BAD_FILE. */
export function openBlocks(checkpoint: Checkpoint, prefix: string, rows: number, cols: number): LowBitMatrix<GgmlBlocks> | null {
  const name = `${prefix}.weight`;
  const dtype = checkpoint.tensors.get(name)?.dtype ?? '';
  const type = Object.hasOwn(TYPES, dtype) ? TYPES[dtype] : undefined;
  if (type === undefined) return null;
  const tensor = checkpoint.tensor(name, [dtype], [rows, cols]);
  if (cols % 32 !== 0) throw checkpoint.bad(`tensor ${name} has ${cols} columns, which are no whole blocks of ${dtype}`);
  const rowBytes = ggmlRowBytes(type, cols);
  const slabs: TensorSource['slabs'] = async function* (tools) {
    for (const { first, count } of slabRanges(rows, rowBytes)) {
      const bytes = await checkpoint.read(tensor, first * rowBytes, count * rowBytes, tools.scratch.bytes('read', count * rowBytes));
      yield ggmlSlab(checkpoint.path, name, type, bytes, { first, rows: count, cols }, tools);
    }
  };
  return { type, order: null, used: [name], source: { name, bytes: tensor.end - tensor.begin, slabs } };
}
