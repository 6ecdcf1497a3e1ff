/** A decoder on the CPU alone: packed or plain weights, F32 activations. Any number of rows up to a chunk. */
import type { ArchSpec, LinearName } from '../graph/spec.js';
import { scaleQuant, type TensorId } from '../graph/tensor.js';
import { addBias, attention, type Decoder, head, linears } from './blocks.js';
import { checkRange, checkShared, linearKey } from './check-spec.js';

/** The step that joins gate and up. */
const GATED = { silu: 'siluMul', relu: 'reluMul' } as const satisfies Record<ArchSpec['activation'], string>;

/** Linears of one layer that read `x`, observed when calibrating. */
function layerLinears(d: Decoder, layer: number, x: TensorId, names: readonly LinearName[]): TensorId[] {
  const weights = names.map((name) => d.weights.linear(layer, name));
  d.observer?.observe(x, layer, names, 'input');
  const results = linears(
    d,
    x,
    weights,
    names.map((name) => `l${layer}.${name}`),
  );
  if (d.observer !== null) {
    results.forEach((y, i) => {
      d.observer?.observe(y, layer, names.slice(i, i + 1), 'output');
    });
    if (d.observer.calibrate === 'outputs') observeClipped(d, layer, x, names, weights);
  }
  return results;
}

/** Beside the float path: what the linears write when the input is clipped to its range. Nothing reads it on. */
function observeClipped(d: Decoder, layer: number, x: TensorId, names: readonly LinearName[], weights: readonly TensorId[]): void {
  const [first] = names;
  const range = first === undefined ? undefined : d.spec.linears[linearKey(layer, first)]?.input;
  if (range === undefined || range === null) return;
  checkShared(d.spec, layer, names);
  checkRange(range, `${linearKey(layer, first ?? 'q')}: input range`);
  const name = d.g.tensor(x).name;
  const quantized = d.g.cpu.quantize(x, { dtype: range.dtype, quant: scaleQuant(range.scale, range.offset) }, `${name}.${range.dtype}`);
  const clipped = d.g.cpu.dequantize(quantized, 'f32', `${name}.clipped`);
  const results = linears(
    d,
    clipped,
    weights,
    names.map((linear) => `l${layer}.${linear}.clipped`),
  );
  results.forEach((y, i) => {
    d.observer?.observe(y, layer, names.slice(i, i + 1), 'clippedOutput');
  });
}

function layerOf(d: Decoder, layer: number, x: TensorId): TensorId {
  const { cpu } = d.g;
  const { rmsEps, activation } = d.spec.arch;
  const name = (suffix: string): string => `l${layer}.${suffix}`;

  const n = cpu.rmsNorm(x, d.weights.gain(layer, 'attn_norm'), rmsEps, name('n'));
  const [q, k, v] = layerLinears(d, layer, n, ['q', 'k', 'v']) as [TensorId, TensorId, TensorId];
  const a = attention(d, layer, addBias(d, layer, { q, k, v }));
  const [o] = layerLinears(d, layer, a, ['o']) as [TensorId];
  const h = cpu.add(x, o, name('h'));

  const fn = cpu.rmsNorm(h, d.weights.gain(layer, 'ffn_norm'), rmsEps, name('fn'));
  const [gate, up] = layerLinears(d, layer, fn, ['gate', 'up']) as [TensorId, TensorId];
  const m = cpu[GATED[activation]](gate, up, name('m'));
  const [down] = layerLinears(d, layer, m, ['down']) as [TensorId];
  return cpu.add(h, down, name('x'));
}

/** The whole decoder; returns the logits. */
export function cpuDecoder(d: Decoder): TensorId {
  let x = d.g.cpu.embed(d.weights.embed(), 'f32', 'x');
  for (let layer = 0; layer < d.spec.arch.layers; layer++) x = layerOf(d, layer, x);
  return head(d, x);
}
