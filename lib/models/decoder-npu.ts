/**
 * Prefill with the linears on the NPU. Everything between the linears is F16 there; rope, cache, attention and repairs are CPU steps. Segments form
 * by themselves: part2 of a layer and part1 of the next are one unless the repair of down stands between them.
 */
import type { LinearName, LinearSpec } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import { addBias, attention, type Decoder, head, type Qkv } from './blocks.js';
import { badSpec, linearSpec } from './check-spec.js';
import { encodingIn, NpuInput, npuLinear } from './npu-linear.js';
import type { Rotation } from './weights.js';

/** The tensor that `name` and its siblings read. */
function inputOf(d: Decoder, layer: number, name: LinearName, x: TensorId): NpuInput {
  return new NpuInput(d, x, linearSpec(d.spec, layer, name).input);
}

/**
 * CPU repair of a linear whose input was clipped on the NPU (NUMERICS: input residual, output saturation).
 * `base` is added to what the linear wrote; `quantized` is its own output, absent when `base` has it already.
 */
function repair(
  d: Decoder,
  layer: number,
  linear: LinearName,
  of: { input: NpuInput; base?: TensorId; quantized?: TensorId },
  dtype: 'f32' | 'f16',
  name: string,
): TensorId {
  const { encoding, x } = of.input;
  if (encoding === null) throw badSpec(`layers.${layer}.${linear} is flagged for shadow without an input range`);
  return d.g.cpu.shadow(
    { x, encoding, weight: d.weights.npuLinear(layer, linear), base: of.base, quantized: of.quantized, hot: d.weights.hot(layer, linear) },
    dtype,
    name,
  );
}

/** What of a linear the plan repairs: what `lutra.json` flags, or nothing. */
function repairs(d: Decoder, layer: number, name: LinearName): LinearSpec['shadow'] {
  return d.repair ? linearSpec(d.spec, layer, name).shadow : { input: false, output: false };
}

/** Norm and the q, k, v linears (NPU), then their repair (CPU). x: F16 residual; returns F32. */
function part1(d: Decoder, layer: number, x: TensorId): Qkv {
  const n = d.g.npu.rmsNorm(x, d.weights.gamma(layer, 'attn_norm'), d.weights.zeros(), d.spec.arch.rmsEps, `l${layer}.n`);
  const [q, k, v] = repairedLinears(d, layer, n, ['q', 'k', 'v']) as [TensorId, TensorId, TensorId];
  return { q, k, v };
}

/** Linears of one input (F16) on the NPU, repaired on the CPU where they are flagged for it. Returns F32. */
export function repairedLinears(d: Decoder, layer: number, x: TensorId, names: readonly LinearName[]): TensorId[] {
  const input = inputOf(d, layer, names[0] ?? 'q', x);
  // All nodes first, then all steps: a step in between would cut the segment.
  const finish = names.map((name) => {
    const shadow = repairs(d, layer, name);
    const linear = npuLinear(d, input, layer, name, '.f16');
    if (shadow.output) {
      const quantized = linear.quantized();
      return () => repair(d, layer, name, { input, quantized }, 'f32', `l${layer}.${name}`);
    }
    const base = linear.f16();
    if (shadow.input) return () => repair(d, layer, name, { input, base }, 'f32', `l${layer}.${name}`);
    return () => d.g.cpu.convert(base, 'f32', `l${layer}.${name}`);
  });
  return finish.map((step) => step());
}

/** gate, up → m, F16. */
export function mlp(d: Decoder, layer: number, gate: TensorId, up: TensorId): TensorId {
  const { npu } = d.g;
  const name = (suffix: string): string => `l${layer}.${suffix}`;
  const { activation } = d.spec.arch;
  switch (activation) {
    case 'silu':
      return npu.multiply(npu.multiply(gate, npu.sigmoid(gate, name('sigmoid')), name('silu')), up, name('m'));
    case 'relu':
      return npu.multiply(npu.relu(gate, name('relu')), up, name('m'));
    default:
      throw badSpec(`unknown activation ${String(activation satisfies never)}`);
  }
}

/** o, residual, norm, MLP, residual (NPU) and the repairs of o and down (CPU). x: F16 residual; a: attention, F32. Returns the next F16 residual. */
function part2(d: Decoder, layer: number, x: TensorId, a: TensorId): TensorId {
  const { cpu, npu } = d.g;
  const name = (suffix: string): string => `l${layer}.${suffix}`;
  const a16 = cpu.convert(a, 'f16', name('a.f16'));
  // o's repair needs only its input, so the residual carries it into the segment.
  const residual = repairs(d, layer, 'o').input ? repairOfO(d, layer, a16, x) : x;
  const h = npu.add(npuLinear(d, inputOf(d, layer, 'o', a16), layer, 'o').f16(), residual, name('h'));

  const fn = npu.rmsNorm(h, d.weights.gamma(layer, 'ffn_norm'), d.weights.zeros(), d.spec.arch.rmsEps, name('fn'));
  const ffn = inputOf(d, layer, 'gate', fn);
  const gate = npuLinear(d, ffn, layer, 'gate').f16();
  const m = mlp(d, layer, gate, npuLinear(d, ffn, layer, 'up').f16());

  const input = inputOf(d, layer, 'down', m);
  const down = npuLinear(d, input, layer, 'down');
  const shadow = repairs(d, layer, 'down');
  if (shadow.output) return repair(d, layer, 'down', { input, base: h, quantized: down.quantized() }, 'f16', name('x'));
  if (shadow.input) return repair(d, layer, 'down', { input, base: npu.add(down.f16(), h, name('y')) }, 'f16', name('x'));
  return npu.add(down.f16(), h, name('x'));
}

/** residual + s·r·W for what o's input range clips; a CPU step, so it comes before the segment that quantises `a16`. */
function repairOfO(d: Decoder, layer: number, a16: TensorId, residual: TensorId): TensorId {
  const { input } = linearSpec(d.spec, layer, 'o');
  if (input === null) throw badSpec(`layers.${layer}.o is flagged for shadow without an input range`);
  const weight = d.weights.npuLinear(layer, 'o');
  return d.g.cpu.shadow(
    { x: a16, encoding: encodingIn(input, input.dtype), weight, base: residual, hot: d.weights.hot(layer, 'o') },
    'f16',
    `l${layer}.r`,
  );
}

/** The first residual, F16, in the basis of the NPU's weights. */
function embedding(d: Decoder, rotation: Rotation | null): TensorId {
  const { cpu } = d.g;
  if (rotation === null) return cpu.embed(d.weights.embed(), 'f16', 'x');
  const rows = cpu.embed(d.weights.embed(), 'f32', 'embedding');
  return cpu.convert(cpu.rotate(rows, rotation, false, 'embedding.rotated'), 'f16', 'x');
}

/** The whole decoder for one chunk; returns the logits. */
export function npuDecoder(d: Decoder): TensorId {
  const rotation = d.weights.rotation();
  let x = embedding(d, rotation);
  for (let layer = 0; layer < d.spec.arch.layers; layer++) {
    const qkv = addBias(d, layer, part1(d, layer, x));
    x = part2(d, layer, x, attention(d, layer, qkv));
  }
  return head(d, x, rotation);
}
