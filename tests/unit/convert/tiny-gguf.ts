/** A tiny random Llama model as a GGUF file, with everything that a test may want to change. */
import { BLOCKS, type BlockName, ggmlValues, randomBlocks } from '../../reference/ggml.js';
import { type GgufTensorInput, ggufBytes, type MetadataValue } from '../../reference/gguf-writer.js';
import { Random } from '../../reference/random.js';

export const TINY = { hidden: 64, ffn: 96, layers: 2, heads: 4, kvHeads: 2, headDim: 16 };

/** The 256 symbols of byte-level vocabularies in byte order, computed as GPT-2 defines them. */
export function byteSymbols(): string[] {
  const direct = (byte: number) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let extra = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(direct(byte) ? byte : 256 + extra++));
}

export const MERGES = ['h e', 'l l', 'he ll', 'hell o', 'Ġ w', 'o r', 'Ġw or', 'l d', 'Ġwor ld', '1 2', 't h', 'Ġ Ġ'];
export const SPECIALS = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'];

export function tinyVocabulary(): { tokens: string[]; types: number[] } {
  const tokens = [...SPECIALS, ...byteSymbols(), ...MERGES.map((merge) => merge.replace(' ', ''))];
  return { tokens, types: tokens.map((_, id) => (id < SPECIALS.length ? 3 : 1)) };
}

/** A matrix or vector: how it is stored and its values in the file's order. */
export interface TinyTensor extends GgufTensorInput {
  values: Float32Array;
}

export type Storage = BlockName | 'f32' | 'f16' | 'bf16';

function tensor(random: Random, name: string, storage: Storage, rows: number, cols: number): TinyTensor {
  const ne = rows === 1 ? [cols] : [cols, rows];
  if (storage in BLOCKS) {
    const block = storage as BlockName;
    const data = randomBlocks(random, block, rows, cols);
    return { name, type: BLOCKS[block].ggml, ne, data, values: ggmlValues(block, data) };
  }
  const values = random.normals(rows * cols, 0.3);
  if (storage === 'f32') return { name, type: 0, ne, data: new Uint8Array(values.slice().buffer), values };
  const words = new Uint32Array(values.buffer).map((bits) => bits & 0xffff0000);
  const cut = new Float32Array(words.buffer);
  if (storage === 'bf16')
    return { name, type: 30, ne, data: new Uint8Array(Uint16Array.from(words, (bits) => bits >>> 16).buffer), values: cut };
  // Values of 8 significant bits with ordinary exponents are halves already; shift the exponent.
  const small = cut.map((value) => (Math.abs(value) < 2 ** -14 ? 0 : value));
  const halves = Uint16Array.from(new Uint32Array(small.slice().buffer), (bits) =>
    bits === 0 ? 0 : ((bits >>> 16) & 0x8000) | (((bits & 0x7fffffff) - 0x38000000) >>> 13),
  );
  return { name, type: 1, ne, data: new Uint8Array(halves.buffer), values: small };
}

export interface TinyGguf {
  metadata: Record<string, MetadataValue>;
  tensors: TinyTensor[];
  bytes(): Buffer;
}

export interface TinyGgufOptions {
  seed?: number;
  /** Storage of the linears in turn. */
  storages?: Storage[];
  tied?: boolean;
  ropeFreqs?: boolean;
  bias?: boolean;
}

export function tinyGguf({ seed = 1, storages = ['q4_1'], tied = true, ropeFreqs = false, bias = false }: TinyGgufOptions = {}): TinyGguf {
  const random = new Random(seed);
  const { hidden, ffn, layers, heads, kvHeads, headDim } = TINY;
  const { tokens, types } = tinyVocabulary();
  const metadata: Record<string, MetadataValue> = {
    'general.architecture': 'llama',
    'general.name': 'Tiny',
    'llama.context_length': { u32: 64 },
    'llama.embedding_length': { u32: hidden },
    'llama.block_count': { u32: layers },
    'llama.feed_forward_length': { u32: ffn },
    'llama.attention.head_count': { u32: heads },
    'llama.attention.head_count_kv': { u32: kvHeads },
    'llama.rope.freq_base': { f32: 10000 },
    'llama.rope.dimension_count': { u32: headDim },
    'llama.attention.layer_norm_rms_epsilon': { f32: 1e-5 },
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': { i32s: types },
    'tokenizer.ggml.merges': MERGES,
    'tokenizer.ggml.bos_token_id': { u32: 1 },
    'tokenizer.ggml.eos_token_id': { u32: 2 },
    'tokenizer.ggml.add_bos_token': false,
    'tokenizer.chat_template':
      "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}",
  };
  let turn = 0;
  const next = (): Storage => storages[turn++ % storages.length] ?? 'f32';
  const tensors = [
    tensor(random, 'token_embd.weight', 'q8_0', tokens.length, hidden),
    tensor(random, 'output_norm.weight', 'f32', 1, hidden),
  ];
  if (!tied) tensors.push(tensor(random, 'output.weight', 'q8_0', tokens.length, hidden));
  if (ropeFreqs) tensors.push(tensor(random, 'rope_freqs.weight', 'f32', 1, headDim / 2));
  for (let layer = 0; layer < layers; layer++) {
    const add = (name: string, rows: number, cols: number, storage = next()) =>
      tensors.push(tensor(random, `blk.${layer}.${name}.weight`, storage, rows, cols));
    add('attn_norm', 1, hidden, 'f32');
    add('ffn_norm', 1, hidden, 'f32');
    add('attn_q', heads * headDim, hidden);
    add('attn_k', kvHeads * headDim, hidden);
    add('attn_v', kvHeads * headDim, hidden);
    add('attn_output', hidden, heads * headDim);
    add('ffn_gate', ffn, hidden);
    add('ffn_up', ffn, hidden);
    add('ffn_down', hidden, ffn);
    if (bias) {
      for (const [name, rows] of [
        ['q', heads],
        ['k', kvHeads],
        ['v', kvHeads],
      ] as const) {
        tensors.push(tensor(random, `blk.${layer}.attn_${name}.bias`, 'f32', 1, rows * headDim));
      }
    }
  }
  return { metadata, tensors, bytes: () => ggufBytes(metadata, tensors) };
}
