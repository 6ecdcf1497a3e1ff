/** Tensors of the model files as tensors of a graph. */
import type { GraphBuilder } from '../graph/builder.js';
import type { LinearName, ModelSpec } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import { badSpec, linearKey, linearShape, linearSpec } from './check-spec.js';
import { type NormName, ROTATION, rotationSize } from './rotation.js';

/** What a `rotate` step reads beside its input. */
export interface Rotation {
  readonly diagonal: TensorId;
  readonly matrix: TensorId;
}

export class Weights {
  private readonly g: GraphBuilder;
  private readonly spec: ModelSpec;
  private readonly orders = new Map<TensorId, TensorId>();

  constructor(g: GraphBuilder, spec: ModelSpec) {
    this.g = g;
    this.spec = spec;
  }

  /** A tensor of cpu.safetensors with the type and shape that lutra.json says. */
  cpu(name: string): TensorId {
    const tensor = this.spec.tensors[name];
    if (tensor === undefined) throw badSpec(`tensor ${name} is missing`);
    const id = this.g.weight(name, tensor.type, tensor.shape);
    if (tensor.order !== undefined) this.orders.set(id, this.g.weight(tensor.order, 'u32', tensor.shape.slice(1)));
    return id;
  }

  /** The order of the columns of a weight; null: that of its input. */
  orderOf(weight: TensorId): TensorId | null {
    return this.orders.get(weight) ?? null;
  }

  embed(): TensorId {
    return this.cpu('embed');
  }

  lmHead(): TensorId {
    return this.cpu(this.spec.arch.tied ? 'embed' : 'lm_head');
  }

  /** Packed weight of the CPU. */
  linear(layer: number, name: LinearName): TensorId {
    return this.cpu(linearKey(layer, name));
  }

  /** null unless the model has one. */
  bias(layer: number, name: 'q' | 'k' | 'v'): TensorId | null {
    return this.spec.arch.qkvBias ? this.cpu(`${linearKey(layer, name)}.bias`) : null;
  }

  ropeFactors(): TensorId | null {
    return this.spec.arch.ropeFactors ? this.cpu('rope_factors') : null;
  }

  /** Norm gain of the CPU, F32. */
  gain(layer: number, norm: NormName): TensorId {
    return this.cpu(`layers.${layer}.${norm}`);
  }

  /** Gain of the heads of q or k, F32 [headDim]. */
  headGain(layer: number, name: 'q' | 'k'): TensorId {
    return this.cpu(`layers.${layer}.${name}_norm`);
  }

  /** Norm gain of the NPU, F16. */
  gamma(layer: number, norm: NormName): TensorId {
    const name = this.spec.transform === 'rotate' ? ROTATION.ones : `layers.${layer}.${norm}`;
    return this.g.weight(`${name}.f16`, 'f16', [this.spec.arch.hidden]);
  }

  /** The rotation of the residual stream; null: it lives in the basis of the model. */
  rotation(diagonal: string = ROTATION.signs): Rotation | null {
    const { hidden } = this.spec.arch;
    if (this.spec.transform === 'none') return null;
    const size = rotationSize(hidden);
    return { diagonal: this.g.weight(diagonal, 'f32', [hidden]), matrix: this.g.weight(ROTATION.matrix, 'f32', [size, size]) };
  }

  /** The gain of a norm whose gains are folded, F32. */
  ones(): TensorId {
    return this.g.weight(ROTATION.ones, 'f32', [this.spec.arch.hidden]);
  }

  /** Zeros that HTP's RmsNorm wants as beta. */
  zeros(): TensorId {
    return this.g.weight('zeros.f16', 'f16', [this.spec.arch.hidden]);
  }

  /** What the outputs of a linear were divided by, F16 [1, out]; null: they have one range. */
  factors(layer: number, name: LinearName): TensorId | null {
    if (linearSpec(this.spec, layer, name).factors === undefined) return null;
    const [rows] = linearShape(this.spec.arch, name);
    return this.g.weight(`${linearKey(layer, name)}.factors.f16`, 'f16', [1, rows]);
  }

  /** Channels of the input that are clipped most often, U32 [hot]; undefined: not known. */
  hot(layer: number, name: LinearName): TensorId | undefined {
    const { hot } = linearSpec(this.spec, layer, name);
    return hot === undefined ? undefined : this.g.weight(`${linearKey(layer, name)}.hot`, 'u32', [hot]);
  }

  /** S8 weight of the NPU with a scale per output: [out, in], or [1, 1, in, out] in layout conv. */
  npuLinear(layer: number, name: LinearName): TensorId {
    const key = linearKey(layer, name);
    const [rows, cols] = linearShape(this.spec.arch, name);
    const scales = this.g.weight(`${key}.scale`, 'f32', [rows]);
    const conv = linearSpec(this.spec, layer, name).layout === 'conv';
    return this.g.weight(`${key}.w8`, 's8', conv ? [1, 1, cols, rows] : [rows, cols], { kind: 'axis', axis: conv ? 3 : 0, scales });
  }
}
