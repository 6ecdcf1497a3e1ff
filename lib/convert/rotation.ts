/** The rotation of the residual stream that is folded into the weights of the NPU. */
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
