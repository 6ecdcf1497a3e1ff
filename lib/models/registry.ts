/** The one way to a plan. */
import type { Graph } from '../graph/graph.js';
import type { ModelSpec } from '../graph/spec.js';
import { checkModel, checkSpec } from './check-spec.js';
import { type BuiltPlan, buildDecoder } from './decoder.js';
import type { Calibrate, PlanOptions } from './options.js';
import type { CalibrationSite } from './sites.js';

function build(spec: ModelSpec, options: PlanOptions): BuiltPlan {
  // Output ranges are not known yet while they are being measured.
  if (options.calibrate === undefined) checkSpec(spec);
  else checkModel(spec);
  return buildDecoder(spec, options);
}

/**
 * The plan of a model. Mode `npu` has the programs `npu` (prefill) and `cpu` (decode), the others only `cpu`; every program ends in logits
 * [logit rows, vocab]. Throws LutraError: LUTRA_BAD_FILE (inconsistent lutra.json), LUTRA_INVALID_ARGUMENT (options), LUTRA_UNSUPPORTED.
 */
export function buildPlan(spec: ModelSpec, options: PlanOptions): Graph {
  return build(spec, options).graph;
}

/** A calibration plan (mode `reference`) with the list of its sites, in the order of the engine's `observations()`. */
export function buildCalibrationPlan(
  spec: ModelSpec,
  options: { contextSize: number; chunk?: number; calibrate: Calibrate },
): { graph: Graph; sites: CalibrationSite[] } {
  return build(spec, { ...options, mode: 'reference' });
}
