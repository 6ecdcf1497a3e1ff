/** Rows of ggml's block types as they are packed, kept bit for bit. */
import { DTYPES } from '../graph/dtype.js';
import { notFiniteHalf } from './floats.js';
import { checkFinite, type Slab, type SlabTools } from './tensors.js';

export type GgmlBlocks = 'q4_0' | 'q4_1' | 'q8_0';

/** How many halves a block begins with, and its bytes. */
const BLOCKS = { q4_0: { halves: 1, bytes: 18 }, q4_1: { halves: 2, bytes: 20 }, q8_0: { halves: 1, bytes: 34 } } as const;

/** Bytes of a row of whole blocks. */
export function ggmlRowBytes(type: GgmlBlocks, cols: number): number {
  return (cols / 32) * BLOCKS[type].bytes;
}

/** Rows of whole blocks, their scales checked. `name`: of the tensor in the file at `path`. */
export function ggmlSlab(
  path: string,
  name: string,
  type: GgmlBlocks,
  bytes: Uint8Array,
  { first, rows, cols }: { first: number; rows: number; cols: number },
  { addon, scratch }: SlabTools,
): Slab {
  const { code } = DTYPES[type];
  checkFinite(path, name, notFiniteHalf(blockHalves(bytes, type)));
  const packed = addon.packGgml(code, bytes, rows, cols);
  return {
    first,
    rows,
    stored: () => packed,
    floats: () => addon.dequantizePacked(code, packed, rows, cols, scratch.floats('slab', rows * cols)),
  };
}

/** Scales and minima of blocks. */
function blockHalves(bytes: Uint8Array, type: GgmlBlocks): Uint16Array {
  const { halves, bytes: block } = BLOCKS[type];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = new Uint16Array((bytes.length / block) * halves);
  for (let i = 0; i < out.length; i++) out[i] = view.getUint16(Math.floor(i / halves) * block + 2 * (i % halves), true);
  return out;
}
