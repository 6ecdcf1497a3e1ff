/** CPU steps by name: `g.cpu.rmsNorm(x, gain, eps, 'l0.n')`. The last argument names the result. */
import type { GraphBuilder } from './builder.js';
import type { CpuAttrs } from './cpu-ops.js';
import { type FloatType, isQuantType, type QuantType, quantLimits } from './dtype.js';
import { badPlan } from './schema.js';
import type { Quant, TensorId } from './tensor.js';

/** Scale and offset of a quantised activation. */
export interface Encoding {
  readonly dtype: QuantType;
  readonly quant: Quant;
}

export class CpuBuilder {
  private readonly graph: GraphBuilder;

  constructor(graph: GraphBuilder) {
    this.graph = graph;
  }

  /** Rows of the embedding for the tokens of the chunk. */
  embed(weight: TensorId, dtype: FloatType, name: string): TensorId {
    return one(this.graph.addStep('embed', [weight], {}, { dtype }, [name]));
  }

  rmsNorm(x: TensorId, gain: TensorId, eps: number, name: string): TensorId {
    return one(this.graph.addStep('rms_norm', [x, gain], { eps }, null, [name]));
  }

  /** y_i = x · W_iᵀ for every weight; x is quantised once for all (`exact`: not at all). */
  linear(x: TensorId, weights: readonly TensorId[], exact: boolean, names: readonly string[]): TensorId[] {
    return this.graph.addStep('linear', [x, ...weights], { exact }, null, names);
  }

  rope(x: TensorId, factors: TensorId | null, attrs: CpuAttrs<'rope'>, name: string): TensorId {
    return one(this.graph.addStep('rope', factors === null ? [x] : [x, factors], attrs, null, [name]));
  }

  kvAppend(k: TensorId, v: TensorId, layer: number): void {
    this.graph.addStep('kv_append', [k, v], { layer }, null, []);
  }

  attention(q: TensorId, attrs: CpuAttrs<'attention'>, name: string): TensorId {
    return one(this.graph.addStep('attention', [q], attrs, null, [name]));
  }

  siluMul(gate: TensorId, up: TensorId, name: string): TensorId {
    return one(this.graph.addStep('silu_mul', [gate, up], {}, null, [name]));
  }

  reluMul(gate: TensorId, up: TensorId, name: string): TensorId {
    return one(this.graph.addStep('relu_mul', [gate, up], {}, null, [name]));
  }

  add(a: TensorId, b: TensorId, name: string): TensorId {
    return one(this.graph.addStep('add', [a, b], {}, null, [name]));
  }

  convert(x: TensorId, dtype: FloatType, name: string): TensorId {
    return one(this.graph.addStep('convert', [x], {}, { dtype }, [name]));
  }

  quantize(x: TensorId, encoding: Encoding, name: string): TensorId {
    return one(this.graph.addStep('quantize', [x], {}, encoding, [name]));
  }

  dequantize(x: TensorId, dtype: FloatType, name: string): TensorId {
    return one(this.graph.addStep('dequantize', [x], {}, { dtype }, [name]));
  }

  /**
   * Repairs a linear whose input `x` was clipped to `encoding`: base + s·r·W, or with the linear's own quantised output its dequantised value
   * plus s·r·W, saturated ones recomputed whole. At least one of `base` and `quantized`. `hot`: channels whose rows of W are worth keeping in memory.
   */
  shadow(
    of: {
      x: TensorId;
      encoding: Encoding;
      weight: TensorId;
      base?: TensorId | undefined;
      quantized?: TensorId | undefined;
      hot?: TensorId | undefined;
    },
    dtype: FloatType,
    name: string,
  ): TensorId {
    const { quant } = of.encoding;
    if (quant.kind !== 'scale' || !isQuantType(of.encoding.dtype)) throw badPlan(`shadow ${name} of an input without an encoding`);
    const limits = quantLimits(of.encoding.dtype);
    const inputs = [of.x, of.weight, of.base, of.quantized, of.hot].filter((id) => id !== undefined);
    const attrs: CpuAttrs<'shadow'> = {
      hasBase: of.base !== undefined,
      hasQuantizedOutput: of.quantized !== undefined,
      xScale: quant.scale,
      xOffset: quant.offset,
      xBits: limits.bits,
      xSigned: limits.signed,
      hasHot: of.hot !== undefined,
    };
    return one(this.graph.addStep('shadow', inputs, attrs, { dtype }, [name]));
  }

  /** The rows whose logits are wanted, as F32. */
  selectRows(x: TensorId, name: string): TensorId {
    return one(this.graph.addStep('select_rows', [x], {}, null, [name]));
  }

  biasAdd(x: TensorId, bias: TensorId, name: string): TensorId {
    return one(this.graph.addStep('bias_add', [x, bias], {}, null, [name]));
  }

  /** Columns in another order: column c of the result is column order[c] of `x`. */
  permute(x: TensorId, order: TensorId, name: string): TensorId {
    return one(this.graph.addStep('permute', [x, order], {}, null, [name]));
  }

  /** Into the basis that `diagonal` and `matrix` make, or back. */
  rotate(x: TensorId, { diagonal, matrix }: { diagonal: TensorId; matrix: TensorId }, inverse: boolean, name: string): TensorId {
    return one(this.graph.addStep('rotate', [x, diagonal, matrix], { inverse }, null, [name]));
  }

  /** Rows that were computed before: of `table` (F32 [at least maxContext, columns]) the one at each row's position. */
  storedRows(table: TensorId, name: string): TensorId {
    return one(this.graph.addStep('stored_rows', [table], {}, null, [name]));
  }

  /** Gathers statistics of `x` under number `site`. */
  observe(x: TensorId, site: number): void {
    this.graph.addStep('observe', [x], { site }, null, []);
  }

  /** 1 where `x` lies outside of an 8-bit range, 0 elsewhere. */
  clipped(x: TensorId, encoding: Encoding, name: string): TensorId {
    const { quant } = encoding;
    if (quant.kind !== 'scale' || !isQuantType(encoding.dtype)) throw badPlan(`${name} of values without an encoding`);
    const attrs = { xScale: quant.scale, xOffset: quant.offset, xSigned: quantLimits(encoding.dtype).signed };
    return one(this.graph.addStep('clipped', [x], attrs, null, [name]));
  }
}

/** The single result of an op. */
function one(ids: readonly TensorId[]): TensorId {
  const [id] = ids;
  if (id === undefined || ids.length !== 1) throw badPlan(`${ids.length} results where one is expected`);
  return id;
}
