/**
 * Tiny checkpoints of Hugging Face, written by the letter of each format from codes, scales and zero points that the test chooses, with the values that they stand for.
 * Nothing here is shared with the importer.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fromHalf, toHalf } from '../../lib/graph/half.js';
import { byteSymbols, MERGES, SPECIALS } from '../unit/convert/tiny-gguf.js';
import { Random } from './random.js';
import type { Weight } from './tiny.js';

export interface StoredArray {
  dtype: string;
  shape: number[];
  data: Uint8Array;
}

/** A safetensors file. */
export function safetensorsBytes(tensors: ReadonlyMap<string, StoredArray>): Buffer {
  const table: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, { dtype, shape, data }] of tensors) {
    table[name] = { dtype, shape, data_offsets: [end, end + data.length] };
    end += data.length;
  }
  const json = Buffer.from(JSON.stringify(table));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, ...[...tensors.values()].map(({ data }) => data)]);
}

const bytesOf = (array: Uint32Array | Int32Array | Uint16Array | Float32Array): Uint8Array => new Uint8Array(array.slice().buffer);
export const i32 = (shape: number[], data: Uint32Array | Int32Array): StoredArray => ({ dtype: 'I32', shape, data: bytesOf(data) });
export const f16 = (shape: number[], values: ArrayLike<number>): StoredArray => ({
  dtype: 'F16',
  shape,
  data: bytesOf(Uint16Array.from(values, toHalf)),
});
export const f32 = (shape: number[], values: ArrayLike<number>): StoredArray => ({
  dtype: 'F32',
  shape,
  data: bytesOf(Float32Array.from(values)),
});
export const bf16 = (shape: number[], values: ArrayLike<number>): StoredArray => ({
  dtype: 'BF16',
  shape,
  data: bytesOf(Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (bits) => bits >>> 16)),
});

/** Eight, sixteen … numbers a word, or of three bits 32 in three words: ten, the ends of one, ten, the ends of one, ten. */
function packWords(bits: number, numbers: readonly number[]): number[] {
  if (bits !== 3) {
    const each = 32 / bits;
    return Array.from({ length: numbers.length / each }, (_, word) =>
      numbers.slice(word * each, (word + 1) * each).reduce((sum, number, i) => sum + number * 2 ** (bits * i), 0),
    );
  }
  return Array.from({ length: numbers.length / 32 }, (_, block) => {
    const n = numbers.slice(block * 32, block * 32 + 32);
    const ten = (from: number, shift: number) =>
      n.slice(from, from + 10).reduce((sum, number, i) => sum + number * 2 ** (3 * i + shift), 0);
    const [tenth = 0, twentyFirst = 0] = [n[10], n[21]];
    return [ten(0, 0) + (tenth & 3) * 2 ** 30, (tenth >> 2) + ten(11, 1) + (twentyFirst & 1) * 2 ** 31, (twentyFirst >> 1) + ten(22, 2)];
  }).flat();
}

export interface GroupedOptions {
  method: 'gptq' | 'gptq_v2' | 'awq';
  bits: 2 | 3 | 4;
  /** −1: all inputs share a scale. */
  group: number;
  symmetric: boolean;
  actOrder?: boolean;
  scales?: 'F16' | 'BF16' | 'F32';
}

/** One linear: tensors without their prefix, and the values [rows, cols] with what decides how they are stored. */
export interface TinyLinear {
  tensors: Map<string, StoredArray>;
  values: Float32Array;
  /** Group of each input. */
  groups: number[];
}

/** The eight outputs that a word of AWQ holds, from its lowest bits on. */
const AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7];

/** `shuffled`: the inputs in the order in which act-order has quantised them. */
export function groupedLinear(
  random: Random,
  rows: number,
  cols: number,
  options: GroupedOptions,
  shuffled = random.permutation(cols),
): TinyLinear {
  const { method, bits, symmetric, actOrder = false, scales: dtype = 'F16' } = options;
  const group = options.group === -1 ? cols : options.group;
  const count = Math.ceil(cols / group);
  const inOrder = Array.from({ length: cols }, (_, input) => Math.floor(input / group));
  const groups = actOrder ? inOrder.map((_, input) => inOrder[shuffled.indexOf(input)] ?? 0) : inOrder;
  const codes = Array.from({ length: rows }, () => Array.from({ length: cols }, () => random.below(2 ** bits)));
  const zeros = Array.from({ length: count }, () =>
    Array.from({ length: rows }, () => (symmetric ? 2 ** (bits - 1) : random.below(2 ** bits))),
  );
  // Of eight significant bits, so that each of the three types holds them.
  const scales = Array.from({ length: count }, () =>
    Array.from({ length: rows }, () => (random.below(4) === 0 ? -1 : 1) * (128 + random.below(128)) * 2 ** -(13 + random.below(2))),
  );
  const values = Float32Array.from({ length: rows * cols }, (_, i) => {
    const [row, input] = [Math.floor(i / cols), i % cols];
    const g = groups[input] ?? 0;
    return ((codes[row]?.[input] ?? 0) - (zeros[g]?.[row] ?? 0)) * (scales[g]?.[row] ?? 0);
  });
  const tensors = new Map<string, StoredArray>();
  const store = { F16: f16, BF16: bf16, F32: f32 }[dtype];
  tensors.set('scales', store([count, rows], scales.flat()));
  if (method === 'awq') {
    const words = (numbers: readonly number[]) =>
      Array.from({ length: numbers.length / 8 }, (_, word) =>
        packWords(
          4,
          AWQ_ORDER.map((output) => numbers[word * 8 + output] ?? 0),
        ),
      ).flat();
    const inputs = Array.from({ length: cols }, (_, input) => codes.map((row) => row[input] ?? 0));
    tensors.set('qweight', i32([cols, rows / 8], Uint32Array.from(inputs.flatMap(words))));
    tensors.set('qzeros', i32([count, rows / 8], Uint32Array.from(zeros.flatMap(words))));
  } else {
    const columns = codes.map((row) => packWords(bits, row));
    const height = columns[0]?.length ?? 0;
    const qweight = Uint32Array.from({ length: height * rows }, (_, i) => columns[i % rows]?.[Math.floor(i / rows)] ?? 0);
    const step = method === 'gptq' ? 1 : 0;
    const qzeros = zeros.flatMap((row) =>
      packWords(
        bits,
        row.map((zero) => (zero - step + 2 ** bits) % 2 ** bits),
      ),
    );
    tensors.set('qweight', i32([height, rows], qweight));
    tensors.set('qzeros', i32([count, (rows * bits) / 32], Uint32Array.from(qzeros)));
    tensors.set('g_idx', i32([cols], Int32Array.from(groups)));
  }
  return { tensors, values, groups };
}

/** Ternary weights, four outputs in a byte; `inverse`: values are divided by the scale. */
export function bitnetLinear(random: Random, rows: number, cols: number, inverse: boolean): TinyLinear {
  const magnitude = 0.08 + 0.08 * random.uniform();
  const scale = bfloat(inverse ? 1 / magnitude : magnitude);
  const ternary = Array.from({ length: rows }, () => Array.from({ length: cols }, () => random.below(3) - 1));
  const quarter = rows / 4;
  const packed = Uint8Array.from({ length: quarter * cols }, (_, i) => {
    const [place, input] = [Math.floor(i / cols), i % cols];
    return [0, 1, 2, 3].reduce((byte, part) => byte + ((ternary[part * quarter + place]?.[input] ?? 0) + 1) * 4 ** part, 0);
  });
  const values = Float32Array.from(ternary.flat(), (value) => (inverse ? value / scale : value * scale));
  const tensors = new Map([
    ['weight', { dtype: 'U8', shape: [quarter, cols], data: packed }],
    ['weight_scale', bf16([1], [scale])],
  ]);
  return { tensors, values, groups: [] };
}

/** Cut to the bits that BF16 has. */
function bfloat(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  return new Float32Array(Uint32Array.of((bits[0] ?? 0) & 0xffff0000).buffer)[0] ?? 0;
}

export interface TinyCheckpointOptions {
  seed?: number;
  /** How the linears of the layers are held; absent: F16. */
  linears?: GroupedOptions | { method: 'bitnet'; inverse: boolean };
  /** Whether lm_head is held like them. */
  quantisedHead?: boolean;
  tied?: boolean;
  sizes?: Partial<Sizes>;
}

export interface TinyCheckpoint {
  config: Record<string, unknown>;
  tensors: Map<string, StoredArray>;
  tokenizer: Record<string, unknown>;
  tokenizerConfig: Record<string, unknown>;
  /** Values under lutra's names, columns in the order of the input. */
  weights: Map<string, Weight>;
}

/** Sizes that fill words of any width; more tokens than the tokenizer has. */
const SIZES = { hidden: 64, ffn: 96, layers: 2, heads: 4, kvHeads: 2, headDim: 16, vocab: 288 };

type Sizes = typeof SIZES;

/** Modules of a layer with outputs and inputs, by lutra's names. */
function modulesOf({ hidden, ffn, heads, kvHeads, headDim }: Sizes): Record<string, readonly [module: string, rows: number, cols: number]> {
  return {
    q: ['self_attn.q_proj', heads * headDim, hidden],
    k: ['self_attn.k_proj', kvHeads * headDim, hidden],
    v: ['self_attn.v_proj', kvHeads * headDim, hidden],
    o: ['self_attn.o_proj', hidden, heads * headDim],
    gate: ['mlp.gate_proj', ffn, hidden],
    up: ['mlp.up_proj', ffn, hidden],
    down: ['mlp.down_proj', hidden, ffn],
  };
}

function quantizationConfig(linears: NonNullable<TinyCheckpointOptions['linears']>): Record<string, unknown> {
  if (linears.method === 'bitnet')
    return { quant_method: 'bitnet', linear_class: linears.inverse ? 'bitlinear' : 'autobitlinear', quantization_mode: 'offline' };
  const { method, bits, group, symmetric, actOrder = false } = linears;
  if (method === 'awq') return { quant_method: 'awq', bits, group_size: group, zero_point: true, version: 'gemm' };
  return { quant_method: 'gptq', bits, group_size: group, sym: symmetric, desc_act: actOrder, checkpoint_format: method };
}

function tinyTokenizerJson(): Record<string, unknown> {
  const tokens = [...SPECIALS, ...byteSymbols(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    added_tokens: SPECIALS.map((content, id) => ({
      id,
      content,
      special: true,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|im_start|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    },
    decoder: byteLevel,
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges: MERGES },
  };
}

/** The same options give the same checkpoint. */
export function tinyCheckpoint({
  seed = 1,
  linears,
  quantisedHead = false,
  tied = false,
  sizes = {},
}: TinyCheckpointOptions = {}): TinyCheckpoint {
  const random = new Random(seed);
  const all = { ...SIZES, ...sizes };
  const { hidden, ffn, layers, heads, kvHeads, headDim, vocab } = all;
  const tensors = new Map<string, StoredArray>();
  const weights = new Map<string, Weight>();
  const plain = (name: string, from: string, shape: number[], values: Float32Array) => {
    const halves = values.map((value) => fromHalf(toHalf(value)));
    tensors.set(from, f16(shape, halves));
    weights.set(name, { shape, data: halves });
  };
  let shuffled: Uint32Array | undefined;
  const gains = () => Float32Array.from({ length: hidden }, () => 1 + 0.2 * random.normal());
  const matrix = (name: string, module: string, rows: number, cols: number, how: TinyCheckpointOptions['linears']) => {
    if (!how) return plain(name, `${module}.weight`, [rows, cols], random.normals(rows * cols, 1 / Math.sqrt(cols)));
    // k is quantised in the order of q and one up in that of gate, as linears of one input are; v and the other up in orders of their own, so that both cases are there.
    if (!/\.k$|^layers\.1\.up$/.test(name)) shuffled = random.permutation(cols);
    const made = how.method === 'bitnet' ? bitnetLinear(random, rows, cols, how.inverse) : groupedLinear(random, rows, cols, how, shuffled);
    for (const [part, array] of made.tensors) tensors.set(`${module}.${part}`, array);
    weights.set(name, { shape: [rows, cols], data: made.values });
  };
  plain('embed', 'model.embed_tokens.weight', [vocab, hidden], random.normals(vocab * hidden));
  plain('norm', 'model.norm.weight', [hidden], gains());
  if (!tied) matrix('lm_head', 'lm_head', vocab, hidden, quantisedHead ? linears : undefined);
  for (let layer = 0; layer < layers; layer++) {
    const block = `model.layers.${layer}`;
    plain(`layers.${layer}.attn_norm`, `${block}.input_layernorm.weight`, [hidden], gains());
    plain(`layers.${layer}.ffn_norm`, `${block}.post_attention_layernorm.weight`, [hidden], gains());
    for (const [name, [module, rows, cols]] of Object.entries(modulesOf(all)))
      matrix(`layers.${layer}.${name}`, `${block}.${module}`, rows, cols, linears);
  }
  return {
    config: {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      vocab_size: vocab,
      hidden_size: hidden,
      intermediate_size: ffn,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      head_dim: headDim,
      hidden_act: 'silu',
      max_position_embeddings: 512,
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      rope_scaling: null,
      tie_word_embeddings: tied,
      bos_token_id: 1,
      eos_token_id: [2],
      torch_dtype: 'float16',
      ...(linears ? { quantization_config: quantizationConfig(linears) } : {}),
    },
    tensors,
    tokenizer: tinyTokenizerJson(),
    tokenizerConfig: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: { content: '<|im_start|>' },
      eos_token: '<|im_end|>',
      chat_template: '{{ messages[0].content }}',
    },
    weights,
  };
}

/** Writes a checkpoint into a new directory; `shards` files with an index when it is more than one. */
export function writeCheckpoint(directory: string, { config, tensors, tokenizer, tokenizerConfig }: TinyCheckpoint, shards = 1): string {
  mkdirSync(directory, { recursive: true });
  const put = (name: string, value: object) => writeFileSync(join(directory, name), JSON.stringify(value));
  put('config.json', config);
  put('tokenizer.json', tokenizer);
  put('tokenizer_config.json', tokenizerConfig);
  const names = [...tensors.keys()];
  const file = (shard: number) => (shards === 1 ? 'model.safetensors' : `model-0000${shard + 1}-of-0000${shards}.safetensors`);
  for (let shard = 0; shard < shards; shard++)
    writeFileSync(join(directory, file(shard)), safetensorsBytes(new Map([...tensors].filter((_, i) => i % shards === shard))));
  if (shards > 1)
    put('model.safetensors.index.json', { metadata: {}, weight_map: Object.fromEntries(names.map((name, i) => [name, file(i % shards)])) });
  return directory;
}
