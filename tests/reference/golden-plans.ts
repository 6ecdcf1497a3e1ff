/** The plans whose printed forms are tests/golden/<name>.txt: between them they use every op that plans have. */
import type { Graph } from '../../lib/graph/graph.js';
import type { Precision } from '../../lib/graph/spec.js';
import { buildTrialPlan, type Trial } from '../../lib/models/index.js';
import type { PlanOptions } from '../../lib/models/options.js';
import { buildPlan } from '../../lib/models/registry.js';
import { type TinyOptions, type TinyPrecision, tinyModel } from './tiny.js';

export type GoldenOptions = Omit<PlanOptions, 'contextSize'> & { trial?: Trial };

export const all = (precision: Precision): TinyPrecision => ({ qkv: precision, o: precision, gateup: precision, down: precision });
export const DEFAULT: TinyPrecision = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a16' };
export const SHADOWED: TinyPrecision = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a8', down: 'w8a8s' };

export const GOLDENS: Record<string, { model: TinyOptions; options: GoldenOptions }> = {
  'tiny-npu-default': { model: { type: 'q4_1', precision: DEFAULT, transform: 'rotate' }, options: { mode: 'npu' } },
  'tiny-npu-w8a16': { model: { type: 'q8_0', precision: all('w8a16'), arch: { tied: false } }, options: { mode: 'npu' } },
  'tiny-npu-w8f16': { model: { type: 'f16', precision: all('w8f16'), arch: { qkvBias: true } }, options: { mode: 'npu' } },
  'tiny-npu-w8a8': { model: { type: 'q4_0', precision: all('w8a8'), signedInputs: true }, options: { mode: 'npu', chunk: 4 } },
  'tiny-npu-shadowed': { model: { type: 'q4_0', precision: SHADOWED, signedInputs: true }, options: { mode: 'npu' } },
  'tiny-npu-inputs-only': { model: { type: 'q4_0', precision: SHADOWED, outputRepair: false }, options: { mode: 'npu' } },
  'tiny-npu-rotated': { model: { type: 'q4_0', precision: SHADOWED, transform: 'rotate', arch: { hidden: 96 } }, options: { mode: 'npu' } },
  'tiny-cpu': { model: { type: 'q4_1', arch: { ropeFactors: true, ropeInterleaved: true } }, options: { mode: 'cpu' } },
  'tiny-npu-qwen3': { model: { type: 'q4_0', precision: all('w8a16'), arch: { family: 'qwen3', headDim: 32 } }, options: { mode: 'npu' } },
  'tiny-phonelm': { model: { type: 'q4_0', arch: { family: 'phonelm', activation: 'relu' } }, options: { mode: 'cpu' } },
  'tiny-ordered': { model: { type: 'w4g32z', orders: true }, options: { mode: 'cpu' } },
  'tiny-reference': { model: { type: 'q4_1' }, options: { mode: 'reference' } },
  'tiny-trial': {
    model: { type: 'q4_1', precision: DEFAULT, transform: 'rotate', arch: { hidden: 96 } },
    options: { mode: 'reference', trial: { layer: 0, linears: ['q', 'k', 'v'] } },
  },
  'tiny-calibrate-inputs': { model: { type: 'q4_1' }, options: { mode: 'reference', calibrate: 'inputs' } },
  'tiny-calibrate-outputs': {
    model: { type: 'q4_1', precision: { ...all('w8a8'), gateup: 'w8f16', down: 'w8a16' } },
    options: { mode: 'reference', calibrate: 'outputs' },
  },
};

/** The plan of a tiny model with a context of 64. */
export function goldenPlan(model: TinyOptions, { trial, ...options }: GoldenOptions): Graph {
  const { spec } = tinyModel(model);
  return trial ? buildTrialPlan(spec, trial, 64) : buildPlan(spec, { contextSize: 64, ...options });
}
