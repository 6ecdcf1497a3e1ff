/** What every composite op means, in float64 and without rounding: the ops' definitions written down once more, slowly. Quantised tensors are the reals they stand for. */
import { type CompositeAttrs, type CompositeName, HIDDEN } from '../../lib/graph/composite/index.js';
import { erf, get, indexOf, map, mapRows, matMul, type Nd, nd, size, softmax, zip } from './nd.js';

type Reference<K extends CompositeName> = (inputs: readonly Nd[], attrs: CompositeAttrs<K>) => Nd[];

function input(inputs: readonly Nd[], i: number): Nd {
  const t = inputs[i];
  if (t === undefined) throw new Error(`no input ${i}`);
  return t;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const sum = (row: Float64Array): number => row.reduce((s, v) => s + v, 0);

function unary(f: (x: number) => number): (inputs: readonly Nd[]) => Nd[] {
  return (inputs) => [map(input(inputs, 0), f)];
}

function linear(x: Nd, w: Nd, bias: Nd | undefined): Nd {
  const filter = w.dims.length === 4;
  const [inner, outputs] = filter ? [w.dims[2]!, w.dims[3]!] : [w.dims[1]!, w.dims[0]!];
  return nd([...x.dims.slice(0, -1), outputs], (index) => {
    const o = index.at(-1)!;
    let total = bias?.data[o] ?? 0;
    for (let k = 0; k < inner; k++) total += get(x, [...index.slice(0, -1), k]) * get(w, filter ? [0, 0, k, o] : [o, k]);
    return total;
  });
}

/** Rotates every pair of a head by position · frequency. */
function rope(x: Nd, positions: Nd | undefined, a: CompositeAttrs<'RoPE'>): Nd {
  const d = x.dims.at(-1)!;
  const axis = a.tokenAxis ?? x.dims.length - 2;
  return nd(x.dims, (index) => {
    const token = index[axis]!;
    const position = positions ? positions.data[token]! : (a.start ?? 0) + token;
    const at = index.at(-1)!;
    const pair = a.interleaved ? Math.floor(at / 2) : at % (d / 2);
    const second = a.interleaved ? at % 2 === 1 : at >= d / 2;
    const angle = (position * a.theta ** ((-2 * pair) / d)) / (a.factors?.[pair] ?? 1);
    const other = a.interleaved ? at ^ 1 : (at + d / 2) % d;
    const crossed = get(x, [...index.slice(0, -1), other]) * Math.sin(angle);
    return (get(x, index) * Math.cos(angle) + (second ? crossed : -crossed)) * (a.scale ?? 1);
  });
}

/** Scores whose key is after `last(query)` are hidden. */
function hide(x: Nd, last: (query: number) => number): Nd {
  return nd(x.dims, (index) => (index.at(-1)! <= last(index.at(-2)!) ? get(x, index) : HIDDEN));
}

export const REFERENCES: { readonly [K in CompositeName]: Reference<K> } = {
  Add: (inputs) => [zip(input(inputs, 0), input(inputs, 1), (a, b) => a + b)],
  Mul: (inputs) => [zip(input(inputs, 0), input(inputs, 1), (a, b) => a * b)],
  Scale: (inputs, { scale, bias = 0, biasAfterScale = true }) =>
    unary((x) => (biasAfterScale ? x * scale + bias : (x + bias) * scale))(inputs),
  SiLU: unary((x) => x * sigmoid(x)),
  ReLU: unary((x) => Math.max(x, 0)),
  GELU: unary((x) => (x * (1 + erf(x / Math.SQRT2))) / 2),
  QuickGELU: unary((x) => x * sigmoid(1.702 * x)),
  SuperSiLU: (inputs) => [zip(input(inputs, 0), input(inputs, 1), (gate, up) => gate * sigmoid(gate) * up)],
  RMSNorm: (inputs, { epsilon }) => {
    const gamma = input(inputs, 1).data;
    return [
      mapRows(input(inputs, 0), (row) => {
        const root = Math.sqrt(sum(row.map((v) => v * v)) / row.length + epsilon);
        return row.map((v, i) => (v / root) * gamma[i]!);
      }),
    ];
  },
  LayerNorm: (inputs, { epsilon }) => {
    const [gamma, beta] = [input(inputs, 1).data, inputs[2]?.data];
    return [
      mapRows(input(inputs, 0), (row) => {
        const mean = sum(row) / row.length;
        const variance = sum(row.map((v) => (v - mean) ** 2)) / row.length;
        return row.map((v, i) => ((v - mean) / Math.sqrt(variance + epsilon)) * gamma[i]! + (beta?.[i] ?? 0));
      }),
    ];
  },
  Softmax: (inputs, { beta = 1 }) => [mapRows(input(inputs, 0), (row) => softmax(row, beta))],
  MatMul: (inputs, { transposeA, transposeB }) => [matMul(input(inputs, 0), input(inputs, 1), transposeA, transposeB)],
  LinearINT8: (inputs) => [linear(input(inputs, 0), input(inputs, 1), inputs[2])],
  View: (inputs, { dims }) => [{ dims, data: input(inputs, 0).data }],
  Transpose: (inputs, { perm }) => {
    const x = input(inputs, 0);
    return [
      nd(
        perm.map((from) => x.dims[from]!),
        (index) =>
          get(
            x,
            [...x.dims.keys()].map((d) => index[perm.indexOf(d)]!),
          ),
      ),
    ];
  },
  MergeOutput: (inputs) => {
    const data = Float64Array.from(inputs.flatMap((t) => [...t.data]));
    return [{ dims: [1, data.length], data }];
  },
  SplitInput: (inputs, { parts }) => {
    let end = 0;
    return parts.map((dims) => {
      const begin = end;
      end += size(dims);
      return { dims, data: input(inputs, 0).data.slice(begin, end) };
    });
  },
  Quantize: (inputs) => [input(inputs, 0)],
  Dequantize: (inputs) => [input(inputs, 0)],
  RoPE: (inputs, attrs) => [rope(input(inputs, 0), inputs[1], attrs)],
  IRoPE: (inputs, attrs) => [rope(input(inputs, 0), inputs[1], attrs)],
  CausalMask: (inputs, { past }) => {
    const x = input(inputs, 0);
    return [hide(x, (query) => query + (past ?? x.dims.at(-1)! - x.dims.at(-2)!))];
  },
  KVMask: (inputs) => [hide(input(inputs, 0), (query) => input(inputs, 1).data[query]!)],
  KVUpdate: (inputs, { axis }) => {
    const [cache, update, positions] = [input(inputs, 0), input(inputs, 1), input(inputs, 2)];
    const data = cache.data.slice();
    const flat = (index: readonly number[]): number => index.reduce((s, v, i) => s * cache.dims[i]! + v, 0);
    update.data.forEach((value, i) => {
      const index = indexOf(i, update.dims);
      index[axis] = positions.data[index[axis]!]!;
      data[flat(index)] = value;
    });
    return [{ dims: cache.dims, data }];
  },
};
