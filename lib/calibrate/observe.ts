/** The float model with `observe` steps: runs windows of tokens and counts what its linears read and write. */
import { encodePlan } from '../graph/index.js';
import type { LinearSpec, ModelSpec } from '../graph/spec.js';
import { buildCalibrationPlan, type Calibrate, type CalibrationSite } from '../models/index.js';

/** What calibration needs of an engine; a part of the addon's. */
export interface CalibrationEngine {
  prefill(tokens: Uint32Array, logits: 'none', program: 'cpu'): Promise<Float32Array>;
  truncate(length: number): void;
  observations(into?: Float64Array[]): Float64Array[];
  restoreObservations(sites: Float64Array[]): void;
  stop(): void;
  dispose(): Promise<unknown>;
}

/** The part of the addon that opens one. */
export interface CalibrationAddon {
  openEngine(options: { plan: Uint8Array; files: string[]; npu: { kind: 'none' }; threads: number }): Promise<CalibrationEngine>;
}

/** Which model is observed, and how. */
export interface Observing {
  /** Architecture and CPU tensors. */
  spec: ModelSpec;
  /** Ranges of linears whose inputs are clipped by them; with `calibrate` 'outputs'. */
  linears: Record<string, LinearSpec>;
  calibrate: Calibrate;
  /** Paths of cpu.safetensors and, when the spec has a transform, of what its tensors are in. */
  files: readonly string[];
  windowTokens: number;
  addon: CalibrationAddon;
  threads: number;
  signal?: AbortSignal | undefined;
}

const MAX_CHUNK = 256;

export class ObservedModel {
  /** What the observations are of, in their order. */
  readonly sites: readonly CalibrationSite[];
  /** The encoded plan. */
  readonly plan: Uint8Array;
  readonly #engine: CalibrationEngine;
  readonly #signal: AbortSignal | undefined;
  readonly #stop: () => void;
  #values: Float64Array[] | undefined;

  private constructor(engine: CalibrationEngine, plan: Uint8Array, sites: readonly CalibrationSite[], signal: AbortSignal | undefined) {
    this.sites = sites;
    this.plan = plan;
    this.#engine = engine;
    this.#signal = signal;
    this.#stop = () => engine.stop();
    signal?.addEventListener('abort', this.#stop, { once: true });
  }

  /** Errors of the engine. Dispose of it. */
  static async open({ spec, linears, calibrate, files, windowTokens, addon, threads, signal }: Observing): Promise<ObservedModel> {
    const { graph, sites } = buildCalibrationPlan(
      { ...spec, linears },
      { contextSize: windowTokens, chunk: Math.min(windowTokens, MAX_CHUNK), calibrate },
    );
    const plan = encodePlan(graph);
    const engine = await addon.openEngine({ plan, files: [...files], npu: { kind: 'none' }, threads });
    return new ObservedModel(engine, plan, sites, signal);
  }

  /** Runs one window from an empty KV cache. Throws the signal's reason when it is aborted before, LUTRA_ABORTED when while it runs. */
  async run(tokens: Uint32Array): Promise<void> {
    this.#signal?.throwIfAborted();
    this.#engine.truncate(0);
    await this.#engine.prefill(tokens, 'none', 'cpu');
  }

  /** What was counted so far, by site; valid until the next call. */
  observations(): Float64Array[] {
    this.#values = this.#engine.observations(this.#values);
    return this.#values;
  }

  /** Goes on from what {@link observations} gave. */
  restore(values: Float64Array[]): void {
    this.#engine.restoreObservations(values);
  }

  async dispose(): Promise<void> {
    this.#signal?.removeEventListener('abort', this.#stop);
    await this.#engine.dispose();
  }
}
