/** Slow, obvious forms of the native packing functions, and random ggml blocks. What the native ones are compared with. */
import { fromHalf, toHalf } from '../../lib/convert/floats.js';
import type { Random } from './random.js';

export type BlockName = 'q4_0' | 'q4_1' | 'q8_0';

/** ggml code, plan dtype code, bytes of a ggml block of 32 and of its header (d, m). */
export const BLOCKS: Record<BlockName, { ggml: number; plan: number; bytes: number; header: number }> = {
  q4_0: { ggml: 2, plan: 16, bytes: 18, header: 2 },
  q4_1: { ggml: 3, plan: 17, bytes: 20, header: 4 },
  q8_0: { ggml: 8, plan: 18, bytes: 34, header: 2 },
};

function byPlanCode(code: number): BlockName {
  const found = (Object.keys(BLOCKS) as BlockName[]).find((name) => BLOCKS[name].plan === code);
  if (!found) throw new Error(`no block type ${code}`);
  return found;
}

/** Random blocks with scales that are ordinary numbers. */
export function randomBlocks(random: Random, name: BlockName, rows: number, cols: number): Uint8Array {
  const { bytes, header } = BLOCKS[name];
  const out = new Uint8Array(rows * (cols / 32) * bytes);
  const view = new DataView(out.buffer);
  for (let at = 0; at < out.length; at += bytes) {
    for (let i = 0; i < bytes; i++) out[at + i] = random.below(256);
    for (let i = 0; i < header; i += 2) view.setUint16(at + i, toHalf(random.normal() * 0.05), true);
  }
  return out;
}

/** Codes of one ggml block: element i of 32. */
function codes(name: BlockName, block: Uint8Array): number[] {
  const { header } = BLOCKS[name];
  return Array.from({ length: 32 }, (_, i) => {
    if (name === 'q8_0') return ((block[header + i] ?? 0) << 24) >> 24;
    const byte = block[header + (i % 16)] ?? 0;
    return i < 16 ? byte & 15 : byte >> 4;
  });
}

/** Values of ggml blocks, row major. */
export function ggmlValues(name: BlockName, blocks: Uint8Array): Float32Array {
  const { bytes } = BLOCKS[name];
  const out: number[] = [];
  for (let at = 0; at < blocks.length; at += bytes) {
    const block = blocks.subarray(at, at + bytes);
    const view = new DataView(block.buffer, block.byteOffset, bytes);
    const d = fromHalf(view.getUint16(0, true));
    for (const code of codes(name, block)) {
      if (name === 'q4_0') out.push((code - 8) * d);
      else if (name === 'q4_1') out.push(Math.fround(code * d) + fromHalf(view.getUint16(2, true)));
      else out.push(code * d);
    }
  }
  return Float32Array.from(out);
}

/** docs/architecture.md, "Packed CPU weights", by the letter. */
export function packGgml(code: number, ggml: Uint8Array, rows: number, cols: number): Uint8Array {
  const name = byPlanCode(code);
  const { bytes, header } = BLOCKS[name];
  const dataBytes = bytes - header;
  const packedBlock = 16 * bytes;
  const blocksPerRow = cols / 32;
  const out = new Uint8Array(Math.ceil(rows / 16) * blocksPerRow * packedBlock);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocksPerRow; block++) {
      const from = (row * blocksPerRow + block) * bytes;
      const to = (Math.floor(row / 16) * blocksPerRow + block) * packedBlock;
      const r = row % 16;
      for (let i = 0; i < dataBytes; i++) out[to + 64 * Math.floor(i / 4) + 4 * r + (i % 4)] = ggml[from + header + i] ?? 0;
      for (let h = 0; h < header; h += 2) {
        for (let i = 0; i < 2; i++) out[to + 16 * dataBytes + 16 * h + 2 * r + i] = ggml[from + h + i] ?? 0;
      }
    }
  }
  return out;
}

/** Values of a packed weight, row major. */
export function dequantizePacked(code: number, packed: Uint8Array, rows: number, cols: number): Float32Array {
  const name = byPlanCode(code);
  const { bytes, header } = BLOCKS[name];
  const blocksPerRow = cols / 32;
  const ggml = new Uint8Array(rows * blocksPerRow * bytes);
  for (let row = 0; row < rows; row++) {
    for (let block = 0; block < blocksPerRow; block++) {
      const to = (row * blocksPerRow + block) * bytes;
      const from = (Math.floor(row / 16) * blocksPerRow + block) * 16 * bytes;
      const r = row % 16;
      for (let i = 0; i < bytes - header; i++) ggml[to + header + i] = packed[from + 64 * Math.floor(i / 4) + 4 * r + (i % 4)] ?? 0;
      for (let h = 0; h < header; h++) {
        ggml[to + h] = packed[from + 16 * (bytes - header) + 32 * Math.floor(h / 2) + 2 * r + (h % 2)] ?? 0;
      }
    }
  }
  return ggmlValues(name, ggml);
}

/** Codes and scales per output channel: max|w| / 127, half to even. */
export function quantizeS8(
  weights: Float32Array,
  rows: number,
  cols: number,
  transpose: boolean,
): { codes: Int8Array; scales: Float32Array } {
  const out = new Int8Array(rows * cols);
  const scales = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let largest = 0;
    for (let col = 0; col < cols; col++) largest = Math.max(largest, Math.abs(weights[row * cols + col] ?? 0));
    const scale = Math.fround(largest / 127);
    scales[row] = scale;
    for (let col = 0; col < cols; col++) {
      const exact = scale === 0 ? 0 : Math.fround((weights[row * cols + col] ?? 0) / scale);
      const floor = Math.floor(exact);
      const even = exact - floor === 0.5 ? floor + (((floor % 2) + 2) % 2) : Math.round(exact);
      out[transpose ? col * rows + row : row * cols + col] = Math.max(-127, Math.min(127, even));
    }
  }
  return { codes: out, scales };
}
