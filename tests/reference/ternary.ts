/** ggml's ternary blocks from weights −1, 0 and 1, by the letter of the format: digit by digit, with no table and no trick of the importer. */
import { toHalf } from '../../lib/graph/half.js';

export type TernaryName = 'tq1_0' | 'tq2_0';

/** ggml code, and bytes of a block of 256. */
export const TERNARY: Readonly<Record<TernaryName, { ggml: number; bytes: number }>> = {
  tq1_0: { ggml: 34, bytes: 54 },
  tq2_0: { ggml: 35, bytes: 66 },
};

/** Which elements a byte of a block holds, from the first digit on. */
function elementsOf(name: TernaryName, byte: number): number[] {
  const every = (count: number, first: number, step: number) => Array.from({ length: count }, (_, n) => first + n * step);
  if (name === 'tq2_0') return every(4, byte < 32 ? byte : 96 + byte, 32);
  if (byte < 32) return every(5, byte, 32);
  return byte < 48 ? every(5, 160 + byte - 32, 16) : every(4, 240 + byte - 48, 4);
}

/** Five digits of base 3 as the smallest byte that is not below their fraction of 256; a missing digit is 0. */
function base3(digits: readonly number[]): number {
  const whole = [0, 1, 2, 3, 4].reduce((sum, n) => sum * 3 + (digits[n] ?? 0), 0);
  return Math.ceil((whole * 256) / 243);
}

/** `ternary` [blocks · 256] with the scale of each block. */
export function ternaryBlocks(name: TernaryName, ternary: readonly number[], scales: readonly number[]): Uint8Array {
  const { bytes } = TERNARY[name];
  const out = new Uint8Array(scales.length * bytes);
  const view = new DataView(out.buffer);
  scales.forEach((scale, block) => {
    for (let byte = 0; byte < bytes - 2; byte++) {
      const digits = elementsOf(name, byte).map((element) => (ternary[block * 256 + element] ?? 0) + 1);
      out[block * bytes + byte] = name === 'tq1_0' ? base3(digits) : digits.reduce((sum, digit, n) => sum + digit * 4 ** n, 0);
    }
    view.setUint16((block + 1) * bytes - 2, toHalf(scale), true);
  });
  return out;
}
