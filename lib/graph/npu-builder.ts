/** NPU nodes by name: `g.npu.rmsNorm(x, gamma, beta, 1e-5, 'l0.n')`. The last argument names the result. */
import type { Encoding } from './cpu-builder.js';
import type { DType, FloatType } from './dtype.js';
import type { NpuAttrs, NpuOp, TargetOf } from './ops.js';
import { badPlan, type I32Tensor, type U32Tensor } from './schema.js';
import type { Constant, NodeSink } from './sink.js';
import type { Quant, TensorId, TensorType } from './tensor.js';

/** What a node writes: an encoding, or a float without one. */
export interface LinearTarget {
  readonly dtype: DType;
  readonly quant: Quant;
}

/** A parameter that is a vector. */
export function vector(values: readonly number[]): U32Tensor {
  return { dims: [values.length], values };
}

export class NpuBuilder {
  private readonly sink: NodeSink;

  constructor(sink: NodeSink) {
    this.sink = sink;
  }

  tensor(id: TensorId): TensorType {
    return this.sink.tensor(id);
  }

  constant(name: string, value: Constant): TensorId {
    return this.sink.constant(name, value);
  }

  quantize(x: TensorId, encoding: Encoding, name: string): TensorId {
    return this.one('Quantize', [x], {}, encoding, name);
  }

  dequantize(x: TensorId, dtype: FloatType, name: string): TensorId {
    return this.one('Dequantize', [x], {}, { dtype }, name);
  }

  convert(x: TensorId, target: LinearTarget, name: string): TensorId {
    return this.one('Convert', [x], {}, target, name);
  }

  /** x [M, K], weight [N, K] → [M, N]. */
  fullyConnected(x: TensorId, weight: TensorId, target: LinearTarget, name: string, bias?: TensorId): TensorId {
    return this.one('FullyConnected', bias === undefined ? [x, weight] : [x, weight, bias], {}, target, name);
  }

  /** x [1, 1, M, K], weight [1, 1, K, N] → [1, 1, M, N]. */
  conv1x1(x: TensorId, weight: TensorId, target: LinearTarget, name: string, bias?: TensorId): TensorId {
    const attrs = { stride: vector([1, 1]), pad_amount: { dims: [2, 2], values: [0, 0, 0, 0] } };
    return this.one('Conv2d', bias === undefined ? [x, weight] : [x, weight, bias], attrs, target, name);
  }

  /** a [.., M, K] · b [.., K, N], each read transposed if asked for. */
  matMul(a: TensorId, b: TensorId, transposed: { a: boolean; b: boolean }, target: LinearTarget, name: string): TensorId {
    return this.one('MatMul', [a, b], { transpose_in0: transposed.a, transpose_in1: transposed.b }, target, name);
  }

  /** Over the last axis; gamma and beta are vectors of x's type. */
  rmsNorm(x: TensorId, gamma: TensorId, beta: TensorId, eps: number, name: string): TensorId {
    return this.one('RmsNorm', [x, gamma, beta], this.normAttrs(x, eps), null, name);
  }

  /** As {@link rmsNorm}, of x minus its mean. */
  layerNorm(x: TensorId, gamma: TensorId, beta: TensorId, eps: number, name: string): TensorId {
    return this.one('LayerNorm', [x, gamma, beta], this.normAttrs(x, eps), null, name);
  }

  /** exp(beta · x) over its sum along the last axis. */
  softmax(x: TensorId, beta: number, name: string, to: LinearTarget = this.tensor(x)): TensorId {
    return this.one('Softmax', [x], { axis: this.tensor(x).dims.length - 1, beta: Math.fround(beta) }, encodingOf(to), name);
  }

  /** `to`: encoding of the result; that of `a` when absent. The same of the other arithmetic. */
  add(a: TensorId, b: TensorId, name: string, to: LinearTarget = this.tensor(a)): TensorId {
    return this.one('ElementWiseAdd', [a, b], {}, encodingOf(to), name);
  }

  subtract(a: TensorId, b: TensorId, name: string, to: LinearTarget = this.tensor(a)): TensorId {
    return this.one('ElementWiseSubtract', [a, b], {}, encodingOf(to), name);
  }

  multiply(a: TensorId, b: TensorId, name: string, to: LinearTarget = this.tensor(a)): TensorId {
    return this.one('ElementWiseMultiply', [a, b], {}, encodingOf(to), name);
  }

  divide(a: TensorId, b: TensorId, name: string, to: LinearTarget = this.tensor(a)): TensorId {
    return this.one('ElementWiseDivide', [a, b], {}, encodingOf(to), name);
  }

  minimum(a: TensorId, b: TensorId, name: string): TensorId {
    return this.one('ElementWiseMinimum', [a, b], {}, encodingOf(this.tensor(a)), name);
  }

  maximum(a: TensorId, b: TensorId, name: string): TensorId {
    return this.one('ElementWiseMaximum', [a, b], {}, encodingOf(this.tensor(a)), name);
  }

  lessEqual(a: TensorId, b: TensorId, name: string): TensorId {
    return this.one('ElementWiseLessEqual', [a, b], {}, null, name);
  }

  /** condition ? a : b. */
  select(condition: TensorId, a: TensorId, b: TensorId, name: string): TensorId {
    return this.one('ElementWiseSelect', [condition, a, b], {}, null, name);
  }

  sigmoid(x: TensorId, name: string): TensorId {
    return this.one('Sigmoid', [x], {}, null, name);
  }

  relu(x: TensorId, name: string): TensorId {
    return this.one('Relu', [x], {}, null, name);
  }

  gelu(x: TensorId, name: string, to: LinearTarget = this.tensor(x)): TensorId {
    return this.one('Gelu', [x], {}, encodingOf(to), name);
  }

  reshape(x: TensorId, dims: readonly number[], name: string): TensorId {
    return this.one('Reshape', [x], {}, { dims }, name);
  }

  transpose(x: TensorId, perm: readonly number[], name: string): TensorId {
    return this.one('Transpose', [x], { perm: vector(perm) }, null, name);
  }

  concat(parts: readonly TensorId[], axis: number, name: string): TensorId {
    return this.one('Concat', parts, { axis }, null, name);
  }

  /** Cut before each index; as many names as parts. */
  split(x: TensorId, axis: number, indices: readonly number[], names: readonly string[]): TensorId[] {
    return this.sink.addNodes('Split', [x], { axis, split_index: vector(indices) }, null, names);
  }

  /** Per dimension [begin, end, stride]. */
  stridedSlice(x: TensorId, ranges: readonly (readonly [number, number, number])[], name: string): TensorId {
    const tensor: I32Tensor = { dims: [ranges.length, 3], values: ranges.flat() };
    return this.one('StridedSlice', [x], { ranges: tensor }, null, name);
  }

  gather(x: TensorId, indices: TensorId, axis: number, name: string): TensorId {
    return this.one('Gather', [x, indices], { axis }, null, name);
  }

  /** x with row indices[i] replaced by updates[i]; indices [.., 1]. */
  scatterRows(x: TensorId, indices: TensorId, updates: TensorId, name: string): TensorId {
    return this.one('ScatterNd', [x, indices, updates], { reduction: 0 }, null, name);
  }

  private normAttrs(x: TensorId, eps: number): { epsilon: number; axes: U32Tensor } {
    return { epsilon: Math.fround(eps), axes: vector([this.tensor(x).dims.length - 1]) };
  }

  private one<K extends NpuOp>(op: K, inputs: readonly TensorId[], attrs: NpuAttrs<K>, target: TargetOf<K>, name: string): TensorId {
    const [id] = this.sink.addNodes(op, inputs, attrs, target, [name]);
    if (id === undefined) throw badPlan(`${op} has no output`);
    return id;
  }
}

function encodingOf({ dtype, quant }: LinearTarget): LinearTarget {
  return { dtype, quant };
}
