/** Plain row-major arrays of float64: slow, obvious, independent of lib. */
export interface Nd {
  readonly dims: readonly number[];
  readonly data: Float64Array;
}

export function size(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

export function nd(dims: readonly number[], at: (index: number[]) => number): Nd {
  const data = new Float64Array(size(dims));
  for (let i = 0; i < data.length; i++) data[i] = at(indexOf(i, dims));
  return { dims, data };
}

/** Coordinates of element `i`. */
export function indexOf(i: number, dims: readonly number[]): number[] {
  const index = new Array<number>(dims.length).fill(0);
  let rest = i;
  for (let d = dims.length - 1; d >= 0; d--) {
    index[d] = rest % dims[d]!;
    rest = Math.floor(rest / dims[d]!);
  }
  return index;
}

/** Element at the coordinates; dimensions of length 1 stretch, missing leading ones too. */
export function get(t: Nd, index: readonly number[]): number {
  const skip = index.length - t.dims.length;
  const at = t.dims.reduce((sum, d, i) => sum * d + (d === 1 ? 0 : index[i + skip]!), 0);
  const value = t.data[at];
  if (value === undefined) throw new Error(`no element [${index.join(', ')}] of [${t.dims.join(', ')}]`);
  return value;
}

export function stretch(a: Nd, b: Nd): number[] {
  return a.dims.map((d, i) => Math.max(d, b.dims[i]!));
}

export function zip(a: Nd, b: Nd, f: (x: number, y: number) => number): Nd {
  return nd(stretch(a, b), (index) => f(get(a, index), get(b, index)));
}

export function map(t: Nd, f: (x: number) => number): Nd {
  return { dims: t.dims, data: t.data.map((x) => f(x)) };
}

/** Every row along the last axis replaced. */
export function mapRows(t: Nd, f: (row: Float64Array) => Float64Array): Nd {
  const width = t.dims.at(-1)!;
  const data = new Float64Array(t.data.length);
  for (let i = 0; i < data.length; i += width) data.set(f(t.data.subarray(i, i + width)), i);
  return { dims: t.dims, data };
}

/** Nearest integer, ties to even. */
export function halfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Error function to double precision: series near 0, continued fraction beyond. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let [sum, term] = [0, a];
    for (let n = 0; n < 80; n++) {
      sum += term / (2 * n + 1);
      term *= (-a * a) / (n + 1);
    }
    return (Math.sign(x) * sum * 2) / Math.sqrt(Math.PI);
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + fraction)));
}

/** a · b over the last two dimensions; the others are equal. */
export function matMul(a: Nd, b: Nd, transposeA = false, transposeB = false): Nd {
  const [rows, inner] = transposeA ? [a.dims.at(-1)!, a.dims.at(-2)!] : [a.dims.at(-2)!, a.dims.at(-1)!];
  const cols = transposeB ? b.dims.at(-2)! : b.dims.at(-1)!;
  return nd([...a.dims.slice(0, -2), rows, cols], (index) => {
    const batch = index.slice(0, -2);
    const [i, j] = [index.at(-2)!, index.at(-1)!];
    let total = 0;
    for (let k = 0; k < inner; k++) {
      total += get(a, [...batch, ...(transposeA ? [k, i] : [i, k])]) * get(b, [...batch, ...(transposeB ? [j, k] : [k, j])]);
    }
    return total;
  });
}

export function softmax(row: Float64Array, beta: number): Float64Array {
  const top = row.reduce((m, v) => Math.max(m, v), Number.NEGATIVE_INFINITY);
  const e = row.map((v) => Math.exp(beta * (v - top)));
  const total = e.reduce((s, v) => s + v, 0);
  return e.map((v) => v / total);
}
