/** One linear on the NPU in its precision: Quantize → FullyConnected or Conv2d 1×1 → Dequantize, or F16 all the way. */
import type { Encoding } from '../graph/cpu-builder.js';
import { type QuantType, quantLimits } from '../graph/dtype.js';
import type { LinearName, QuantRange } from '../graph/spec.js';
import { NO_QUANT, scaleQuant, type TensorId } from '../graph/tensor.js';
import type { Decoder } from './blocks.js';
import { badSpec, linearShape, linearSpec } from './check-spec.js';

/** A range in integers of type `dtype`: s8 and u8 are the same encoding, shifted by 128. HTP wants input and output of a linear of one type. */
export function encodingIn(range: QuantRange, dtype: QuantType): Encoding {
  const shift = quantLimits(range.dtype).lo - quantLimits(dtype).lo;
  return { dtype, quant: scaleQuant(range.scale, range.offset + shift) };
}

/** An input that several linears share: quantised once, reshaped once. */
export class NpuInput {
  /** F16, what was quantised. */
  readonly x: TensorId;
  /** null: F16 linears. */
  readonly encoding: Encoding | null;
  private readonly d: Decoder;
  /** What the linears read, [chunk, K]. */
  private readonly matrix: TensorId;
  private rank4: TensorId | null = null;

  constructor(d: Decoder, x: TensorId, range: QuantRange | null) {
    this.d = d;
    this.x = x;
    this.encoding = range === null ? null : encodingIn(range, range.dtype);
    this.matrix = this.encoding === null ? x : d.g.npu.quantize(x, this.encoding, `${this.name(x)}.${this.encoding.dtype}`);
  }

  /** [chunk, K] */
  forFullyConnected(): TensorId {
    return this.matrix;
  }

  /** [1, 1, chunk, K] */
  forConv(): TensorId {
    this.rank4 ??= this.d.g.npu.reshape(this.matrix, [1, 1, ...this.d.g.tensor(this.matrix).dims], `${this.name(this.matrix)}.rank4`);
    return this.rank4;
  }

  private name(id: TensorId): string {
    return this.d.g.tensor(id).name;
  }
}

/** What a linear wrote. Each form is made only when asked for, since a node's result must be used. */
export class NpuResult {
  private readonly d: Decoder;
  private readonly raw: TensorId;
  private readonly name: string;
  /** Of its channels. */
  private readonly factors: TensorId | null;

  constructor(d: Decoder, raw: TensorId, name: string, factors: TensorId | null = null) {
    this.d = d;
    this.raw = raw;
    this.name = name;
    this.factors = factors;
  }

  /** In the linear's own encoding, for output repair. */
  quantized(): TensorId {
    return this.raw;
  }

  f16(): TensorId {
    const { npu } = this.d.g;
    if (this.d.g.tensor(this.raw).dtype === 'f16') return this.raw;
    if (this.factors === null) return npu.dequantize(this.raw, 'f16', this.name);
    return npu.multiply(npu.dequantize(this.raw, 'f16', `${this.name}.unit`), this.factors, this.name);
  }
}

/** Linear `name` of `layer`; the F16 result is called `l<layer>.<name><suffix>`. */
export function npuLinear(d: Decoder, input: NpuInput, layer: number, name: LinearName, suffix = ''): NpuResult {
  const { npu } = d.g;
  const { output, layout } = linearSpec(d.spec, layer, name);
  const weight = d.weights.npuLinear(layer, name);
  const result = `l${layer}.${name}${suffix}`;
  if (input.encoding === null) {
    return new NpuResult(d, npu.fullyConnected(input.forFullyConnected(), weight, { dtype: 'f16', quant: NO_QUANT }, result), result);
  }
  if (output === null) throw badSpec(`layers.${layer}.${name}: output range is missing`);
  const { dtype } = input.encoding;
  const target = encodingIn(output, dtype);
  const quantized = `l${layer}.${name}.${dtype}`;
  const factors = d.weights.factors(layer, name);
  if (layout === 'fc') return new NpuResult(d, npu.fullyConnected(input.forFullyConnected(), weight, target, quantized), result, factors);
  const rank4 = npu.conv1x1(input.forConv(), weight, target, `${quantized}.rank4`);
  const [rows] = linearShape(d.spec.arch, name);
  return new NpuResult(d, npu.reshape(rank4, [d.g.config.chunk, rows], quantized), result, factors);
}
