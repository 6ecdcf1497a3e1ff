/** Folds norm gains and the rotation of the residual stream into the weights of the NPU, in place and in O(log hidden) operations a weight. */
import { rotationSize } from '../models/index.js';

/** R = diag(signs) · (H ⊗ matrix), H the normalised Hadamard matrix. */
export interface Rotation {
  /** ±1 for each of the hidden columns. */
  signs: Float32Array;
  /** Orthogonal, row major. */
  matrix: Float32Array;
  /** Its rows. */
  size: number;
}

/** Numbers in [−1, 1) that are the same everywhere (xorshift32). */
function* noise(): Generator<number, never> {
  let state = 0x9e3779b9;
  for (;;) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    yield state / 2 ** 31;
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);
}

/** Rows of noise made orthogonal to each other (Gram–Schmidt, twice, because once loses digits). */
function orthogonal(size: number, random: Generator<number, never>): Float32Array {
  const rows: Float64Array[] = [];
  while (rows.length < size) {
    let row = Float64Array.from({ length: size }, () => random.next().value);
    for (let pass = 0; pass < 2; pass++) {
      for (const other of rows) {
        const along = dot(row, other);
        row = row.map((value, i) => value - along * (other[i] ?? 0));
      }
    }
    const length = Math.sqrt(dot(row, row));
    if (length > 1e-3) rows.push(row.map((value) => value / length));
  }
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

/** The rotation of a hidden size: always the same one. */
export function rotationOf(hidden: number): Rotation {
  const random = noise();
  const size = rotationSize(hidden);
  const signs = Float32Array.from({ length: hidden }, () => (random.next().value < 0 ? -1 : 1));
  return { signs, matrix: orthogonal(size, random), size };
}

/** Signs times gains. */
export function gained(signs: Float32Array, gains: Float32Array): Float32Array {
  return signs.map((sign, i) => sign * (gains[i] ?? 1));
}

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
