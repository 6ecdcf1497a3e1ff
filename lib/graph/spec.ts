/**
 * What `lutra.json` says of a model: the contract between the converter that writes it and the models that build plans from it.
 * docs/model-format.md describes the file.
 */
import type { WeightType } from './dtype.js';

/** Arithmetic of one linear on the NPU. @see docs/model-format.md */
export type Precision = 'w8a8' | 'w8a8s' | 'w8a16' | 'w8f16';

/** Linears that take their precision together on the command line. */
export type LinearKind = 'qkv' | 'o' | 'gateup' | 'down';

export type LinearName = 'q' | 'k' | 'v' | 'o' | 'gate' | 'up' | 'down';

/** Static encoding of an activation tensor, QNN's convention: real = (q + offset) · scale. */
export interface QuantRange {
  dtype: 'u8' | 's8' | 'u16';
  scale: number;
  offset: number;
}

/** One linear of one layer on the NPU. */
export interface LinearSpec {
  precision: Precision;
  /** `null` for w8f16. q, k and v of a layer share theirs, as do gate and up. */
  input: QuantRange | null;
  output: QuantRange | null;
  /** The scales of the weight are divided by tensor `NAME.factors.f16`, which the NPU multiplies what the linear wrote by: a range for each output. Only for w8a8. */
  factors?: true;
  /** What the CPU repairs: only for w8a8s; `output` never for o. A plan without that step does not load. */
  shadow: { input: boolean; output: boolean };
  /** How many input channels tensor `NAME.hot` (U32) lists: those that the calibration text clipped most often, the most frequent first. Only with `shadow.input`. */
  hot?: number;
  /** `fc`: FullyConnected with [out, in]; `conv`: Conv2d 1×1 with [1, 1, in, out], so that row k of the weight is contiguous (shadowed linears). */
  layout: 'fc' | 'conv';
}

/** What differs between decoders, as data. */
export interface ArchSpec {
  /** Which of the shared blocks they are made of: a name in lib/models/families. */
  family: string;
  vocab: number;
  hidden: number;
  ffn: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  maxContext: number;
  ropeTheta: number;
  /** Pairs (2i, 2i+1) instead of (i, i + headDim/2). The converter un-permutes GGUF Llama files, so false there. */
  ropeInterleaved: boolean;
  /** Per-frequency divisors in tensor `rope_factors` (Llama 3). */
  ropeFactors: boolean;
  rmsEps: number;
  /** lm_head is the embedding. */
  tied: boolean;
  activation: 'silu' | 'relu';
  qkvBias: boolean;
}

export type CpuType = WeightType;

/** A tensor of cpu.safetensors: logical type and shape ([rows, cols], or [n]); the file stores bytes. */
export interface TensorSpec {
  type: CpuType;
  shape: number[];
  /**
   * Of a packed matrix whose columns are stored in another order than its input has: the tensor (U32 [cols]) that names the input's column for each stored one. Matrices of
   * one input that have the same order name the same tensor.
   */
  order?: string;
}

/**
 * What was done to the NPU's weights without changing the float model. `rotate`: norm gains are folded into the linears behind them, and the residual stream of the NPU
 * program lives in a rotated basis, so that its outliers are spread over all columns.
 */
export const TRANSFORMS = ['none', 'rotate'] as const;
export type Transform = (typeof TRANSFORMS)[number];

/** One setting of all linears, measured on windows of the calibration text that no range was taken from. */
export interface QualityRow {
  /** In words: `chosen`, or the precisions by kind. */
  setting: string;
  /** Mean KL of the float model's distribution to this one's, in nats. */
  kl: number;
  /** Share of predictions with the float model's most likely token, 0 to 1. */
  top1: number;
  perplexity: number;
  /** Multiply-accumulates with 8-bit activations ÷ those of all decoder linears, 0 to 1. */
  int8Share: number;
  /** Multiply-accumulates of CPU repairs for a token. */
  repairPerToken: number;
}

/** How the precisions of the linears were chosen by what each of them costs in quality. */
export interface ChoiceRecord {
  version: 1;
  /** What was asked for: the cheapest setting with at most this KL, or the best one with at least this share of 8-bit linears. */
  goal: { maxKl: number } | { int8Share: number };
  /** Of the windows that settings were measured on. */
  tokens: number;
  /** Of the chosen setting: multiply-accumulates by the cost of their precision ÷ those of all linears in w8a8. */
  cost: number;
  /** The chosen setting first, then what it was compared with. */
  table: QualityRow[];
  /** Linears, by `layers.N.NAME`, whose ranges cut off some of what the calibration text shows, and which nothing repairs. */
  unrepaired: string[];
}

/** How static ranges were found. */
export interface CalibrationRecord {
  text: string;
  textSha256: string;
  tokens: number;
  /** `recipe`: percentiles, shadow; `max`: naive static max everywhere. */
  method: 'recipe' | 'max';
  /** Absent where the precisions were given. */
  choice?: ChoiceRecord;
}

/** SHA-256 of a weight file and its parts, in hexadecimal. */
export interface FileHashes {
  /** Of the whole file. */
  sha256: string;
  /** Of the length word and the header behind it; this and the next cut to 128 bits. */
  header: string;
  /** Of the data of every tensor, padding included. */
  tensors: Record<string, string>;
}

export const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json'] as const;

/** Version of the model directory. */
export const MODEL_FORMAT = 4;

/** The whole of `lutra.json`, but for its checksum. */
export interface ModelSpec {
  format: typeof MODEL_FORMAT;
  name: string;
  arch: ArchSpec;
  /** Chunk length that the NPU graphs are built for. */
  chunk: number;
  tensors: Record<string, TensorSpec>;
  /** Keys `layers.N.q` and so on. Empty when the model was converted without NPU weights. */
  linears: Record<string, LinearSpec>;
  /** Of the NPU's weights. */
  transform: Transform;
  /** Computed while the files were written. */
  hashes: { cpu: FileHashes; npu: FileHashes | null; tokenizer: Record<(typeof TOKENIZER_FILES)[number], string> };
  source: { file: string; sha256: string };
  calibration: CalibrationRecord | null;
  tokens: { bos: number | null; eos: number[]; addBos: boolean };
}
