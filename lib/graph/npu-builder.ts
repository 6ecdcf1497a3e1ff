/** NPU nodes by name: `g.npu.rmsNorm(x, gamma, beta, 1e-5, 'l0.n')`. The last argument names the result. */
import type { GraphBuilder } from './builder.js';
import type { Encoding } from './cpu-builder.js';
import type { DType, FloatType } from './dtype.js';
import type { Quant, TensorId } from './tensor.js';

/** What a linear writes: an encoding, or F16 without one. */
export interface LinearTarget {
  readonly dtype: DType;
  readonly quant: Quant;
}

export class NpuBuilder {
  private readonly graph: GraphBuilder;

  constructor(graph: GraphBuilder) {
    this.graph = graph;
  }

  quantize(x: TensorId, encoding: Encoding, name: string): TensorId {
    return this.graph.addNode('Quantize', [x], {}, encoding, name);
  }

  dequantize(x: TensorId, dtype: FloatType, name: string): TensorId {
    return this.graph.addNode('Dequantize', [x], {}, { dtype }, name);
  }

  convert(x: TensorId, target: LinearTarget, name: string): TensorId {
    return this.graph.addNode('Convert', [x], {}, target, name);
  }

  /** x [M, K], weight [N, K] → [M, N]. */
  fullyConnected(x: TensorId, weight: TensorId, target: LinearTarget, name: string): TensorId {
    return this.graph.addNode('FullyConnected', [x, weight], {}, target, name);
  }

  /** x [1, 1, M, K], weight [1, 1, K, N] → [1, 1, M, N]. */
  conv1x1(x: TensorId, weight: TensorId, target: LinearTarget, name: string): TensorId {
    const attrs = { stride: { dims: [2], values: [1, 1] }, pad_amount: { dims: [2, 2], values: [0, 0, 0, 0] } };
    return this.graph.addNode('Conv2d', [x, weight], attrs, target, name);
  }

  /** Over the last axis; gamma and beta are vectors of x's type. */
  rmsNorm(x: TensorId, gamma: TensorId, beta: TensorId, eps: number, name: string): TensorId {
    const axis = this.graph.tensor(x).dims.length - 1;
    return this.graph.addNode('RmsNorm', [x, gamma, beta], { epsilon: Math.fround(eps), axes: { dims: [1], values: [axis] } }, null, name);
  }

  add(a: TensorId, b: TensorId, name: string): TensorId {
    return this.graph.addNode('ElementWiseAdd', [a, b], {}, null, name);
  }

  multiply(a: TensorId, b: TensorId, name: string): TensorId {
    return this.graph.addNode('ElementWiseMultiply', [a, b], {}, null, name);
  }

  sigmoid(x: TensorId, name: string): TensorId {
    return this.graph.addNode('Sigmoid', [x], {}, null, name);
  }

  relu(x: TensorId, name: string): TensorId {
    return this.graph.addNode('Relu', [x], {}, null, name);
  }

  reshape(x: TensorId, dims: readonly number[], name: string): TensorId {
    return this.graph.addNode('Reshape', [x], {}, { dims }, name);
  }

  gather(x: TensorId, indices: TensorId, axis: number, name: string): TensorId {
    return this.graph.addNode('Gather', [x, indices], { axis }, null, name);
  }
}
