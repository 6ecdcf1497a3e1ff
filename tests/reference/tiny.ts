/** A tiny random Llama model: its lutra.json, made-up but consistent NPU entries, and float weights. */
import {
  type ArchSpec,
  type FileHashes,
  type LinearName,
  type LinearSpec,
  MODEL_FORMAT,
  type ModelSpec,
  type Precision,
  type QuantRange,
  type TensorSpec,
  type Transform,
} from '../../lib/graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape } from '../../lib/models/check-spec.js';
import { modelFamily } from '../../lib/models/families/index.js';
import { Random } from './random.js';

/** Precision per linear kind, as on the command line. */
export interface TinyPrecision {
  qkv: Precision;
  o: Precision;
  gateup: Precision;
  down: Precision;
}

export interface TinyOptions {
  seed?: number;
  arch?: Partial<ArchSpec>;
  /** Storage of the matrices; vectors are F32. */
  type?: TensorSpec['type'];
  /** null: no NPU linears. */
  precision?: TinyPrecision | null;
  /** Whether w8a8s linears also repair saturated outputs (q, k, v, down). */
  outputRepair?: boolean;
  transform?: Transform;
  /** Type of 8-bit inputs of o and down; outputs are u8. */
  signedInputs?: boolean;
  /** Columns of q and k in one order, of v and down each in one of its own. */
  orders?: boolean;
}

export interface Weight {
  /** [rows, cols] or [n] */
  shape: number[];
  /** Row major. */
  data: Float32Array;
}

export interface TinyModel {
  spec: ModelSpec;
  /** Every tensor of `spec.tensors` by name, columns in the order of the input, and the orders. */
  weights: Map<string, Weight>;
}

const ARCH: ArchSpec = {
  family: 'llama',
  vocab: 96,
  hidden: 64,
  ffn: 160,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  maxContext: 128,
  ropeTheta: 10000,
  ropeInterleaved: false,
  ropeFactors: false,
  rmsEps: 1e-5,
  tied: true,
  activation: 'silu',
  qkvBias: false,
};

const KIND: Record<LinearName, keyof TinyPrecision> = { q: 'qkv', k: 'qkv', v: 'qkv', o: 'o', gate: 'gateup', up: 'gateup', down: 'down' };

function range(dtype: QuantRange['dtype'], magnitude: number): QuantRange {
  switch (dtype) {
    case 'u8':
      return { dtype, scale: Math.fround(magnitude / 127), offset: -128 };
    case 's8':
      return { dtype, scale: Math.fround(magnitude / 127), offset: 0 };
    case 'u16':
      return { dtype, scale: Math.fround(magnitude / 32767), offset: -32768 };
  }
}

/** Entry of a linear; `magnitude`: |x| that its input range reaches. */
export function tinyLinear(name: LinearName, precision: Precision, options: TinyOptions = {}, magnitude = 3): LinearSpec {
  const shadow = precision === 'w8a8s';
  const signed = options.signedInputs === true && (name === 'o' || name === 'down');
  const input = precision === 'w8f16' ? null : range(precision === 'w8a16' ? 'u16' : signed ? 's8' : 'u8', magnitude);
  const output = precision === 'w8f16' ? null : range(precision === 'w8a16' ? 'u16' : 'u8', 2 * magnitude);
  return {
    precision,
    input,
    output,
    shadow: { input: shadow, output: shadow && options.outputRepair !== false && name !== 'o' },
    layout: shadow ? 'conv' : 'fc',
  };
}

function tensorsOf(arch: ArchSpec, type: TensorSpec['type']): Record<string, TensorSpec> {
  const tensors: Record<string, TensorSpec> = {
    embed: { type, shape: [arch.vocab, arch.hidden] },
    norm: { type: 'f32', shape: [arch.hidden] },
  };
  if (!arch.tied) tensors.lm_head = { type, shape: [arch.vocab, arch.hidden] };
  if (arch.ropeFactors) tensors.rope_factors = { type: 'f32', shape: [arch.headDim / 2] };
  for (let layer = 0; layer < arch.layers; layer++) {
    tensors[`layers.${layer}.attn_norm`] = { type: 'f32', shape: [arch.hidden] };
    tensors[`layers.${layer}.ffn_norm`] = { type: 'f32', shape: [arch.hidden] };
    if (modelFamily(arch.family).qkNorm)
      for (const name of ['q', 'k']) tensors[`layers.${layer}.${name}_norm`] = { type: 'f32', shape: [arch.headDim] };
    for (const name of LINEAR_NAMES) {
      const shape = linearShape(arch, name);
      tensors[linearKey(layer, name)] = { type, shape };
      if (arch.qkvBias && KIND[name] === 'qkv') tensors[`${linearKey(layer, name)}.bias`] = { type: 'f32', shape: [shape[0]] };
    }
  }
  return tensors;
}

/** Matrices keep variance, gains lie around 1, factors between 1 and 4. */
function randomWeight(name: string, shape: number[], random: Random): Weight {
  const [rows = 1, cols] = shape;
  if (cols !== undefined)
    return { shape, data: random.normals(rows * cols, name === 'embed' || name === 'lm_head' ? 1 : 1 / Math.sqrt(cols)) };
  if (name === 'rope_factors') return { shape, data: Float32Array.from({ length: rows }, () => 1 + 3 * random.uniform()) };
  if (name.endsWith('.bias')) return { shape, data: random.normals(rows, 0.5) };
  return { shape, data: Float32Array.from({ length: rows }, () => 1 + 0.2 * random.normal()) };
}

/** Names after which an order is called, by linear. */
const ORDER_OF: Partial<Record<LinearName, LinearName>> = { q: 'q', k: 'q', v: 'v', down: 'down' };

function addOrders(tensors: Record<string, TensorSpec>, weights: Map<string, Weight>, layer: number, random: Random): void {
  for (const [name, first] of Object.entries(ORDER_OF)) {
    const tensor = tensors[`layers.${layer}.${name}`];
    const order = `layers.${layer}.${first}.order`;
    const cols = tensor?.shape[1] ?? 0;
    if (tensor) tensor.order = order;
    if (!weights.has(order)) weights.set(order, { shape: [cols], data: Float32Array.from(random.permutation(cols)) });
  }
}

/** The weights as they are stored: columns in the orders that the spec names. */
export function storedWeights({ spec, weights }: TinyModel): Map<string, Weight> {
  const stored = new Map(weights);
  for (const [name, { order }] of Object.entries(spec.tensors)) {
    const weight = weights.get(name);
    const columns = order === undefined ? undefined : weights.get(order)?.data;
    if (!weight || !columns) continue;
    const cols = columns.length;
    const data = weight.data.map((_, i) => weight.data[i - (i % cols) + (columns[i % cols] ?? 0)] ?? Number.NaN);
    stored.set(name, { shape: weight.shape, data });
  }
  return stored;
}

/** Of files that are not there. */
const NO_HASHES: FileHashes = { sha256: '0'.repeat(64), header: '', tensors: {} };

/** The same options give the same model. */
export function tinyModel(options: TinyOptions = {}): TinyModel {
  const arch = { ...ARCH, ...options.arch };
  const random = new Random(options.seed ?? 1);
  const tensors = tensorsOf(arch, options.type ?? 'f32');
  const weights = new Map(Object.entries(tensors).map(([name, { shape }]) => [name, randomWeight(name, shape, random)]));
  if (options.orders) for (let layer = 0; layer < arch.layers; layer++) addOrders(tensors, weights, layer, random);
  const linears: Record<string, LinearSpec> = {};
  const { precision = null } = options;
  if (precision !== null) {
    for (let layer = 0; layer < arch.layers; layer++) {
      for (const name of LINEAR_NAMES) linears[linearKey(layer, name)] = tinyLinear(name, precision[KIND[name]], options, 3 + layer);
    }
  }
  const spec: ModelSpec = {
    format: MODEL_FORMAT,
    name: 'tiny',
    arch,
    chunk: 8,
    tensors,
    linears,
    transform: options.transform ?? 'none',
    hashes: {
      cpu: NO_HASHES,
      npu: precision === null ? null : NO_HASHES,
      tokenizer: { 'tokenizer.json': '', 'tokenizer_config.json': '' },
    },
    source: { file: 'tiny.gguf', sha256: '0'.repeat(64) },
    calibration: null,
    tokens: { bos: 1, eos: [2], addBos: true },
  };
  return { spec, weights };
}
