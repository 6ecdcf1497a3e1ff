/** Plans of decoders: RMS norm, rotary embedding, grouped-query attention, gated MLP. What differs is data (ModelFamily, ArchSpec). */
import { GraphBuilder } from '../graph/builder.js';
import type { Graph } from '../graph/graph.js';
import type { ModelSpec } from '../graph/spec.js';
import { cpuDecoder } from './decoder-cpu.js';
import { npuDecoder } from './decoder-npu.js';
import { modelFamily } from './families/index.js';
import { type PlanOptions, planConfig } from './options.js';
import { type CalibrationSite, Observer } from './sites.js';
import { Weights } from './weights.js';

export interface BuiltPlan {
  graph: Graph;
  /** What the `observe` steps watch; empty unless calibrating. */
  sites: CalibrationSite[];
}

/** `spec` must have been checked. */
export function buildDecoder(spec: ModelSpec, options: PlanOptions): BuiltPlan {
  const g = new GraphBuilder(planConfig(spec, options));
  const observer = options.calibrate === undefined ? null : new Observer(g, options.calibrate);
  const family = modelFamily(spec.arch.family);
  const decoder = {
    g,
    spec,
    family,
    weights: new Weights(g, spec),
    exact: options.mode === 'reference',
    observer,
    repair: options.repair ?? true,
  };
  if (options.mode === 'npu') g.program('npu', '', () => npuDecoder(decoder));
  g.program('cpu', options.mode === 'npu' ? 'cpu.' : '', () => cpuDecoder(decoder));
  return { graph: g.finish(), sites: observer?.sites ?? [] };
}
