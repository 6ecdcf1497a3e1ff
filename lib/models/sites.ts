/** Numbers the `observe` steps of a calibration plan and remembers what each one watches. */
import type { GraphBuilder } from '../graph/builder.js';
import type { LinearName } from '../graph/spec.js';
import type { TensorId } from '../graph/tensor.js';
import type { Calibrate } from './options.js';

/** One `observe` step. */
export interface CalibrationSite {
  /** Its number: index into `observations()` of the engine. */
  site: number;
  layer: number;
  /** Linears that read (input) or write (output) the tensor. */
  linears: readonly LinearName[];
  /**
   * rotatedInput: what the NPU reads in place of the input, where the model is rotated; clippedOutput: W·c, what the linear writes when its input is quantised and clipped by the range in `lutra.json`; clips: 1 where that
   * cuts off the input, 0 elsewhere; head: what lm_head reads, behind the last layer.
   */
  what: 'input' | 'rotatedInput' | 'output' | 'clippedOutput' | 'clips' | 'head';
  /** Name of the tensor in the plan. */
  tensor: string;
}

export class Observer {
  readonly sites: CalibrationSite[] = [];
  readonly calibrate: Calibrate;
  private readonly g: GraphBuilder;

  constructor(g: GraphBuilder, calibrate: Calibrate) {
    this.g = g;
    this.calibrate = calibrate;
  }

  observe(x: TensorId, layer: number, linears: readonly LinearName[], what: CalibrationSite['what']): void {
    const site = this.sites.length;
    this.g.cpu.observe(x, site);
    this.sites.push({ site, layer, linears, what, tensor: this.g.tensor(x).name });
  }
}
