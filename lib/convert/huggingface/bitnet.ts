/**
 * Linears of BitNet b1.58 as Hugging Face packs them: ternary weights in 2 bits, four outputs of an input in a byte (output i · rows/4 + p in bits 2i of byte row p, stored as
 * value + 1), and one scale for the whole matrix.
 */
import { floatsOf, notFinite } from '../floats.js';
import { checkFinite, lowBitSlab, type SlabTools, slabRanges, type TensorSource } from '../tensors.js';
import type { Checkpoint } from './checkpoint.js';
import type { LowBitMatrix } from './grouped.js';

/** Two bits with a scale per row, in F32: exact for any scale. */
const TYPE = 'w2row';

function tensorsOf(checkpoint: Checkpoint, prefix: string, rows: number, cols: number) {
  if (rows % 4 !== 0) throw checkpoint.bad(`${prefix} has ${rows} outputs, which do not fill bytes of four`);
  const weight = checkpoint.tensor(`${prefix}.weight`, ['U8'], [rows / 4, cols]);
  const scale = checkpoint.tensor(`${prefix}.weight_scale`, ['BF16', 'F16', 'F32'], [1]);
  return { weight, scale };
}

/** Errors: LUTRA_BAD_FILE. `inverse`: values are divided by the scale. */
export function openBitnet(checkpoint: Checkpoint, inverse: boolean, prefix: string, rows: number, cols: number): LowBitMatrix {
  const { weight } = tensorsOf(checkpoint, prefix, rows, cols);
  return {
    type: TYPE,
    order: null,
    used: [`${prefix}.weight`, `${prefix}.weight_scale`],
    source: {
      name: prefix,
      bytes: weight.end - weight.begin,
      slabs: (tools) => slabs(checkpoint, inverse, prefix, rows, cols, tools),
    },
  };
}

async function* slabs(
  checkpoint: Checkpoint,
  inverse: boolean,
  prefix: string,
  rows: number,
  cols: number,
  tools: SlabTools,
): ReturnType<TensorSource['slabs']> {
  const tensors = tensorsOf(checkpoint, prefix, rows, cols);
  const stored = floatsOf(tensors.scale.dtype as 'BF16' | 'F16' | 'F32', await checkpoint.read(tensors.scale));
  const scales = inverse ? stored.map((scale) => 1 / scale) : stored;
  for (const scale of [stored, scales]) checkFinite(checkpoint.path, `${prefix}.weight_scale`, notFinite(scale));
  const { begin, end } = tensors.weight;
  const packed = await checkpoint.read(tensors.weight, 0, end - begin, tools.scratch.bytes('whole', end - begin));
  const quarter = rows / 4;
  for (const { first, count } of slabRanges(rows, cols)) {
    const codes = tools.scratch.bytes('codes', count * cols);
    for (let row = 0; row < count; row++) {
      const part = Math.floor((first + row) / quarter);
      const from = (first + row - part * quarter) * cols;
      for (let col = 0; col < cols; col++) {
        const ternary = (packed[from + col]! >>> (2 * part)) & 3;
        if (ternary === 3) throw checkpoint.bad(`${prefix}.weight holds a code 3 in row ${first + row}; ternary codes are 0, 1 and 2`);
        // Of two bits around zero, the codes 1, 2 and 3 are −1, 0 and 1.
        codes[row * cols + col] = ternary + 1;
      }
    }
    const place = { first, rows: count, cols, order: null };
    yield lowBitSlab(tools, TYPE, { codes, scales: new Float32Array(count).fill(scales[0] ?? 0), offsets: null }, place);
  }
}
