/** What the addon does to weights when a model is converted, one number after another. */

import { floatsOf, notFinite } from '../../lib/convert/floats.js';
import type { Rotation } from '../../lib/convert/rotation.js';
import type { FoldOptions, PackAddon } from '../../lib/convert/tensors.js';
import { quantizeS8 } from './ggml.js';

/** values[at …] and those `run` behind them: sums and differences. */
function butterfly(values: Float32Array, at: number, run: number): void {
  for (let i = at; i < at + run; i++) {
    const a = values[i]!;
    const b = values[i + run]!;
    values[i] = a + b;
    values[i + run] = a - b;
  }
}

/** values, seen as [outer, hidden, inner]: each vector along `hidden` v becomes (v ∘ diagonal) · (H ⊗ matrix). */
function rotate(values: Float32Array, diagonal: Float32Array, { matrix, size }: Rotation, inner: number): void {
  const hidden = diagonal.length;
  const norm = 1 / Math.sqrt(hidden / size);
  const piece = new Float64Array(size * inner);
  for (let at = 0; at < values.length; at += hidden * inner) {
    for (let i = 0, v = at; i < hidden; i++) for (let j = 0; j < inner; j++, v++) values[v]! *= diagonal[i]!;
    for (let run = size * inner; run < hidden * inner; run *= 2) {
      for (let from = at; from < at + hidden * inner; from += 2 * run) butterfly(values, from, run);
    }
    for (let from = at; from < at + hidden * inner; from += piece.length) {
      piece.fill(0);
      for (let i = 0; i < size; i++) {
        for (let k = 0; k < size; k++) {
          const factor = matrix[i * size + k]! * norm;
          for (let j = 0; j < inner; j++) piece[k * inner + j]! += factor * values[from + i * inner + j]!;
        }
      }
      values.set(piece, from);
    }
  }
}

/** W becomes W · diag(diagonal) · (H ⊗ matrix): of a linear that reads the residual stream, `diagonal` the signs times the gains of its norm. */
export function rotateInputs(weights: Float32Array, diagonal: Float32Array, rotation: Rotation): void {
  rotate(weights, diagonal, rotation, 1);
}

/** W becomes Rᵀ · W: of a linear with `cols` inputs that adds to the residual stream. */
export function rotateOutputs(weights: Float32Array, cols: number, rotation: Rotation): void {
  rotate(weights, rotation.signs, rotation, cols);
}

export const widen: PackAddon['widen'] = (type, bytes, out) => {
  out.set(floatsOf(type, bytes));
  return notFinite(out) < 0;
};

/** Rotates and quantises as FoldOptions says. */
export async function foldS8(options: FoldOptions): Promise<boolean> {
  const { values, rows, cols, first, total, rotation, outputs, transpose, codes, scales } = options;
  if (rotation) {
    const { diagonal, matrix } = rotation;
    const whole = { signs: diagonal, matrix, size: Math.sqrt(matrix.length) };
    if (outputs) rotateOutputs(values, cols, whole);
    else rotateInputs(values, diagonal, whole);
  }
  if (notFinite(values) >= 0) return false;
  const quantized = quantizeS8(values, rows, cols, false);
  quantized.codes.forEach((code, i) => {
    const [row, col] = [Math.floor(i / cols), i % cols];
    codes[transpose ? col * total + first + row : i] = code;
  });
  scales.set(
    quantized.scales.map((scale) => (scale === 0 ? 1 : scale)),
    first,
  );
  return true;
}
