/** Parts of a decoder that both programs share, and what every block needs. */
import type { GraphBuilder } from '../graph/builder.js';
import { isBlockType } from '../graph/dtype.js';
import type { ModelSpec } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import type { ModelFamily } from './families/index.js';
import type { Observer } from './sites.js';
import type { Rotation, Weights } from './weights.js';

export interface Decoder {
  readonly g: GraphBuilder;
  readonly spec: ModelSpec;
  readonly family: ModelFamily;
  readonly weights: Weights;
  /** Float arithmetic in the CPU's linears instead of 8-bit activations. */
  readonly exact: boolean;
  readonly observer: Observer | null;
  /** Whether the CPU repairs what NPU linears clip. */
  readonly repair: boolean;
}

export interface Qkv {
  readonly q: TensorId;
  readonly k: TensorId;
  readonly v: TensorId;
}

/**
 * Linears of one input. One step takes packed weights or plain ones, not both, because only packed ones quantise the input; weights whose columns are in an order of their own
 * read the input in that order, made once for all that share it.
 */
export function linears(d: Decoder, x: TensorId, weights: readonly TensorId[], names: readonly string[]): TensorId[] {
  const results = new Array<TensorId>(weights.length);
  for (const { order, chosen } of stepsOf(d, weights)) {
    const made = d.g.cpu.linear(
      order === null ? x : d.g.cpu.permute(x, order, `${names[chosen[0] ?? 0]}.in`),
      chosen.flatMap((i) => weights[i] ?? []),
      d.exact,
      chosen.flatMap((i) => names[i] ?? []),
    );
    chosen.forEach((i, at) => {
      const id = made[at];
      if (id !== undefined) results[i] = id;
    });
  }
  return results;
}

/** Weights by the step that multiplies them, as indices. */
function stepsOf(d: Decoder, weights: readonly TensorId[]): { order: TensorId | null; chosen: number[] }[] {
  const steps: { packed: boolean; order: TensorId | null; chosen: number[] }[] = [];
  weights.forEach((weight, i) => {
    const packed = isBlockType(d.g.tensor(weight).dtype);
    const order = d.weights.orderOf(weight);
    const same = steps.find((step) => step.packed === packed && step.order === order);
    if (same) same.chosen.push(i);
    else steps.push({ packed, order, chosen: [i] });
  });
  return steps.sort((a, b) => Number(b.packed) - Number(a.packed));
}

/** Adds the biases that the model has; F32 in and out. */
export function addBias(d: Decoder, layer: number, qkv: Qkv): Qkv {
  const biased = (name: 'q' | 'k' | 'v'): TensorId => {
    const bias = d.weights.bias(layer, name);
    return bias === null ? qkv[name] : d.g.cpu.biasAdd(qkv[name], bias, `l${layer}.${name}.biased`);
  };
  return { q: biased('q'), k: biased('k'), v: biased('v') };
}

/** q or k as attention takes them: heads normed where the family does that, and rotated. */
function rotated(d: Decoder, layer: number, name: 'q' | 'k', x: TensorId): TensorId {
  const { heads, kvHeads, headDim, ropeTheta: theta, ropeInterleaved: interleaved, rmsEps } = d.spec.arch;
  const normed = d.family.qkNorm ? d.g.cpu.rmsNorm(x, d.weights.headGain(layer, name), rmsEps, `l${layer}.${name}.norm`) : x;
  const attrs = { heads: name === 'q' ? heads : kvHeads, headDim, theta, interleaved, levels: d.family.ropeLevels };
  return d.g.cpu.rope(normed, d.weights.ropeFactors(), attrs, `l${layer}.${name}.rope`);
}

/** Norms and rotates q and k, appends k and v to the cache, attends over all positions so far. F32 in and out. */
export function attention(d: Decoder, layer: number, { q, k, v }: Qkv): TensorId {
  const { heads, kvHeads, headDim } = d.spec.arch;
  const rotatedQ = rotated(d, layer, 'q', q);
  const rotatedK = rotated(d, layer, 'k', k);
  d.g.cpu.kvAppend(rotatedK, v, layer);
  return d.g.cpu.attention(rotatedQ, { layer, heads, kvHeads, headDim, scale: 1 / Math.sqrt(headDim) }, `l${layer}.a`);
}

/** Logits of the rows that are wanted, from the last residual (F32 or F16), which lives in a basis of its own where there is a `rotation`. */
export function head(d: Decoder, x: TensorId, rotation: Rotation | null = null): TensorId {
  // Calibration asks for no logits, so that lm_head's input is made of all rows beside it.
  if (d.observer?.calibrate === 'inputs')
    d.observer.observe(d.g.cpu.rmsNorm(x, d.weights.cpu('norm'), d.spec.arch.rmsEps, 'n'), d.spec.arch.layers, [], 'head');
  const selected = d.g.cpu.selectRows(x, rotation === null ? 'last.x' : 'last.x.rotated');
  const rows = rotation === null ? selected : d.g.cpu.rotate(selected, rotation, true, 'last.x');
  const n = d.g.cpu.rmsNorm(rows, d.weights.cpu('norm'), d.spec.arch.rmsEps, 'last.n');
  const [logits] = linears(d, n, [d.weights.lmHead()], ['logits']) as [TensorId];
  return logits;
}
