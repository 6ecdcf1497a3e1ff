/**
 * The surface of the native addon. Only this folder touches it; errors that it throws carry `code` and `remedy`
 * (native/base/error.h) and are turned into {@link LutraError} by the loader.
 */

import type { NativeKernels } from './kernels-addon.js';
import type { NativeMeasurement, NativeQnn } from './qnn-addon.js';

/** Which NPU library stands behind the segments; `none` plans have no segments. `measurements`: see {@link NativeMeasurement}. */
export type NativeNpu =
  | { kind: 'none' }
  | { kind: 'host' }
  | { kind: 'library'; path: string; soc?: number; measurements?: NativeMeasurement[] };

/** From the fastest to the most frugal. */
export const POWER_MODES = ['burst', 'sustained', 'balanced', 'saver'] as const;
export type PowerMode = (typeof POWER_MODES)[number];

/** What {@link NativeAddon.openEngine} needs. Paths are absolute. */
export interface EngineOptions {
  /** An encoded plan (`lib/graph/encode.ts`); copied. */
  plan: Uint8Array;
  /** safetensors files that hold the weights the plan names; mapped, not read. */
  files: string[];
  npu: NativeNpu;
  /** Threads of the CPU steps and of the host NPU, the calling one included. */
  threads: number;
  /** Where a context binary may be kept and the key that it must carry; absent: no cache. `readOnly`: one that is missing or does not fit is built, but not kept. */
  contextCache?: { file: string; key: string; readOnly?: boolean };
  /**
   * Milliseconds that one execution of a graph in an external library may take, ten times that for opening, compiling, loading and freeing. Then calls reject with
   * LUTRA_NPU_HUNG and the engine is lost, with its thread and memory. Absent: for ever.
   */
  npuTimeoutMs?: number;
  /** Clocks of the NPU while a prompt is computed; default burst. */
  power?: PowerMode;
  /** Log lines of the NPU library: level 1 (error) … 5 (debug). */
  onLog?: (level: number, line: string) => void;
  logLevel?: number;
  /** Gives every activation memory of its own, so that {@link NativeEngine.peek} sees each one after a call. Default: dead ones share. */
  keepActivations?: boolean;
  /** How much of the weights that repairs read stays in memory between chunks. Default `all`. */
  shadowResidency?: ShadowResidency;
  /** Times every CPU step, not only NPU calls and repairs: `cpuMs` and its parts are 0 without. */
  profile?: boolean;
}

/** `all`: what was read stays mapped; `hot`: the rows of hot channels, as a copy; `disk`: nothing. */
export const SHADOW_RESIDENCIES = ['all', 'hot', 'disk'] as const;
export type ShadowResidency = (typeof SHADOW_RESIDENCIES)[number];

/** Identity of an NPU library. */
export interface BackendInfo {
  name: string;
  buildId: string;
  /** Core QNN API, e.g. "2.40.0". */
  apiVersion: string;
  backendApiVersion: string;
  backendId: number;
}

/** Facts about an opened engine. */
export interface EngineInfo {
  backend: BackendInfo | null;
  /** Segments in order: where each runs and how many nodes it has. */
  segments: { name: string; nodes: number; where: string }[];
  /** 'built' graphs, 'loaded' from the context binary, or 'none'. */
  context: 'none' | 'built' | 'loaded';
  loadMs: { map: number; plan: number; graphs: number };
  /** shadow: weights that repairs read, a part of `weights`; shadowPinned: copies of hot rows. */
  bytes: { weights: number; activations: number; kvCache: number; shadow: number; shadowPinned: number };
  kernels: string;
}

/** Sampling and limits of one generation. */
export interface GenerateOptions {
  maxTokens: number;
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  repetitionPenalty: number;
  /** Tokens looked back by the penalty. */
  repetitionWindow: number;
  /** At most 2^53 − 1. */
  seed: number;
  /** Ids that end the generation; not delivered. */
  stopTokens: number[];
  /** How many delivered but unacknowledged tokens the native loop runs ahead at most. */
  runAhead: number;
  /** Guesses computed with a token, 0 to 7. */
  draftTokens: number;
  /** How many of the most likely tokens are wanted beside each token, with logarithms of probabilities; absent: none of it. */
  logprobs?: number;
}

export type FinishReason = 'stop' | 'length' | 'context' | 'aborted';

/** Times of the last call, in milliseconds. */
export interface EngineTimings {
  prefillTokens: number;
  prefillMs: number;
  decodeTokens: number;
  decodeMs: number;
  /** Guesses that were computed while decoding ({@link GenerateOptions.draftTokens}), and those that were right. */
  draftedTokens: number;
  acceptedTokens: number;
  /** Inside graphExecute. */
  npuMs: number;
  graphCalls: number;
  /** Inside CPU kernels, repairs not counted; only with {@link EngineOptions.profile}. */
  cpuMs: number;
  /** The parts of `cpuMs`, and what of each is attention. */
  prefillCpuMs: number;
  decodeCpuMs: number;
  prefillAttentionMs: number;
  decodeAttentionMs: number;
  shadowMs: number;
  repairedInputs: number;
  /** Of `repairedInputs`: their row of the weight was pinned. */
  hotInputs: number;
  repairedOutputs: number;
}

/** `error`: relative, of the worst output, which is `what`. */
export interface NpuVerdict {
  right: boolean;
  segments: number;
  error: number;
  what: string;
}

/** One model with one KV cache. All methods that return a promise run on the engine's own thread; one at a time (`LUTRA_BUSY` otherwise). */
export interface NativeEngine {
  info(): EngineInfo;
  /** Appends tokens to the KV cache. Resolves to the logits of the last token ([vocab]) or of all ([tokens × vocab]). */
  prefill(tokens: Uint32Array, logits: 'last' | 'all' | 'none', program: 'npu' | 'cpu'): Promise<Float32Array>;
  /**
   * Compares the NPU library with the host NPU on one chunk, segment by segment (native/session/npu_check.h). On an empty cache, which stays empty.
   */
  checkNpu(): Promise<NpuVerdict>;
  /**
   * Continues from the logits of the last call; `onToken` is called once per token. Acknowledge with {@link acknowledge}. `logprobs`: pairs of token and logarithm of its
   * probability, the token itself first.
   */
  generate(
    options: GenerateOptions,
    onToken: (token: number, logprobs?: Float64Array) => void,
  ): Promise<{ reason: FinishReason; tokens: number }>;
  /** Tells the native loop that `count` more tokens were taken. */
  acknowledge(count: number): void;
  /** Stops a running call between graph calls or tokens; a no-op otherwise. A stopped prefill rejects with LUTRA_ABORTED and leaves the cache as it was. */
  stop(): void;
  /** Forgets all positions from `length` on. */
  truncate(length: number): void;
  /** Tokens in the KV cache. */
  length(): number;
  timings(): EngineTimings;
  /**
   * Statistics of `observe` steps since the engine was opened: per site [count, min, max, sum of squares, 7680 magnitude bins, then of every column the sum of squares, the minimum, the maximum, the row
   * of its largest magnitude]. Written into `into`, what an earlier call gave, when there is such.
   */
  observations(into?: Float64Array[]): Float64Array[];
  /** Goes on from statistics of the same plan. LUTRA_INVALID_ARGUMENT when they cannot be. */
  restoreObservations(sites: Float64Array[]): void;
  /**
   * Values of an activation after the last chunk or token that ran, as F32 [valid rows × columns]; quantised ones as the reals they stand for (debugging and tests).
   * LUTRA_INVALID_ARGUMENT without `keepActivations`; LUTRA_NOT_FOUND for a name that the program which ran last does not make.
   */
  peek(tensor: string): Float32Array;
  /** Stops what runs and frees everything; resolves when that is done, or to what does not return. Later calls throw LUTRA_DISPOSED. Idempotent. */
  dispose(): Promise<string | undefined>;
}

/** The arrays belong to the addon until the call has settled. */
export interface NativeFold {
  values: Float32Array;
  rows: number;
  cols: number;
  first: number;
  total: number;
  rotation: { diagonal: Float32Array; matrix: Float32Array } | null;
  outputs: boolean;
  transpose: boolean;
  codes: Int8Array;
  scales: Float32Array;
  threads: number;
}

export interface NativeAddon {
  openEngine(options: EngineOptions): Promise<NativeEngine>;
  /** Identity and supported operations of a QNN library. */
  qnnInfo(npu: NativeNpu): { backend: BackendInfo; operations: string[] };
  /** Names of CPU steps in opcode order and words per record of the plan format, for the agreement test. */
  planSchema(): { steps: string[]; recordWords: Record<string, number> };
  /** Validates a plan without weights; throws LUTRA_BAD_PLAN. */
  checkPlan(plan: Uint8Array): void;
  /** Packs rows of ggml blocks into the canonical layout ({@link docs/architecture.md}). type: dtype code of the plan. */
  packGgml(type: number, blocks: Uint8Array, rows: number, cols: number): Uint8Array;
  /** Packs codes of a low-bit type, as {@link NativeKernels.packCodes} does, to bytes. */
  packLowBit(type: number, rows: number, cols: number, codes: Uint8Array, scales: Float32Array, offsets: Float32Array | null): Uint8Array;
  quantizeLowBit(
    type: number,
    weights: Float32Array,
    rows: number,
    cols: number,
    importance: Float32Array | null,
    threads?: number,
  ): Uint8Array;
  /** Expands a packed or ggml weight to F32, row major; into `out` when there is one. */
  dequantizePacked(type: number, packed: Uint8Array, rows: number, cols: number, out?: Float32Array): Float32Array;
  /** Little-endian numbers as F32, exactly. False when one is infinite or no number. */
  widen(type: 'F32' | 'F16' | 'BF16', bytes: Uint8Array, out: Float32Array): boolean;
  /** Rotates and quantises weights beside JavaScript's thread: FoldOptions of `lib/convert/tensors.ts`. */
  foldS8(options: NativeFold): Promise<boolean>;
  /**
   * Logits beside those of a reference, [rows × vocab] both; `next`: the token that followed each row. Four figures a row: KL(reference ‖ logits), −ln of the probability of the token that
   * followed, the same of the reference (nats), 1 where both have the same most likely token, else 0.
   */
  compareLogits(logits: Float32Array, reference: Float32Array, next: Uint32Array, threads: number): Float64Array;
  /** bigCores: fast processors that this process may use; all where they are alike. */
  cpuInfo(): { description: string; isa: string; bigCores: number; kernels: string[] };
  /** Peak resident bytes of this process. */
  peakRss(): number;
  /** The QNN interface itself, for `lib/qnn/api`. */
  qnn: NativeQnn;
  /** Packed weights and their products, for `lib/kernels`. */
  kernels: NativeKernels;
}
