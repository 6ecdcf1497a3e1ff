/**
 * A decoder layer that stays on the NPU: cache update, masking and softmax are nodes of its graph, the cache is an input and an output. Built of composite ops, and
 * written down once more in float64.
 */
import { addOp, type CompositeAttrs, type CompositeName } from '../../lib/graph/composite/index.js';
import { type NpuGraph, NpuGraphBuilder } from '../../lib/graph/npu-graph.js';
import { floatConstant } from '../../lib/graph/sink.js';
import { NO_QUANT, type TensorId } from '../../lib/graph/tensor.js';
import { matVec, rmsNorm, rope, silu, softmax } from './decoder.js';
import { halfEven } from './nd.js';
import { Random } from './random.js';
import type { Weight } from './tiny.js';

export interface LayerShape {
  readonly hidden: number;
  readonly ffn: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Tokens of a chunk. */
  readonly tokens: number;
  /** Positions of the cache. */
  readonly capacity: number;
}

const THETA = 1e4;
const EPSILON = 1e-5;
const LINEARS = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'] as const;
type LinearName = (typeof LINEARS)[number];

/** S8 codes with a scale per output, and the same as floats. */
interface LayerLinear {
  readonly codes: Int8Array;
  readonly scales: Float32Array;
  readonly weight: Weight;
}

export interface LayerWeights {
  readonly linears: Readonly<Record<LinearName, LayerLinear>>;
  readonly norms: readonly [Weight, Weight];
}

function linear(random: Random, outputs: number, inputs: number): LayerLinear {
  const scales = Float32Array.from({ length: outputs }, () => (0.7 + 0.6 * random.uniform()) / (60 * Math.sqrt(inputs)));
  const codes = Int8Array.from({ length: outputs * inputs }, () => Math.max(-127, Math.min(127, halfEven(random.normal() * 45))));
  const data = Float32Array.from(codes, (c, i) => c * scales[Math.floor(i / inputs)]!);
  return { codes, scales, weight: { shape: [outputs, inputs], data } };
}

export function layerWeights(s: LayerShape, seed: number): LayerWeights {
  const random = new Random(seed);
  const [q, kv] = [s.heads * s.headDim, s.kvHeads * s.headDim];
  const gain = (): Weight => ({
    shape: [s.hidden],
    data: Float32Array.from({ length: s.hidden }, () => halfEven(64 + 32 * random.normal()) / 64),
  });
  return {
    linears: {
      q: linear(random, q, s.hidden),
      k: linear(random, kv, s.hidden),
      v: linear(random, kv, s.hidden),
      o: linear(random, s.hidden, q),
      gate: linear(random, s.ffn, s.hidden),
      up: linear(random, s.ffn, s.hidden),
      down: linear(random, s.hidden, s.ffn),
    },
    norms: [gain(), gain()],
  };
}

/** Inputs: x F16 [tokens, hidden], keys and values F16 [kvHeads, capacity, headDim], positions [tokens]. Outputs: y, keys, values. */
export function layerGraph(s: LayerShape, w: LayerWeights): NpuGraph {
  const b = new NpuGraphBuilder();
  const { tokens, heads, kvHeads, headDim, capacity } = s;
  const x = b.input('x', { dtype: 'f16', dims: [tokens, s.hidden], quant: NO_QUANT });
  const cache = (name: string): TensorId => b.input(name, { dtype: 'f16', dims: [kvHeads, capacity, headDim], quant: NO_QUANT });
  const [oldKeys, oldValues] = [cache('keys'), cache('values')];
  const positions = b.input('positions', { dtype: 's32', dims: [tokens], quant: NO_QUANT });

  const add = <K extends CompositeName>(op: K, inputs: TensorId[], attrs: CompositeAttrs<K>, name: string): TensorId =>
    addOp(b, op, inputs, attrs, name)[0]!;
  const project = (input: TensorId, name: LinearName): TensorId => {
    const { codes, scales, weight } = w.linears[name];
    const axis = b.constant(`${name}.scale`, floatConstant('f32', [scales.length], scales));
    const id = b.constant(`${name}.w8`, { dtype: 's8', dims: weight.shape, quant: { kind: 'axis', axis: 0, scales: axis }, data: codes });
    return b.npu.fullyConnected(input, id, { dtype: 'f16', quant: NO_QUANT }, name);
  };
  const norm = (input: TensorId, which: 0 | 1, name: string): TensorId =>
    add('RMSNorm', [input, b.constant(`${name}.gain`, floatConstant('f16', [s.hidden], w.norms[which].data))], { epsilon: EPSILON }, name);
  /** [tokens, n · headDim] → [n, tokens, headDim]. */
  const toHeads = (input: TensorId, count: number, name: string): TensorId =>
    add('Transpose', [add('View', [input], { dims: [tokens, count, headDim] }, `${name}.view`)], { perm: [1, 0, 2] }, name);

  const n = norm(x, 0, 'attn_norm');
  const turn = { theta: THETA, maxPosition: capacity };
  const q = add('RoPE', [toHeads(project(n, 'q'), heads, 'q.heads'), positions], { ...turn, scale: headDim ** -0.5 }, 'q.turned');
  const k = add('RoPE', [toHeads(project(n, 'k'), kvHeads, 'k.heads'), positions], turn, 'k.turned');
  const keys = add('KVUpdate', [oldKeys, k, positions], { axis: 1 }, 'keys.new');
  const values = add('KVUpdate', [oldValues, toHeads(project(n, 'v'), kvHeads, 'v.heads'), positions], { axis: 1 }, 'values.new');

  // Heads that share keys lie one after the other: they are more rows of one product, and no key is stored twice.
  const rows = (heads / kvHeads) * tokens;
  const grouped = add('View', [q], { dims: [kvHeads, rows, headDim] }, 'q.grouped');
  const scores = add('MatMul', [grouped, keys], { transposeB: true }, 'scores');
  const masked = add('KVMask', [add('View', [scores], { dims: [heads, tokens, capacity] }, 'scores.heads'), positions], {}, 'masked');
  const weights = add('View', [add('Softmax', [masked], {}, 'p')], { dims: [kvHeads, rows, capacity] }, 'p.grouped');
  const mixed = add('View', [add('MatMul', [weights, values], {}, 'mixed')], { dims: [heads, tokens, headDim] }, 'mixed.heads');
  const attended = add(
    'View',
    [add('Transpose', [mixed], { perm: [1, 0, 2] }, 'attended.heads')],
    { dims: [tokens, heads * headDim] },
    'attended',
  );

  const h = add('Add', [project(attended, 'o'), x], {}, 'h');
  const m = norm(h, 1, 'ffn_norm');
  const gate = add('SiLU', [project(m, 'gate')], {}, 'silu');
  const y = add('Add', [project(add('Mul', [gate, project(m, 'up')], {}, 'product'), 'down'), h], {}, 'y');
  return b.finish([y, keys, values]);
}

/** Keys and values by KV head and position. */
export interface LayerCache {
  readonly keys: Float64Array[][];
  readonly values: Float64Array[][];
}

export function emptyCache(s: LayerShape): LayerCache {
  const rows = (): Float64Array[][] =>
    Array.from({ length: s.kvHeads }, () => Array.from({ length: s.capacity }, () => new Float64Array(s.headDim)));
  return { keys: rows(), values: rows() };
}

/** The layer in float64; writes to `cache`. */
export function referenceLayer(
  s: LayerShape,
  w: LayerWeights,
  cache: LayerCache,
  x: readonly Float64Array[],
  positions: readonly number[],
): Float64Array[] {
  const arch = { headDim: s.headDim, ropeTheta: THETA, ropeInterleaved: false };
  const head = (row: Float64Array, i: number): Float64Array => row.slice(i * s.headDim, (i + 1) * s.headDim);
  const normed = x.map((row) => rmsNorm(row, w.norms[0], EPSILON));
  normed.forEach((row, t) => {
    const k = rope(matVec(w.linears.k.weight, row), positions[t]!, arch, undefined);
    const v = matVec(w.linears.v.weight, row);
    for (let i = 0; i < s.kvHeads; i++) {
      cache.keys[i]![positions[t]!] = head(k, i);
      cache.values[i]![positions[t]!] = head(v, i);
    }
  });
  return normed.map((row, t) => {
    const q = rope(matVec(w.linears.q.weight, row), positions[t]!, arch, undefined);
    const attended = new Float64Array(s.heads * s.headDim);
    for (let i = 0; i < s.heads; i++) {
      const kv = Math.floor((i * s.kvHeads) / s.heads);
      const own = head(q, i);
      const seen = cache.keys[kv]!.slice(0, positions[t]! + 1);
      const p = softmax(seen.map((key) => key.reduce((sum, v, d) => sum + v * own[d]!, 0) / Math.sqrt(s.headDim)));
      p.forEach((weight, position) => {
        cache.values[kv]![position]!.forEach((v, d) => {
          attended[i * s.headDim + d]! += weight * v;
        });
      });
    }
    const h = matVec(w.linears.o.weight, attended).map((v, i) => v + x[t]![i]!);
    const m = rmsNorm(h, w.norms[1], EPSILON);
    const up = matVec(w.linears.up.weight, m);
    const product = matVec(w.linears.gate.weight, m).map((g, i) => silu(g) * up[i]!);
    return matVec(w.linears.down.weight, product).map((v, i) => v + h[i]!);
  });
}
