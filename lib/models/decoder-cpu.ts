/** A decoder on the CPU alone: packed or plain weights, F32 activations. Any number of rows up to a chunk. */
import type { ArchSpec, LinearName } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import { addBias, attention, type Decoder, head, linears } from './blocks.js';
import { type NormOf, observeLinears } from './observed.js';

/** The step that joins gate and up. */
const GATED = { silu: 'siluMul', relu: 'reluMul' } as const satisfies Record<ArchSpec['activation'], string>;

/** Linears of one layer that read `x`, observed when calibrating. `from`: what made `x`, when that is a norm. */
function layerLinears(d: Decoder, layer: number, x: TensorId, names: readonly LinearName[], from: NormOf | null): TensorId[] {
  const weights = names.map((name) => d.weights.linear(layer, name));
  const results = linears(
    d,
    x,
    weights,
    names.map((name) => `l${layer}.${name}`),
  );
  if (d.observer !== null) observeLinears(d, d.observer, layer, { x, names, weights, from }, results);
  return results;
}

/** Linears that something else computes in the place of the CPU's. */
export interface Replacement {
  names: readonly LinearName[];
  run: (x: TensorId, names: readonly LinearName[], from: NormOf | null) => TensorId[];
}

/** One layer: the next residual, F32. */
export function layerOf(d: Decoder, layer: number, x: TensorId, replacement: Replacement | null = null): TensorId {
  const { cpu } = d.g;
  const run = (input: TensorId, names: readonly LinearName[], from: NormOf | null = null): TensorId[] =>
    replacement && names.every((linear) => replacement.names.includes(linear))
      ? replacement.run(input, names, from)
      : layerLinears(d, layer, input, names, from);
  const { rmsEps, activation } = d.spec.arch;
  const name = (suffix: string): string => `l${layer}.${suffix}`;

  const n = cpu.rmsNorm(x, d.weights.gain(layer, 'attn_norm'), rmsEps, name('n'));
  const [q, k, v] = run(n, ['q', 'k', 'v'], { norm: 'attn_norm', residual: x }) as [TensorId, TensorId, TensorId];
  const a = attention(d, layer, addBias(d, layer, { q, k, v }));
  const [o] = run(a, ['o']) as [TensorId];
  const h = cpu.add(x, o, name('h'));

  const fn = cpu.rmsNorm(h, d.weights.gain(layer, 'ffn_norm'), rmsEps, name('fn'));
  const [gate, up] = run(fn, ['gate', 'up'], { norm: 'ffn_norm', residual: h }) as [TensorId, TensorId];
  const m = cpu[GATED[activation]](gate, up, name('m'));
  const [down] = run(m, ['down']) as [TensorId];
  return cpu.add(h, down, name('x'));
}

/** The whole decoder; returns the logits. */
export function cpuDecoder(d: Decoder): TensorId {
  let x = d.g.cpu.embed(d.weights.embed(), 'f32', 'x');
  for (let layer = 0; layer < d.spec.arch.layers; layer++) x = layerOf(d, layer, x);
  return head(d, x);
}
