/** Reproducible data for measurements, and the error of a product. */

/** xorshift32; normal numbers as sums of uniform ones. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  #next(): number {
    let state = this.#state;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.#state = state;
    return state >>> 0;
  }

  bytes(count: number): Uint8Array {
    const words = Uint32Array.from({ length: Math.ceil(count / 4) }, () => this.#next());
    return new Uint8Array(words.buffer, 0, count);
  }

  /** Of mean 0 and deviation 1, nearly normal. */
  normals(count: number): Float32Array {
    return Float32Array.from({ length: count }, () => {
      let sum = -6;
      for (let i = 0; i < 12; i++) sum += this.#next() / 2 ** 32;
      return sum;
    });
  }
}

/** Σ (y − W·x)² / Σ (W·x)² in float64, over the first `rows` outputs of the first row of x. */
export function nmseOf(
  y: Float32Array,
  x: Float32Array,
  columns: number,
  rows: number,
  weight: (row: number, column: number) => number,
): number {
  let error = 0;
  let power = 0;
  for (let row = 0; row < rows; row++) {
    let sum = 0;
    for (let column = 0; column < columns; column++) sum += weight(row, column) * x[column]!;
    error += (y[row]! - sum) ** 2;
    power += sum ** 2;
  }
  return error / power;
}
