/**
 * A decoder in float64 on plain arrays: slow, obvious, without a cache. What everything else is compared with.
 * Weights are F32 (exactly held by float64); all arithmetic is float64.
 */
import type { ArchSpec } from '../../lib/graph/spec.js';
import { modelFamily } from '../../lib/models/families/index.js';
import type { Weight } from './tiny.js';

type Row = Float64Array;

export interface Trace {
  /** Logits per position, [vocab]. */
  logits: Row[];
  /** Values of named tensors per position, under the names of the plan: `x`, `l0.n`, `l0.q` (before bias and rotation), `l0.a`, `l0.h`, `l0.m`, `l0.x` … */
  tensors: Map<string, Row[]>;
}

/** y[o] = Σ_i w[o, i] · x[i] */
export function matVec(w: Weight, x: ArrayLike<number>): Row {
  const [rows = 0, cols = 0] = w.shape;
  if (cols !== x.length) throw new Error(`[${w.shape.join(', ')}] times ${x.length} elements`);
  const y = new Float64Array(rows);
  for (let o = 0; o < rows; o++) {
    let sum = 0;
    for (let i = 0; i < cols; i++) sum += at(w.data, o * cols + i) * at(x, i);
    y[o] = sum;
  }
  return y;
}

/** y[i] = x[i] / sqrt(mean(x²) + eps) · gain[i] */
export function rmsNorm(x: Row, gain: Weight, eps: number): Row {
  const mean = x.reduce((sum, v) => sum + v * v, 0) / x.length;
  return x.map((v, i) => (v / Math.sqrt(mean + eps)) * at(gain.data, i));
}

/** The same of every piece as long as the gain. */
export function rmsNormHeads(x: Row, gain: Weight, eps: number): Row {
  const y = new Float64Array(x.length);
  for (let head = 0; head < x.length; head += gain.data.length) y.set(rmsNorm(x.subarray(head, head + gain.data.length), gain, eps), head);
  return y;
}

/** Rotates every head by its position. Pairs (2i, 2i+1) when interleaved, else (i, i + headDim/2). `levels`: cosines and sines are multiples of 1/levels. */
export function rope(
  x: Row,
  position: number,
  arch: Pick<ArchSpec, 'headDim' | 'ropeTheta' | 'ropeInterleaved'>,
  factors: Weight | undefined,
  levels = 0,
): Row {
  const half = arch.headDim / 2;
  const y = new Float64Array(x.length);
  const stored = (v: number): number => (levels === 0 ? v : Math.round(v * levels) / levels);
  for (let head = 0; head < x.length; head += arch.headDim) {
    for (let i = 0; i < half; i++) {
      const divisor = factors === undefined ? 1 : at(factors.data, i);
      const angle = (position * arch.ropeTheta ** ((-2 * i) / arch.headDim)) / divisor;
      const [a, b] = arch.ropeInterleaved ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + half];
      const [cos, sin] = [stored(Math.cos(angle)), stored(Math.sin(angle))];
      y[a] = at(x, a) * cos - at(x, b) * sin;
      y[b] = at(x, a) * sin + at(x, b) * cos;
    }
  }
  return y;
}

export function softmax(scores: readonly number[]): number[] {
  const max = Math.max(...scores);
  const e = scores.map((s) => Math.exp(s - max));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

export function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** Query head h attends with KV head floor(h / (heads / kvHeads)) over positions 0 … keys.length − 1. */
function attend(q: Row, keys: readonly Row[], values: readonly Row[], arch: ArchSpec): Row {
  const { heads, kvHeads, headDim } = arch;
  const y = new Float64Array(heads * headDim);
  for (let h = 0; h < heads; h++) {
    const kv = Math.floor(h / (heads / kvHeads)) * headDim;
    const scores = keys.map((key) => {
      let dot = 0;
      for (let i = 0; i < headDim; i++) dot += at(q, h * headDim + i) * at(key, kv + i);
      return dot / Math.sqrt(headDim);
    });
    softmax(scores).forEach((p, t) => {
      for (let i = 0; i < headDim; i++) y[h * headDim + i] = at(y, h * headDim + i) + p * at(values[t] ?? [], kv + i);
    });
  }
  return y;
}

/** Runs all positions of `tokens` from an empty context. */
export function referenceDecoder(arch: ArchSpec, weights: ReadonlyMap<string, Weight>, tokens: readonly number[]): Trace {
  const trace: Trace = { logits: [], tensors: new Map() };
  const weight = (name: string): Weight => {
    const w = weights.get(name);
    if (w === undefined) throw new Error(`no weight ${name}`);
    return w;
  };
  const keep = (name: string, rows: Row[]): Row[] => {
    trace.tensors.set(name, rows);
    return rows;
  };
  const factors = arch.ropeFactors ? weight('rope_factors') : undefined;
  const biased = (layer: number, name: string, rows: Row[]): Row[] =>
    arch.qkvBias
      ? keep(
          `l${layer}.${name}.biased`,
          rows.map((row) => sum(row, weight(`layers.${layer}.${name}.bias`).data)),
        )
      : rows;

  const { qkNorm, ropeLevels } = modelFamily(arch.family);
  const rotated = (layer: number, name: 'q' | 'k', rows: Row[]): Row[] => {
    const normed = qkNorm
      ? keep(
          `l${layer}.${name}.norm`,
          rows.map((row) => rmsNormHeads(row, weight(`layers.${layer}.${name}_norm`), arch.rmsEps)),
        )
      : rows;
    return normed.map((row, t) => rope(row, t, arch, factors, ropeLevels));
  };

  const embed = weight('embed');
  let x = keep(
    'x',
    tokens.map((token) => Float64Array.from(embed.data.subarray(token * arch.hidden, (token + 1) * arch.hidden))),
  );
  for (let layer = 0; layer < arch.layers; layer++) {
    const linear = (name: string, rows: Row[]): Row[] =>
      keep(
        `l${layer}.${name}`,
        rows.map((row) => matVec(weight(`layers.${layer}.${name}`), row)),
      );
    const n = keep(
      `l${layer}.n`,
      x.map((row) => rmsNorm(row, weight(`layers.${layer}.attn_norm`), arch.rmsEps)),
    );
    const q = rotated(layer, 'q', biased(layer, 'q', linear('q', n)));
    const k = rotated(layer, 'k', biased(layer, 'k', linear('k', n)));
    const v = biased(layer, 'v', linear('v', n));
    const a = keep(
      `l${layer}.a`,
      q.map((row, t) => attend(row, k.slice(0, t + 1), v.slice(0, t + 1), arch)),
    );
    const o = linear('o', a);
    const h = keep(
      `l${layer}.h`,
      x.map((row, t) => sum(row, o[t] ?? [])),
    );
    const fn = keep(
      `l${layer}.fn`,
      h.map((row) => rmsNorm(row, weight(`layers.${layer}.ffn_norm`), arch.rmsEps)),
    );
    const gate = linear('gate', fn);
    const up = linear('up', fn);
    const activate = arch.activation === 'silu' ? silu : (z: number) => Math.max(z, 0);
    const m = keep(
      `l${layer}.m`,
      gate.map((row, t) => row.map((g, i) => activate(g) * at(up[t] ?? [], i))),
    );
    const down = linear('down', m);
    x = keep(
      `l${layer}.x`,
      h.map((row, t) => sum(row, down[t] ?? [])),
    );
  }
  const lmHead = weight(arch.tied ? 'embed' : 'lm_head');
  trace.logits = x.map((row) => matVec(lmHead, rmsNorm(row, weight('norm'), arch.rmsEps)));
  return trace;
}

function sum(a: Row, b: ArrayLike<number>): Row {
  return a.map((v, i) => v + at(b, i));
}

/** Element `i`, which must exist. */
function at(values: ArrayLike<number>, i: number): number {
  const v = values[i];
  if (v === undefined) throw new Error(`index ${i} of ${values.length}`);
  return v;
}
