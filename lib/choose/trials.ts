/** Measures what linears in a precision do to the distribution of the next token: one group of them alone, or all together. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Chosen } from '../calibrate/index.js';
import { halvesOf } from '../convert/floats.js';
import { type SafetensorsEntry, SafetensorsWriter } from '../convert/safetensors.js';
import { encodePlan, type Graph } from '../graph/index.js';
import type { LinearSpec, ModelSpec } from '../graph/spec.js';
import { buildPlan, buildTrialPlan, linearShape, residualBefore, storedResidual } from '../models/index.js';
import type { Candidate, Linears } from './candidates.js';

/** What trials need of an engine; a part of the addon's. */
export interface TrialEngine {
  prefill(tokens: Uint32Array, logits: 'all', program: 'npu' | 'cpu'): Promise<Float32Array>;
  truncate(length: number): void;
  peek(tensor: string): Float32Array;
  timings(): { repairedInputs: number; repairedOutputs: number };
  stop(): void;
  dispose(): Promise<unknown>;
}

/** The part of the addon that trials need. */
export interface TrialAddon {
  openEngine(options: {
    plan: Uint8Array;
    files: string[];
    npu: { kind: 'none' } | { kind: 'host' };
    threads: number;
    keepActivations?: boolean;
  }): Promise<TrialEngine>;
  compareLogits(logits: Float32Array, reference: Float32Array, next: Uint32Array, threads: number): Float64Array;
}

export interface TrialOptions {
  /** Architecture, CPU tensors and transform. */
  spec: ModelSpec;
  /** Paths of cpu.safetensors, of what the rotation is in when there is one, and of the NPU's weights: all linears with layout conv, without scales. */
  files: readonly string[];
  /** Scales of these weights, by `layers.N.NAME`. */
  scales: ReadonlyMap<string, Float32Array>;
  /** Where small files may be written. */
  directory: string;
  addon: TrialAddon;
  threads: number;
  signal?: AbortSignal | undefined;
}

/** Sums over predictions. */
export class Figures {
  predictions = 0;
  kl = 0;
  surprise = 0;
  agreed = 0;

  merge(other: Figures): void {
    this.predictions += other.predictions;
    this.kl += other.kl;
    this.surprise += other.surprise;
    this.agreed += other.agreed;
  }

  /** `figures`: of `compareLogits`. */
  add(figures: Float64Array): void {
    for (let i = 0; i + 3 < figures.length; i += 4) {
      this.predictions++;
      this.kl += figures[i] ?? 0;
      this.surprise += figures[i + 1] ?? 0;
      this.agreed += figures[i + 3] ?? 0;
    }
  }
}

/** A window of text with what the float model makes of it. */
interface Reference {
  tokens: Uint32Array;
  logits: Float32Array;
}

export class Trials {
  readonly #options: TrialOptions;
  #files = 0;

  constructor(options: TrialOptions) {
    this.#options = options;
  }

  /** KL and repairs of every candidate of the groups that have several, alone, into the candidates. `onTrial` is called after each trial. */
  async measureAlone(groups: readonly Linears[], windows: readonly (readonly number[])[], onTrial: () => void): Promise<void> {
    const predictions = windows.reduce((sum, tokens) => sum + tokens.length - 1, 0);
    for (const tokens of windows) {
      const { reference, residuals } = await this.#referenceWithResiduals(Uint32Array.from(tokens));
      for (const group of groups) {
        for (const candidate of group.options) {
          const { kl, repairs } = await this.#alone(group, candidate, reference, residuals);
          candidate.kl += Number.isNaN(kl) ? Number.POSITIVE_INFINITY : kl / predictions;
          candidate.repairs += repairs / (predictions + windows.length);
          onTrial();
        }
      }
      await rm(residuals);
    }
  }

  /** All linears of a setting together, window by window. */
  async measureTogether(chosen: Chosen, windows: readonly (readonly number[])[], onWindow: () => void): Promise<Figures[]> {
    const { spec } = this.#options;
    const [first = []] = windows;
    const size = { contextSize: first.length, chunk: first.length };
    const scales = await this.#writeScales(chosen);
    const graph = buildPlan({ ...spec, linears: inConv(chosen.linears) }, { mode: 'npu', ...size });
    return this.#with(graph, [scales], 'host', (npu) =>
      this.#with(buildPlan(spec, { mode: 'reference', ...size }), [], 'none', async (float) => {
        const all: Figures[] = [];
        for (const window of windows) {
          const tokens = Uint32Array.from(window);
          for (const engine of [npu, float]) engine.truncate(0);
          const reference = { tokens, logits: await float.prefill(tokens, 'all', 'cpu') };
          all.push(this.#compare(await npu.prefill(tokens, 'all', 'npu'), reference));
          onWindow();
        }
        return all;
      }),
    ).finally(() => rm(scales));
  }

  async #alone(group: Linears, candidate: Candidate, reference: Reference, residuals: string): Promise<{ kl: number; repairs: number }> {
    const { spec } = this.#options;
    const { layer, names } = group;
    const graph = buildTrialPlan({ ...spec, linears: inConv(candidate.linears) }, { layer, linears: names }, reference.tokens.length);
    const scales = await this.#writeScales(candidate);
    return this.#with(graph, [scales, residuals], 'host', async (engine) => {
      const { kl } = this.#compare(await engine.prefill(reference.tokens, 'all', 'npu'), reference);
      const { repairedInputs, repairedOutputs } = engine.timings();
      const shapes = names.map((name) => linearShape(spec.arch, name));
      const rows = shapes.reduce((sum, [out]) => sum + out, 0) / names.length;
      return { kl, repairs: repairedInputs * rows + repairedOutputs * (shapes[0]?.[1] ?? 0) };
    }).finally(() => rm(scales));
  }

  /** The float model over a window: logits, and a file of what each layer reads. */
  async #referenceWithResiduals(tokens: Uint32Array): Promise<{ reference: Reference; residuals: string }> {
    const { spec } = this.#options;
    const { layers, hidden } = spec.arch;
    const graph = buildPlan(spec, { mode: 'reference', contextSize: tokens.length, chunk: tokens.length });
    return this.#with(
      graph,
      [],
      'none',
      async (engine) => {
        const logits = await engine.prefill(tokens, 'all', 'cpu');
        const residuals = await this.#write(
          Array.from({ length: layers }, (_, layer) => ({
            entry: { name: storedResidual(layer), dtype: 'F32', shape: [tokens.length, hidden] },
            data: () => engine.peek(residualBefore(layer)),
          })),
        );
        return { reference: { tokens, logits }, residuals };
      },
      true,
    );
  }

  #compare(logits: Float32Array, { tokens, logits: expected }: Reference): Figures {
    const { addon, threads, spec } = this.#options;
    const predicted = (tokens.length - 1) * spec.arch.vocab;
    const figures = new Figures();
    figures.add(addon.compareLogits(logits.subarray(0, predicted), expected.subarray(0, predicted), tokens.subarray(1), threads));
    return figures;
  }

  /** A file of the scales and factors of linears. */
  #writeScales({ linears, factors }: Pick<Chosen, 'linears' | 'factors'>): Promise<string> {
    return this.#write(
      Object.keys(linears).flatMap((key) => {
        const scales = this.#options.scales.get(key) ?? new Float32Array();
        const own = factors.get(key);
        const scale = { entry: { name: `${key}.scale`, dtype: 'F32' as const, shape: [scales.length] }, data: () => divided(scales, own) };
        if (!own) return [scale];
        const entry = { name: `${key}.factors.f16`, dtype: 'F16' as const, shape: [1, own.length] };
        return [scale, { entry, data: () => halvesOf(own, `factors of ${key}`) }];
      }),
    );
  }

  async #write(tensors: readonly { entry: SafetensorsEntry; data: () => ArrayBufferView }[]): Promise<string> {
    const path = join(this.#options.directory, `trial-${this.#files++}.safetensors`);
    const writer = await SafetensorsWriter.create(
      path,
      tensors.map(({ entry }) => entry),
    );
    try {
      for (const { entry, data } of tensors) await writer.write(entry.name, data());
      await writer.finish();
    } finally {
      await writer.abandon();
    }
    return path;
  }

  /** Opens an engine, runs `body`, and closes it however that ends. */
  async #with<T>(graph: Graph, files: readonly string[], npu: 'none' | 'host', body: (engine: TrialEngine) => Promise<T>, keep = false) {
    const { addon, threads, signal } = this.#options;
    signal?.throwIfAborted();
    const engine = await addon.openEngine({
      plan: encodePlan(graph),
      files: [...this.#options.files, ...files],
      npu: { kind: npu },
      threads,
      ...(keep ? { keepActivations: true } : {}),
    });
    const stop = () => engine.stop();
    signal?.addEventListener('abort', stop, { once: true });
    try {
      return await body(engine);
    } finally {
      signal?.removeEventListener('abort', stop);
      await engine.dispose();
    }
  }
}

/** What is tried lies in one layout, whatever it will have: the results are the same. */
function inConv(linears: Readonly<Record<string, LinearSpec>>): Record<string, LinearSpec> {
  return Object.fromEntries(Object.entries(linears).map(([key, linear]) => [key, { ...linear, layout: 'conv' }]));
}

function divided(scales: Float32Array, factors: Float32Array | undefined): Float32Array {
  return factors ? scales.map((scale, i) => scale / (factors[i] ?? 1)) : scales;
}
