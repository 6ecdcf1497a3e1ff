/**
 * Runs a graph of standard QNN nodes in float64: what its nodes mean, without what a library makes of them. Floats are not rounded (constants are what they
 * hold); a quantised result is rounded to its grid, half to even, and saturates.
 */
import { isQuantType, quantLimits } from '../../lib/graph/dtype.js';
import type { Node } from '../../lib/graph/graph.js';
import { fromHalf } from '../../lib/graph/half.js';
import type { NpuGraph, NpuTensor } from '../../lib/graph/npu-graph.js';
import type { TensorId } from '../../lib/graph/tensor.js';
import { erf, get, halfEven, indexOf, map, mapRows, matMul, type Nd, nd, size, softmax, zip } from './nd.js';

/** Codes of reals under the encoding of `t`. */
export function codesOf(t: Pick<NpuTensor, 'dtype' | 'quant'>, reals: Float64Array): Float64Array {
  if (t.quant.kind !== 'scale' || !isQuantType(t.dtype)) throw new Error('no encoding');
  const { scale, offset } = t.quant;
  const { lo, hi } = quantLimits(t.dtype);
  return reals.map((x) => Math.min(hi, Math.max(lo, halfEven(x / scale) - offset)));
}

export function realsOf({ quant }: Pick<NpuTensor, 'quant'>, codes: Float64Array): Float64Array {
  if (quant.kind !== 'scale') throw new Error('no encoding');
  return codes.map((q) => (q + quant.offset) * quant.scale);
}

/** Elements as they lie in memory, as the reals that they stand for. `scalesOf`: scale per index of the encoding's axis. */
export function decode(t: NpuTensor, stored: ArrayLike<number>, scalesOf: (id: TensorId) => ArrayLike<number>): Nd {
  const values = Float64Array.from(stored);
  if (t.dtype === 'f16') return { dims: t.dims, data: values.map(fromHalf) };
  const { quant } = t;
  if (quant.kind === 'none') return { dims: t.dims, data: values };
  if (quant.kind === 'scale') return { dims: t.dims, data: realsOf(t, values) };
  const scales = scalesOf(quant.scales);
  return { dims: t.dims, data: values.map((q, i) => q * scales[indexOf(i, t.dims)[quant.axis]!]!) };
}

/** Values of the graph's outputs. `inputs`: reals, on the grid where quantised. */
export function runGraph(graph: NpuGraph, inputs: readonly Nd[]): Nd[] {
  const values = new Map<TensorId, Nd>(graph.inputs.map((id, i) => [id, inputs[i]!]));
  const tensor = (id: TensorId): NpuTensor => graph.tensors[id]!;
  const scalesOf = (id: TensorId): ArrayLike<number> => tensor(id).data!;
  graph.tensors.forEach((t, id) => {
    if (t.data !== undefined) values.set(id as TensorId, decode(t, t.data, scalesOf));
  });
  for (const node of graph.nodes) {
    const results = run(
      node,
      node.inputs.map((id) => values.get(id)!),
      node.outputs.map(tensor),
    );
    results.forEach((value, i) => {
      const id = node.outputs[i]!;
      const t = tensor(id);
      if (value.dims.join() !== t.dims.join()) throw new Error(`${node.name} gives [${value.dims.join()}] instead of [${t.dims.join()}]`);
      values.set(id, t.quant.kind === 'scale' ? { ...value, data: realsOf(t, codesOf(t, value.data)) } : value);
    });
  }
  return graph.outputs.map((id) => values.get(id)!);
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const mean = (row: Float64Array): number => row.reduce((s, v) => s + v, 0) / row.length;

function norm(x: Nd, gamma: Nd, beta: Nd, epsilon: number, centre: boolean): Nd {
  return mapRows(x, (row) => {
    const middle = centre ? mean(row) : 0;
    const root = Math.sqrt(mean(row.map((v) => (v - middle) ** 2)) + epsilon);
    return row.map((v, i) => ((v - middle) / root) * gamma.data[i]! + beta.data[i]!);
  });
}

/** Rows of x · w, with `pick` reading weight (k, o). */
function linear([x, w, bias]: readonly Nd[], outputs: number, pick: (w: Nd, k: number, o: number) => number): Nd {
  const inner = x!.dims.at(-1)!;
  return nd([...x!.dims.slice(0, -1), outputs], (index) => {
    const o = index.at(-1)!;
    let total = bias?.data[o] ?? 0;
    for (let k = 0; k < inner; k++) total += get(x!, [...index.slice(0, -1), k]) * pick(w!, k, o);
    return total;
  });
}

function run(node: Node, inputs: readonly Nd[], outputs: readonly NpuTensor[]): Nd[] {
  const [x, y] = [inputs[0]!, inputs[1]!];
  switch (node.op) {
    case 'Quantize':
    case 'Dequantize':
    case 'Convert':
      return [x];
    case 'FullyConnected':
      return [linear(inputs, y.dims[0]!, (w, k, o) => get(w, [o, k]))];
    case 'Conv2d':
      return [linear(inputs, y.dims[3]!, (w, k, o) => get(w, [0, 0, k, o]))];
    case 'MatMul':
      return [matMul(x, y, node.attrs.transpose_in0, node.attrs.transpose_in1)];
    case 'RmsNorm':
    case 'LayerNorm':
      return [norm(x, y, inputs[2]!, node.attrs.epsilon, node.op === 'LayerNorm')];
    case 'Softmax':
      return [mapRows(x, (row) => softmax(row, node.attrs.beta))];
    case 'ElementWiseAdd':
      return [zip(x, y, (a, b) => a + b)];
    case 'ElementWiseSubtract':
      return [zip(x, y, (a, b) => a - b)];
    case 'ElementWiseMultiply':
      return [zip(x, y, (a, b) => a * b)];
    case 'ElementWiseDivide':
      return [zip(x, y, (a, b) => (outputs[0]!.dtype === 's32' ? Math.trunc(a / b) : a / b))];
    case 'ElementWiseMinimum':
      return [zip(x, y, Math.min)];
    case 'ElementWiseMaximum':
      return [zip(x, y, Math.max)];
    case 'ElementWiseLessEqual':
      return [zip(x, y, (a, b) => Number(a <= b))];
    case 'ElementWiseSelect': {
      const [condition, a, b] = [x, y, inputs[2]!];
      return [nd(outputs[0]!.dims, (index) => (get(condition, index) === 0 ? get(b, index) : get(a, index)))];
    }
    case 'Sigmoid':
      return [map(x, sigmoid)];
    case 'Relu':
      return [map(x, (v) => Math.max(v, 0))];
    case 'Gelu':
      return [map(x, (v) => (v * (1 + erf(v / Math.SQRT2))) / 2)];
    default:
      return move(node, inputs, outputs);
  }
}

function concat(parts: readonly Nd[], axis: number, dims: readonly number[]): Nd {
  const starts = parts.map((_, i) => parts.slice(0, i).reduce((n, t) => n + t.dims[axis]!, 0));
  return nd(dims, (index) => {
    const part = starts.findLastIndex((start) => start <= index[axis]!);
    return get(parts[part]!, index.with(axis, index[axis]! - starts[part]!));
  });
}

type Moves = Extract<Node, { op: 'Reshape' | 'Transpose' | 'Concat' | 'Split' | 'StridedSlice' | 'Gather' | 'ScatterNd' }>;

/** Nodes that move data. */
function move(node: Moves, inputs: readonly Nd[], outputs: readonly NpuTensor[]): Nd[] {
  const x = inputs[0]!;
  const dims = outputs[0]!.dims;
  switch (node.op) {
    case 'Reshape':
      return [{ dims, data: x.data }];
    case 'Transpose':
      return [
        nd(dims, (index) =>
          get(
            x,
            [...x.dims.keys()].map((d) => index[node.attrs.perm.values.indexOf(d)]!),
          ),
        ),
      ];
    case 'Concat':
      return [concat(inputs, node.attrs.axis, dims)];
    case 'Split': {
      const { axis, split_index } = node.attrs;
      const starts = [0, ...split_index.values];
      return outputs.map((t, i) => nd(t.dims, (index) => get(x, index.with(axis, index[axis]! + starts[i]!))));
    }
    case 'StridedSlice': {
      const { values } = node.attrs.ranges;
      return [
        nd(dims, (index) =>
          get(
            x,
            index.map((at, d) => values[3 * d]! + at * values[3 * d + 2]!),
          ),
        ),
      ];
    }
    case 'Gather': {
      const { axis } = node.attrs;
      const indices = inputs[1]!;
      const rank = indices.dims.length;
      return [
        nd(dims, (index) => get(x, [...index.slice(0, axis), get(indices, index.slice(axis, axis + rank)), ...index.slice(axis + rank)])),
      ];
    }
    case 'ScatterNd': {
      const [indices, updates] = [inputs[1]!, inputs[2]!];
      const width = size(x.dims.slice(1));
      const data = x.data.slice();
      indices.data.forEach((row, i) => {
        data.set(updates.data.subarray(i * width, (i + 1) * width), row * width);
      });
      return [{ dims, data }];
    }
    default:
      throw new Error(`unknown node ${String(node satisfies never)}`);
  }
}
