/**
 * The float model with the linears of one kind of one layer on the NPU, and nothing before that layer: what one choice of a precision does to the logits. What the layer reads
 * is stored: it is the same whatever is tried.
 */
import { GraphBuilder } from '../graph/builder.js';
import type { Graph } from '../graph/graph.js';
import type { LinearName, ModelSpec } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import { type Decoder, head } from './blocks.js';
import { layerOf } from './decoder-cpu.js';
import { repairedLinears } from './decoder-npu.js';
import { modelFamily } from './families/index.js';
import { inputOfNpu, type NormOf } from './observed.js';
import { planConfig } from './options.js';
import { Weights } from './weights.js';

/** Linears of one layer that read one tensor, or the whole float layer where there are none. */
export interface Trial {
  layer: number;
  linears: readonly LinearName[];
}

/** Name of the stored residual that a layer reads, F32 [windowTokens, hidden]. */
export function storedResidual(layer: number): string {
  return `residual.${layer}`;
}

/** Name of the residual that a layer reads, in the plan of mode `reference`. */
export function residualBefore(layer: number): string {
  return layer === 0 ? 'x' : `l${layer - 1}.x`;
}

/** Linears on the NPU between F32 and F32. */
function onNpu(d: Decoder, layer: number, x: TensorId, names: readonly LinearName[], from: NormOf | null): TensorId[] {
  const { cpu } = d.g;
  const input = cpu.convert(inputOfNpu(d, { x, from }), 'f16', `l${layer}.trial.f16`);
  const results = repairedLinears(d, layer, input, names);
  const rotation = from === null ? d.weights.rotation() : null;
  return rotation === null ? results : results.map((y, i) => cpu.rotate(y, rotation, true, `l${layer}.${names[i]}.back`));
}

/**
 * The plan of a trial, for one window from an empty context; its only program is `npu`. Of `spec.linears` those of the trial are needed. Throws as `buildPlan`.
 */
export function buildTrialPlan(spec: ModelSpec, trial: Trial, windowTokens: number): Graph {
  const g = new GraphBuilder(planConfig(spec, { mode: 'reference', contextSize: windowTokens, chunk: windowTokens }));
  const weights = new Weights(g, spec);
  const d: Decoder = { g, spec, family: modelFamily(spec.arch.family), weights, exact: true, observer: null, repair: true };
  const { layers, hidden } = spec.arch;
  g.program('npu', '', () => {
    let x = g.cpu.storedRows(g.weight(storedResidual(trial.layer), 'f32', [windowTokens, hidden]), 'x');
    x = layerOf(d, trial.layer, x, { names: trial.linears, run: (input, names, from) => onNpu(d, trial.layer, input, names, from) });
    for (let layer = trial.layer + 1; layer < layers; layer++) x = layerOf(d, layer, x);
    return head(d, x);
  });
  return g.finish();
}
