/**
 * Runs a plan step by step in float64 on plain arrays: the meaning of every CPU step and NPU node, written down slowly. Integers of quantised tensors are
 * exact; F16 and F32 tensors are not rounded, so that what remains as difference to {@link referenceDecoder} is quantisation alone.
 */
import { type QuantType, quantLimits } from '../../lib/graph/dtype.js';
import type { Graph, Node, Step } from '../../lib/graph/graph.js';
import type { Tensor, TensorId } from '../../lib/graph/tensor.js';
import { matVec, rmsNorm, rmsNormHeads, rope, silu, softmax } from './decoder.js';
import type { Weight } from './tiny.js';

/** Rows of a tensor; leading dimensions of 1 are ignored. Quantised tensors hold their integers. */
type Rows = Float64Array[];

/** S8 weight of the NPU, one row per output. */
export interface W8 {
  codes: Float64Array[];
  scales: Float32Array;
}

/** max|w| / 127 per output, as the converter does it. */
export function quantizeS8({ shape, data }: Weight): W8 {
  const [rows = 0, cols = 0] = shape;
  const scales = new Float32Array(rows);
  const codes = Array.from({ length: rows }, (_, o) => {
    const row = data.subarray(o * cols, (o + 1) * cols);
    const scale = row.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / 127;
    scales[o] = scale;
    return Float64Array.from(row, (v) => (scale === 0 ? 0 : roundEven(Math.fround(v / Math.fround(scale)))));
  });
  return { codes, scales };
}

/** `rotate`, entry by entry: R[i, j] = diagonal[i] · (−1)^(shared bits of the block numbers) / √blocks · matrix[i mod m, j mod m]. */
export function rotation(diagonal: Weight, { shape: [size = 0], data }: Weight): Float64Array[] {
  const blocks = diagonal.data.length / size;
  const sign = (bits: number): number => (bits === 0 ? 1 : (bits & 1 ? -1 : 1) * sign(bits >>> 1));
  return Array.from(diagonal.data, (factor, i) =>
    Float64Array.from(diagonal.data, (_, j) => {
      const hadamard = sign(Math.floor(i / size) & Math.floor(j / size)) / Math.sqrt(blocks);
      return factor * hadamard * (data[(i % size) * size + (j % size)] ?? Number.NaN);
    }),
  );
}

/** Nearest integer, ties to even. */
export function roundEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

interface Encoded {
  scale: number;
  offset: number;
  lo: number;
  hi: number;
}

function encodingOf(t: Tensor): Encoded {
  if (t.quant.kind !== 'scale') throw new Error(`${t.name} has no encoding`);
  const { lo, hi } = quantLimits(t.dtype as QuantType);
  return { scale: t.quant.scale, offset: t.quant.offset, lo, hi };
}

/** q before clamping. */
const quantum = (x: number, e: Encoded): number => roundEven(x / e.scale) - e.offset;
const clamp = (q: number, e: Encoded): number => Math.min(e.hi, Math.max(e.lo, q));
const real = (q: number, e: Encoded): number => (q + e.offset) * e.scale;
const saturated = (q: number, e: Encoded): boolean => q === e.lo || q === e.hi;

export class Interpreter {
  private readonly graph: Graph;
  private readonly weights: ReadonlyMap<string, Weight>;
  private readonly npuWeights: ReadonlyMap<string, Weight>;
  private readonly values = new Map<TensorId, Rows>();
  private readonly keys: Rows[];
  private readonly cached: Rows[];
  private readonly w8 = new Map<string, W8>();
  private tokens: readonly number[] = [];
  private position = 0;
  /** Sees every value as it is made and returns what the next ops read: the value itself, or what another implementation made of the same inputs. */
  onValue: (tensor: Tensor, rows: Rows, op: string) => Rows = (_, rows) => rows;
  /** Rows seen by each `observe` site. */
  readonly observed = new Map<number, Rows>();
  /** How weights of the NPU are held. */
  quantize: (weight: Weight) => W8 = quantizeS8;
  repairedInputs = 0;
  repairedOutputs = 0;

  /** `npuWeights`: what S8 weights are made of, when that is not `weights`. */
  constructor(graph: Graph, weights: ReadonlyMap<string, Weight>, npuWeights = weights) {
    this.graph = graph;
    this.weights = weights;
    this.npuWeights = npuWeights;
    this.keys = Array.from({ length: graph.config.layers }, () => []);
    this.cached = Array.from({ length: graph.config.layers }, () => []);
  }

  /** Runs `tokens` (at most a chunk) through a program and appends them to the cache. Logits of every row. */
  run(program: 'npu' | 'cpu', tokens: readonly number[]): Rows {
    const found = this.graph.programs.find((p) => p.name === program);
    if (found === undefined || tokens.length > this.graph.config.chunk)
      throw new Error(`cannot run ${tokens.length} tokens through ${program}`);
    this.tokens = tokens;
    this.values.clear();
    for (const step of found.steps) this.set(step.op, step.outputs, this.step(step));
    this.position += tokens.length;
    return this.rows(found.logits);
  }

  /** Values of a tensor of the last run, as reals. */
  peek(name: string): Rows {
    const id = this.graph.tensors.findIndex((t) => t.name === name);
    const rows = this.values.get(id as TensorId);
    if (rows === undefined) throw new Error(`no value of ${name}`);
    const t = this.tensor(id as TensorId);
    return t.quant.kind === 'scale' ? this.reals(id as TensorId) : rows;
  }

  private tensor(id: TensorId | undefined): Tensor {
    const t = id === undefined ? undefined : this.graph.tensors[id];
    if (t === undefined) throw new Error(`no tensor ${id}`);
    return t;
  }

  private rows(id: TensorId | undefined): Rows {
    const rows = id === undefined ? undefined : this.values.get(id);
    if (rows === undefined) throw new Error(`${this.tensor(id).name} is read before it is written`);
    return rows;
  }

  private weight(id: TensorId | undefined): Weight {
    const name = this.tensor(id).weight ?? '';
    const w = this.weights.get(name.replace(/\.f16$/, ''));
    if (w === undefined) throw new Error(`no weight ${name}`);
    return w;
  }

  private npuWeight(id: TensorId | undefined): W8 {
    const name = (this.tensor(id).weight ?? '').replace(/\.w8$/, '');
    const known = this.w8.get(name);
    if (known !== undefined) return known;
    const w = this.npuWeights.get(name);
    if (w === undefined) throw new Error(`no weight ${name}`);
    const made = this.quantize(w);
    const factors = this.weights.get(`${name}.factors`)?.data;
    if (factors) made.scales = made.scales.map((scale, o) => scale / (factors[o] ?? Number.NaN));
    this.w8.set(name, made);
    return made;
  }

  private reals(id: TensorId | undefined): Rows {
    const e = encodingOf(this.tensor(id));
    return this.rows(id).map((row) => row.map((q) => real(q, e)));
  }

  private quantized(x: Rows, output: TensorId | undefined): Rows {
    const e = encodingOf(this.tensor(output));
    return x.map((row) => row.map((v) => clamp(quantum(v, e), e)));
  }

  private set(op: string, ids: readonly TensorId[], values: readonly Rows[]): void {
    if (op === 'segment') return; // its nodes have set them
    ids.forEach((id, i) => {
      this.values.set(id, this.onValue(this.tensor(id), values[i] ?? [], op));
    });
  }

  /** Results of a step, in the order of its outputs. */
  private step(step: Step): Rows[] {
    const { inputs, outputs } = step;
    const x = (): Rows => this.rows(inputs[0]);
    switch (step.op) {
      case 'segment':
        for (const node of this.graph.segments[step.attrs.segment]?.nodes ?? []) this.set(node.op, node.outputs, [this.node(node)]);
        return outputs.map((id) => this.rows(id));
      case 'embed': {
        const { shape, data } = this.weight(inputs[0]);
        const cols = shape[1] ?? 0;
        return [this.tokens.map((t) => Float64Array.from(data.subarray(t * cols, (t + 1) * cols)))];
      }
      case 'rms_norm':
        return [x().map((row) => rmsNormHeads(row, this.weight(inputs[1]), step.attrs.eps))];
      case 'linear':
        return inputs.slice(1).map((w) => x().map((row) => matVec(this.weight(w), row)));
      case 'rope': {
        const { headDim, theta, interleaved, levels } = step.attrs;
        const arch = { headDim, ropeTheta: theta, ropeInterleaved: interleaved };
        const factors = inputs[1] === undefined ? undefined : this.weight(inputs[1]);
        return [x().map((row, t) => rope(row, this.position + t, arch, factors, levels))];
      }
      case 'kv_append':
        this.keys[step.attrs.layer]?.push(...this.rows(inputs[0]));
        this.cached[step.attrs.layer]?.push(...this.rows(inputs[1]));
        return [];
      case 'attention':
        return [x().map((row, t) => this.attend(row, this.position + t + 1, step.attrs))];
      case 'silu_mul':
        return [zip(x(), this.rows(inputs[1]), (g, u) => silu(g) * u)];
      case 'relu_mul':
        return [zip(x(), this.rows(inputs[1]), (g, u) => Math.max(g, 0) * u)];
      case 'add':
        return [zip(x(), this.rows(inputs[1]), (a, b) => a + b)];
      case 'convert':
      case 'select_rows':
        return [x()];
      case 'quantize':
        return [this.quantized(x(), outputs[0])];
      case 'dequantize':
        return [this.reals(inputs[0])];
      case 'shadow':
        return [this.shadow(step)];
      case 'bias_add':
        return [x().map((row) => row.map((v, i) => v + (this.weight(inputs[1]).data[i] ?? Number.NaN)))];
      case 'permute': {
        const order = this.weight(inputs[1]).data;
        return [x().map((row) => Float64Array.from(order, (column) => row[column] ?? Number.NaN))];
      }
      case 'rotate':
        return [this.rotated(step)];
      case 'stored_rows': {
        const { shape, data } = this.weight(inputs[0]);
        const cols = shape[1] ?? 0;
        return [this.tokens.map((_, t) => Float64Array.from(data.subarray((this.position + t) * cols, (this.position + t + 1) * cols)))];
      }
      case 'observe':
        this.observed.set(step.attrs.site, [...(this.observed.get(step.attrs.site) ?? []), ...x()]);
        return [];
      case 'clipped': {
        const { xScale: scale, xOffset: offset, xSigned } = step.attrs;
        const e: Encoded = { scale, offset, lo: xSigned ? -128 : 0, hi: xSigned ? 127 : 255 };
        return [x().map((row) => row.map((v) => Number(quantum(v, e) !== clamp(quantum(v, e), e))))];
      }
      default:
        throw new Error(`unknown step ${String(step satisfies never)}`);
    }
  }

  private rotated({ inputs, attrs }: Extract<Step, { op: 'rotate' }>): Rows {
    const matrix = rotation(this.weight(inputs[1]), this.weight(inputs[2]));
    return this.rows(inputs[0]).map((row) =>
      row.map((_, j) => row.reduce((sum, v, i) => sum + v * ((attrs.inverse ? matrix[j]?.[i] : matrix[i]?.[j]) ?? Number.NaN), 0)),
    );
  }

  private attend(
    q: Float64Array,
    length: number,
    a: { layer: number; heads: number; kvHeads: number; headDim: number; scale: number },
  ): Float64Array {
    const y = new Float64Array(q.length);
    for (let h = 0; h < a.heads; h++) {
      const kv = Math.floor((h * a.kvHeads) / a.heads) * a.headDim;
      const own = q.subarray(h * a.headDim, (h + 1) * a.headDim);
      const keys = (this.keys[a.layer] ?? []).slice(0, length);
      const p = softmax(keys.map((key) => a.scale * own.reduce((s, v, i) => s + v * (key[kv + i] ?? Number.NaN), 0)));
      p.forEach((weight, t) => {
        const value = this.cached[a.layer]?.[t];
        for (let i = 0; i < a.headDim; i++) y[h * a.headDim + i] = (y[h * a.headDim + i] ?? 0) + weight * (value?.[kv + i] ?? Number.NaN);
      });
    }
    return y;
  }

  /** docs/architecture.md, "Shadow". */
  private shadow({ inputs, attrs }: Extract<Step, { op: 'shadow' }>): Rows {
    const e: Encoded = { scale: attrs.xScale, offset: attrs.xOffset, lo: attrs.xSigned ? -128 : 0, hi: attrs.xSigned ? 127 : 255 };
    const w = this.npuWeight(inputs[1]);
    const base = attrs.hasBase ? this.rows(inputs[2]) : null;
    const yqId = attrs.hasQuantizedOutput ? inputs[attrs.hasBase ? 3 : 2] : undefined;
    const yq = yqId === undefined ? null : this.rows(yqId);
    const ye = yqId === undefined ? null : encodingOf(this.tensor(yqId));
    return this.rows(inputs[0]).map((row, t) => {
      // An element that clips counts with its own value, any other with that of its code.
      const whole = row.map((v) => {
        const q = quantum(v, e);
        return q === clamp(q, e) ? real(q, e) : v;
      });
      const residual = row.map((v) => {
        const q = quantum(v, e);
        if (q !== clamp(q, e)) this.repairedInputs++;
        return q === clamp(q, e) ? 0 : v - real(clamp(q, e), e);
      });
      return Float64Array.from(w.codes, (codes, o) => {
        const product = (x: Float64Array): number =>
          codes.reduce((s, c, k) => s + c * (x[k] ?? Number.NaN), 0) * (w.scales[o] ?? Number.NaN);
        const under = base?.[t]?.[o] ?? 0;
        if (yq === null || ye === null) return under + product(residual);
        const q = yq[t]?.[o] ?? Number.NaN;
        if (!saturated(q, ye)) return under + real(q, ye) + product(residual);
        this.repairedOutputs++;
        return under + product(whole);
      });
    });
  }

  private node({ op, inputs, outputs }: Node): Rows {
    const x = this.rows(inputs[0]);
    switch (op) {
      case 'Quantize':
        return this.quantized(x, outputs[0]);
      case 'Dequantize':
        return this.reals(inputs[0]);
      case 'Reshape':
        return x;
      case 'FullyConnected':
      case 'Conv2d':
        return this.npuLinear(inputs, outputs[0]);
      case 'RmsNorm':
        return x.map((row) => rmsNorm(row, this.weight(inputs[1]), 1e-5));
      case 'ElementWiseAdd':
        return zip(x, this.rows(inputs[1]), (a, b) => a + b);
      case 'ElementWiseMultiply': {
        const factors = this.tensor(inputs[1]).weight === null ? null : Float64Array.from(this.weight(inputs[1]).data);
        return zip(x, factors === null ? this.rows(inputs[1]) : x.map(() => factors), (a, b) => a * b);
      }
      case 'Sigmoid':
        return x.map((row) => row.map((v) => 1 / (1 + Math.exp(-v))));
      case 'Relu':
        return x.map((row) => row.map((v) => Math.max(v, 0)));
      default:
        throw new Error(`${op} is in no plan of a model`);
    }
  }

  private npuLinear(inputs: readonly TensorId[], output: TensorId | undefined): Rows {
    const w = this.npuWeight(inputs[1]);
    const x = this.tensor(inputs[0]).quant.kind === 'scale' ? this.reals(inputs[0]) : this.rows(inputs[0]);
    const y = x.map((row) =>
      Float64Array.from(w.codes, (codes, o) => codes.reduce((s, c, k) => s + c * (row[k] ?? Number.NaN), 0) * (w.scales[o] ?? Number.NaN)),
    );
    return this.tensor(output).quant.kind === 'scale' ? this.quantized(y, output) : y;
  }
}

function zip(a: Rows, b: Rows, f: (x: number, y: number) => number): Rows {
  return a.map((row, t) => row.map((v, i) => f(v, b[t]?.[i] ?? Number.NaN)));
}
