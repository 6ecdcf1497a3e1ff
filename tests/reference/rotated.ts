/** The weights of a rotated NPU program, by products with the whole matrix: the slow form of what the converter folds. */
import { rotationOf } from '../../lib/convert/rotation.js';
import type { LinearName, ModelSpec } from '../../lib/graph/spec.js';
import { LINEAR_NAMES, linearKey, ROTATION } from '../../lib/models/index.js';
import { rotation } from './interpreter.js';
import type { Weight } from './tiny.js';

/** The model's tensors and those of the rotation, as every program names them. */
export function withRotation(spec: ModelSpec, weights: ReadonlyMap<string, Weight>): Map<string, Weight> {
  const { hidden } = spec.arch;
  const { signs, matrix, size } = rotationOf(hidden);
  return new Map([
    ...weights,
    [ROTATION.signs, { shape: [hidden], data: signs }],
    [ROTATION.matrix, { shape: [size, size], data: matrix }],
    [ROTATION.ones, { shape: [hidden], data: new Float32Array(hidden).fill(1) }],
  ]);
}

const NORM: Readonly<Partial<Record<LinearName, string>>> = {
  q: 'attn_norm',
  k: 'attn_norm',
  v: 'attn_norm',
  gate: 'ffn_norm',
  up: 'ffn_norm',
};

function of(weights: ReadonlyMap<string, Weight>, name: string): Weight {
  const weight = weights.get(name);
  if (weight === undefined) throw new Error(`no weight ${name}`);
  return weight;
}

/** W · diag(gain) · R of linears that read a norm, Rᵀ · W of the others, in float64. */
export function foldedWeights(spec: ModelSpec, weights: ReadonlyMap<string, Weight>): Map<string, Weight> {
  const all = withRotation(spec, weights);
  const r = rotation(of(all, ROTATION.signs), of(all, ROTATION.matrix));
  const folded = new Map(weights);
  for (let layer = 0; layer < spec.arch.layers; layer++) {
    for (const name of LINEAR_NAMES) {
      const { shape, data } = of(weights, linearKey(layer, name));
      const [rows = 0, cols = 0] = shape;
      const norm = NORM[name];
      const gain = norm === undefined ? null : of(weights, `layers.${layer}.${norm}`).data;
      const w = (i: number, j: number): number => data[i * cols + j] ?? Number.NaN;
      const entry = (i: number, j: number): number =>
        gain === null
          ? r.reduce((sum, row, k) => sum + (row[i] ?? 0) * w(k, j), 0)
          : gain.reduce((sum, g, k) => sum + w(i, k) * g * (r[k]?.[j] ?? 0), 0);
      folded.set(linearKey(layer, name), {
        shape,
        data: Float32Array.from({ length: rows * cols }, (_, at) => entry(Math.floor(at / cols), at % cols)),
      });
    }
  }
  return folded;
}
