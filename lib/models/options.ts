/** What a plan is built for. */
import { LutraError } from '../graph/errors.js';
import type { KvType, PlanConfig } from '../graph/graph.js';
import type { ModelSpec } from '../graph/spec.js';

/** npu: prefill with NPU segments, decode on packed weights; cpu: packed weights, 8-bit activations; reference: float everywhere, F32 KV cache. */
export type PlanMode = 'npu' | 'cpu' | 'reference';

/** inputs: statistics of what linears read and write; outputs: also of what they write when their input is clipped to its range. */
export type Calibrate = 'inputs' | 'outputs';

export interface PlanOptions {
  mode: PlanMode;
  /** Positions of the KV cache; at most the model's `maxContext`. */
  contextSize: number;
  /** Rows of a chunk; the model's own by default. */
  chunk?: number;
  /** Of the KV cache; F16, or F32 with mode `reference`, by default. */
  kv?: KvType;
  /** false: linears that clip are not repaired, to measure what the repair is worth. Default true. */
  repair?: boolean;
  /** Adds `observe` steps; only with mode `reference`. */
  calibrate?: Calibrate;
}

const MAX_CHUNK = 4096;

/** Checks the options against the model. Throws LUTRA_INVALID_ARGUMENT or LUTRA_UNSUPPORTED. */
export function planConfig(spec: ModelSpec, options: PlanOptions): PlanConfig {
  const { arch } = spec;
  const chunk = options.chunk ?? spec.chunk;
  wholeNumber('contextSize', options.contextSize, arch.maxContext);
  wholeNumber('chunk', chunk, MAX_CHUNK);
  if (options.calibrate !== undefined && options.mode !== 'reference') {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `Calibration measures the float model, not mode ${options.mode}.`,
      "Use mode 'reference'.",
    );
  }
  if (options.mode === 'npu' && Object.keys(spec.linears).length === 0) {
    throw new LutraError('LUTRA_UNSUPPORTED', `Model ${spec.name} has no NPU weights.`, "Convert it with NPU weights, or use npu 'none'.");
  }
  return {
    vocab: arch.vocab,
    hidden: arch.hidden,
    layers: arch.layers,
    heads: arch.heads,
    kvHeads: arch.kvHeads,
    headDim: arch.headDim,
    maxContext: options.contextSize,
    chunk,
    kvType: options.kv ?? (options.mode === 'reference' ? 'f32' : 'f16'),
  };
}

function wholeNumber(name: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= max) return;
  throw new LutraError('LUTRA_INVALID_ARGUMENT', `${name} is ${value}.`, `Give a whole number from 1 to ${max}.`);
}
