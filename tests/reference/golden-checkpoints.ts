/** The checkpoints of tests/golden/checkpoints, with the logits that transformers computes from them, and the same models as GGUF files. */
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fromHalf } from '../../lib/graph/half.js';
import { type StoredArray, safetensorsBytes } from './checkpoint.js';
import { type GgufTensorInput, type MetadataValue, writeGguf } from './gguf-writer.js';

const ROOT = join(import.meta.dirname, '../golden/checkpoints');

export const GOLDEN_CHECKPOINTS: readonly string[] = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => name);

/** Fields that every family has. */
export interface GoldenConfig {
  model_type: string;
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim?: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling?: {
    factor: number;
    low_freq_factor: number;
    high_freq_factor: number;
    original_max_position_embeddings: number;
  } | null;
  tie_word_embeddings: boolean;
}

interface GoldenTokenizer {
  model: { vocab: Record<string, number>; merges: string[] };
  added_tokens: { id: number }[];
}

export interface GoldenCheckpoint {
  name: string;
  directory: string;
  config: GoldenConfig;
  tokenizer: GoldenTokenizer;
  tensors: Map<string, StoredArray>;
  tokens: number[];
  /** [tokens, vocab] */
  logits: Float32Array;
}

/** The tensors of a safetensors file. */
export function storedTensors(path: string): [string, StoredArray][] {
  const bytes = readFileSync(path);
  const data = 8 + Number(bytes.readBigUInt64LE());
  const { __metadata__: _, ...table } = JSON.parse(bytes.toString('utf8', 8, data)) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.entries(table).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [begin, end],
      },
    ]) => [name, { dtype, shape, data: Uint8Array.from(bytes.subarray(data + begin, data + end)) }],
  );
}

export function goldenCheckpoint(name: string): GoldenCheckpoint {
  const directory = join(ROOT, name);
  const json = <T>(file: string): T => JSON.parse(readFileSync(join(directory, file), 'utf8')) as T;
  const files = readdirSync(directory).filter((file) => file.endsWith('.safetensors'));
  return {
    name,
    directory,
    config: json<GoldenConfig>('config.json'),
    tokenizer: json<GoldenTokenizer>('tokenizer.json'),
    tensors: new Map(files.flatMap((file) => storedTensors(join(directory, file)))),
    tokens: json<{ tokens: number[] }>('golden.json').tokens,
    logits: new Float32Array(Uint8Array.from(readFileSync(join(directory, 'logits.f32'))).buffer),
  };
}

/** Writes the checkpoint, as it is now, as one file; `tokenizer.json` and the rest are the golden's. */
export function writeGoldenCheckpoint(directory: string, golden: GoldenCheckpoint): string {
  cpSync(golden.directory, directory, { recursive: true, filter: (path) => !/safetensors|logits|golden\.json/.test(basename(path)) });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(golden.config));
  writeFileSync(join(directory, 'model.safetensors'), safetensorsBytes(golden.tensors));
  return directory;
}

/** Names of GGUF for those of transformers, `{}` the layer. */
const GGUF_NAMES: Readonly<Record<string, string>> = {
  'model.embed_tokens': 'token_embd',
  'model.norm': 'output_norm',
  lm_head: 'output',
  'model.layers.{}.input_layernorm': 'blk.{}.attn_norm',
  'model.layers.{}.post_attention_layernorm': 'blk.{}.ffn_norm',
  'model.layers.{}.self_attn.q_proj': 'blk.{}.attn_q',
  'model.layers.{}.self_attn.k_proj': 'blk.{}.attn_k',
  'model.layers.{}.self_attn.v_proj': 'blk.{}.attn_v',
  'model.layers.{}.self_attn.o_proj': 'blk.{}.attn_output',
  'model.layers.{}.self_attn.q_norm': 'blk.{}.attn_q_norm',
  'model.layers.{}.self_attn.k_norm': 'blk.{}.attn_k_norm',
  'model.layers.{}.mlp.gate_proj': 'blk.{}.ffn_gate',
  'model.layers.{}.mlp.up_proj': 'blk.{}.ffn_up',
  'model.layers.{}.mlp.down_proj': 'blk.{}.ffn_down',
};

const GGML_TYPES: Readonly<Record<string, number>> = { F32: 0, F16: 1, BF16: 30 };

/** The name in GGUF files. */
export function ggufName(name: string): string {
  const [, module = '', part] = /^(.*)\.(weight|bias)$/.exec(name) ?? [];
  const layer = /\.(\d+)\./.exec(module)?.[1] ?? '';
  return `${GGUF_NAMES[module.replace(/\.\d+\./, '.{}.')]?.replace('{}', layer)}.${part}`;
}

/** Little-endian F32 of a tensor. */
export function asF32({ dtype, data }: StoredArray): Uint8Array {
  if (dtype === 'F32') return data;
  const words = new Uint16Array(data.slice().buffer);
  if (dtype === 'BF16') return new Uint8Array(Uint32Array.from(words, (word) => word << 16).buffer);
  return new Uint8Array(Float32Array.from(words, fromHalf).buffer);
}

/** Row 2i + h of a head is row i + h · headDim/2 of transformers. */
function interleaved(data: Uint8Array, rows: number, headDim: number): Uint8Array {
  const rowBytes = data.length / rows;
  const out = new Uint8Array(data.length);
  for (let row = 0; row < rows; row++) {
    const [head, at] = [row - (row % headDim), row % headDim];
    const from = head + (at % 2 === 0 ? at / 2 : (at - 1) / 2 + headDim / 2);
    out.set(data.subarray(from * rowBytes, (from + 1) * rowBytes), row * rowBytes);
  }
  return out;
}

/** What Llama 3 divides each frequency by. */
function ropeFreqs({ rope_scaling: scaling, rope_theta: theta }: GoldenConfig, headDim: number): Float32Array | undefined {
  if (!scaling) return undefined;
  const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: context } = scaling;
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < context / high) return 1;
    if (wavelength > context / low) return factor;
    const smooth = (context / wavelength - low) / (high - low);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** The architecture of a GGUF file by model_type; what is not here has none. */
const ARCHITECTURES: Readonly<Record<string, { architecture: string; permuted: boolean; pre: string }>> = {
  llama: { architecture: 'llama', permuted: true, pre: 'gpt-2' },
  qwen2: { architecture: 'qwen2', permuted: false, pre: 'gpt-2' },
  qwen3: { architecture: 'qwen3', permuted: false, pre: 'gpt-2' },
};

function metadataOf(
  { config, tokenizer, name }: GoldenCheckpoint,
  arch: string,
  pre: string,
  headDim: number,
): Record<string, MetadataValue> {
  const tokens = Array.from({ length: config.vocab_size }, (_, id) => `[PAD${id}]`);
  for (const [token, id] of Object.entries(tokenizer.model.vocab)) tokens[id] = token;
  const special = new Set(tokenizer.added_tokens.map(({ id }) => id));
  const types = tokens.map((token, id) => (special.has(id) ? 3 : token.startsWith('[PAD') ? 5 : 1));
  return {
    'general.architecture': arch,
    'general.name': name,
    [`${arch}.context_length`]: { u32: config.max_position_embeddings },
    [`${arch}.embedding_length`]: { u32: config.hidden_size },
    [`${arch}.block_count`]: { u32: config.num_hidden_layers },
    [`${arch}.feed_forward_length`]: { u32: config.intermediate_size },
    [`${arch}.attention.head_count`]: { u32: config.num_attention_heads },
    [`${arch}.attention.head_count_kv`]: { u32: config.num_key_value_heads },
    [`${arch}.attention.key_length`]: { u32: headDim },
    [`${arch}.attention.value_length`]: { u32: headDim },
    [`${arch}.rope.freq_base`]: { f32: config.rope_theta },
    [`${arch}.attention.layer_norm_rms_epsilon`]: { f32: config.rms_norm_eps },
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': { i32s: types },
    'tokenizer.ggml.merges': tokenizer.model.merges,
    'tokenizer.ggml.eos_token_id': { u32: 2 },
    'tokenizer.ggml.add_bos_token': false,
  };
}

/** Writes the model as a GGUF file, matrices in the type that they have; false: there is no such architecture. */
export function writeGoldenGguf(path: string, golden: GoldenCheckpoint): boolean {
  const { config, tensors } = golden;
  const known = ARCHITECTURES[config.model_type];
  if (!known) return false;
  const headDim = config.head_dim ?? config.hidden_size / config.num_attention_heads;
  const list: GgufTensorInput[] = [...tensors].map(([name, array]) => {
    const vector = array.shape.length === 1;
    const data = vector ? asF32(array) : array.data;
    const permuted = known.permuted && /\.(q|k)_proj\./.test(name);
    return {
      name: ggufName(name),
      type: vector ? 0 : (GGML_TYPES[array.dtype] ?? -1),
      ne: [...array.shape].reverse(),
      data: permuted ? interleaved(data, array.shape[0] ?? 0, headDim) : data,
    };
  });
  const factors = ropeFreqs(config, headDim);
  if (factors) list.push({ name: 'rope_freqs.weight', type: 0, ne: [factors.length], data: new Uint8Array(factors.buffer) });
  writeGguf(path, metadataOf(golden, known.architecture, known.pre, headDim), list);
  return true;
}
