/** Plans of trials: the float model with the linears of one kind of one layer on the NPU, from that layer on. */
import { describe, expect, it } from 'vitest';
import { decodePlan } from '../../../lib/graph/decode.js';
import { encodePlan } from '../../../lib/graph/encode.js';
import type { LinearName, Precision, Transform } from '../../../lib/graph/spec.js';
import { buildTrialPlan, linearKey, residualBefore, storedResidual } from '../../../lib/models/index.js';
import { buildPlan } from '../../../lib/models/registry.js';
import { referenceDecoder } from '../../reference/decoder.js';
import { all } from '../../reference/golden-plans.js';
import { Interpreter, type W8 } from '../../reference/interpreter.js';
import { foldedWeights, withRotation } from '../../reference/rotated.js';
import { tinyModel, type Weight } from '../../reference/tiny.js';

const TOKENS = [1, 17, 4, 90, 33, 33, 2, 61];
const KINDS: readonly (readonly LinearName[])[] = [['q', 'k', 'v'], ['o'], ['gate', 'up'], ['down']];

function nmse(got: readonly Float64Array[], want: readonly Float64Array[]): number {
  let [error, power] = [0, 0];
  got.forEach((row, t) => {
    row.forEach((v, i) => {
      error += (v - (want[t]?.[i] ?? Number.NaN)) ** 2;
      power += v ** 2;
    });
  });
  return error / power;
}

/** As float weights. */
function asTheyAre({ shape: [rows = 0, cols = 0], data }: Weight): W8 {
  return {
    codes: Array.from({ length: rows }, (_, o) => Float64Array.from(data.subarray(o * cols, (o + 1) * cols))),
    scales: new Float32Array(rows).fill(1),
  };
}

/** Distance of a trial's logits to the float model's, and how many inputs were repaired. `narrow`: how many times smaller its input range is than the model's. */
function trial(transform: Transform, precision: Precision, layer: number, linears: readonly LinearName[], narrow = 1) {
  const { spec, weights } = tinyModel({
    transform,
    precision: { ...all(precision), gateup: precision === 'w8a8s' ? 'w8a8' : precision },
    arch: { qkvBias: true, hidden: 96 },
  });
  for (const name of linears) {
    const { input } = spec.linears[linearKey(layer, name)] ?? { input: null };
    if (input) input.scale /= narrow;
  }
  const all96 = transform === 'rotate' ? withRotation(spec, weights) : new Map(weights);
  const float = new Interpreter(buildPlan(spec, { mode: 'reference', contextSize: 64, chunk: TOKENS.length }), weights);
  float.run('cpu', TOKENS);
  const residual = float.peek(residualBefore(layer));
  const table = Float32Array.from(residual.flatMap((row) => [...row]));
  all96.set(storedResidual(layer), { shape: [TOKENS.length, 96], data: table });
  // Of the other linears the plan needs nothing.
  spec.linears = Object.fromEntries(Object.entries(spec.linears).filter(([key]) => linears.some((name) => key === linearKey(layer, name))));
  const graph = buildTrialPlan(spec, { layer, linears }, TOKENS.length);
  expect(decodePlan(encodePlan(graph))).toEqual(graph);
  const interpreter = new Interpreter(graph, all96, transform === 'rotate' ? foldedWeights(spec, weights) : weights);
  interpreter.quantize = asTheyAre;
  const logits = interpreter.run('npu', TOKENS);
  return {
    error: nmse(logits, referenceDecoder(spec.arch, weights, TOKENS).logits),
    repaired: interpreter.repairedInputs,
    steps: graph.programs[0]?.steps.length ?? 0,
  };
}

describe.each(['none', 'rotate'] as const)('a trial, transform %s', (transform) => {
  it.each([0, 1])('in F16 with weights that are not quantised is the float model (layer %i)', (layer) => {
    for (const linears of [...KINDS, []]) expect(trial(transform, 'w8f16', layer, linears).error, linears.join()).toBeLessThan(1e-12);
  });

  it('has an effect that grows when its inputs clip, and repairs what it says', () => {
    for (const linears of KINDS) {
      const whole = trial(transform, 'w8a8', 1, linears);
      const clipped = trial(transform, 'w8a8', 1, linears, 16);
      expect(whole.error).toBeGreaterThan(1e-12);
      expect(clipped.error).toBeGreaterThan(whole.error);
      if (linears.includes('gate')) continue;
      const repaired = trial(transform, 'w8a8s', 1, linears, 16);
      expect(clipped.repaired).toBe(0);
      expect(repaired.repaired).toBeGreaterThan(0);
      expect(repaired.error).toBeLessThan(clipped.error);
    }
  });

  it('runs nothing before its layer', () => {
    const [first, second] = [0, 1].map((layer) => trial(transform, 'w8a8', layer, ['o']).steps);
    expect(second).toBeLessThan(first ?? 0);
  });
});
