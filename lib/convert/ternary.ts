/**
 * ggml's ternary blocks: 256 weights −d, 0 or d with one F16 scale. lutra holds them as codes 1, 2 and 3 of two bits in groups of 128, of which two have the same scale.
 *
 * TQ2_0: 64 bytes of four digits of two bits, then the scale; byte m of each half has elements m, m + 32, m + 64 and m + 96 of it.
 * TQ1_0: 48 bytes of five digits of base 3, 4 of four, then the scale; a byte holds its digits as a fraction, ⌈256 · 0.d₁d₂d₃d₄d₅⌉, so that multiplying by 3 brings them out one by one.
 * Of its first 32 bytes, byte m has elements m + 32 · n; of the next 16, 160 + m + 16 · n; of the last 4, 240 + m + 4 · n.
 */
import { LutraError } from '../graph/errors.js';
import { fromHalf } from '../graph/half.js';
import { notFiniteHalf } from './floats.js';
import { checkFinite, type LowBitRows } from './tensors.js';

const ELEMENTS = 256;
const GROUPS = 2;

/** Writes the digits of a block, 0 to 2 each (3 is none), to `out` from `at` on. */
type Digits = (block: Uint8Array, out: Uint8Array, at: number) => void;

const twoBits: Digits = (block, out, at) => {
  for (let i = 0; i < ELEMENTS; i++) {
    const [half, part, byte] = [i >> 7, (i >> 5) & 3, i & 31];
    out[at + i] = (block[32 * half + byte]! >> (2 * part)) & 3;
  }
};

/** Runs of bytes, with the number of digits in each. */
const BASE_3 = [
  { bytes: 32, digits: 5 },
  { bytes: 16, digits: 5 },
  { bytes: 4, digits: 4 },
] as const;

const base3: Digits = (block, out, at) => {
  let [first, element] = [0, at];
  for (const { bytes, digits } of BASE_3) {
    for (let byte = 0; byte < bytes; byte++) {
      let fraction = block[first + byte]!;
      for (let digit = 0; digit < digits; digit++) {
        const shifted = fraction * 3;
        out[element + digit * bytes + byte] = shifted >> 8;
        fraction = shifted & 255;
      }
    }
    first += bytes;
    element += bytes * digits;
  }
};

/** By ggml's names; the scale is the last two bytes of a block. */
const TYPES: Readonly<Record<string, { bytes: number; digits: Digits }>> = {
  TQ1_0: { bytes: 54, digits: base3 },
  TQ2_0: { bytes: 66, digits: twoBits },
};

/** Rows of blocks of type `type` as codes. Errors: LUTRA_BAD_FILE (a scale that is no number, a fourth digit). */
export function ternaryRows(path: string, name: string, type: string, blocks: Uint8Array): LowBitRows {
  const format = Object.hasOwn(TYPES, type) ? TYPES[type] : undefined;
  if (!format) throw new LutraError('LUTRA_INTERNAL', `${name} of type ${type} is not ternary`);
  const { bytes, digits } = format;
  const count = blocks.length / bytes;
  const view = new DataView(blocks.buffer, blocks.byteOffset, blocks.length);
  const halves = Uint16Array.from({ length: count }, (_, block) => view.getUint16((block + 1) * bytes - 2, true));
  checkFinite(path, name, notFiniteHalf(halves));
  const codes = new Uint8Array(count * ELEMENTS);
  for (let block = 0; block < count; block++) digits(blocks.subarray(block * bytes, (block + 1) * bytes), codes, block * ELEMENTS);
  const wrong = codes.indexOf(3);
  if (wrong >= 0)
    throw new LutraError(
      'LUTRA_BAD_FILE',
      `${path}: tensor ${name} has a digit 3 among ternary weights, element ${wrong}`,
      'Export the file again.',
    );
  for (let i = 0; i < codes.length; i++) codes[i] = codes[i]! + 1;
  return {
    codes,
    scales: Float32Array.from({ length: count * GROUPS }, (_, i) => fromHalf(halves[Math.floor(i / GROUPS)]!)),
    offsets: null,
  };
}
