// Writes a checkpoint of Hugging Face with the shapes of a large model and made-up BF16 weights in shards: what conversion is measured on.
// Usage: node scripts/lib/synthetic.mjs DIR [SHAPE] [LAYERS] [EVERY]; of every EVERY pages of the weights one has numbers and the others are holes, which take no disk space.
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const PAGE = 4096;
const SHARD_BYTES = 2 ** 29;

/** Llama 2 7B, whose largest tensor is small beside the rest, Llama 3 8B and Qwen2 7B: figures of config.json. */
export const SHAPES = {
  'llama-2-7b': {
    model_type: 'llama',
    hidden_size: 4096,
    intermediate_size: 11_008,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    num_hidden_layers: 32,
    vocab_size: 32_000,
  },
  'llama-3-8b': {
    model_type: 'llama',
    hidden_size: 4096,
    intermediate_size: 14_336,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    num_hidden_layers: 32,
    vocab_size: 128_256,
  },
  'qwen2-7b': {
    model_type: 'qwen2',
    hidden_size: 3584,
    intermediate_size: 18_944,
    num_attention_heads: 28,
    num_key_value_heads: 4,
    num_hidden_layers: 28,
    vocab_size: 152_064,
  },
};

/** Names and shapes of the tensors, in the order of the files. */
export function tensorsOf(config) {
  const {
    hidden_size: hidden,
    intermediate_size: ffn,
    num_key_value_heads: kvHeads,
    num_attention_heads: heads,
    vocab_size: vocab,
  } = config;
  const kv = (hidden / heads) * kvHeads;
  const layer = (i) => {
    const biases =
      config.model_type === 'qwen2'
        ? { 'self_attn.q_proj.bias': [hidden], 'self_attn.k_proj.bias': [kv], 'self_attn.v_proj.bias': [kv] }
        : {};
    const tensors = {
      'input_layernorm.weight': [hidden],
      'post_attention_layernorm.weight': [hidden],
      'self_attn.q_proj.weight': [hidden, hidden],
      'self_attn.k_proj.weight': [kv, hidden],
      'self_attn.v_proj.weight': [kv, hidden],
      'self_attn.o_proj.weight': [hidden, hidden],
      'mlp.gate_proj.weight': [ffn, hidden],
      'mlp.up_proj.weight': [ffn, hidden],
      'mlp.down_proj.weight': [hidden, ffn],
      ...biases,
    };
    return Object.entries(tensors).map(([name, shape]) => ({ name: `model.layers.${i}.${name}`, shape }));
  };
  return [
    { name: 'model.embed_tokens.weight', shape: [vocab, hidden] },
    { name: 'model.norm.weight', shape: [hidden] },
    { name: 'lm_head.weight', shape: [vocab, hidden] },
    ...Array.from({ length: config.num_hidden_layers }, (_, i) => layer(i)).flat(),
  ].map((tensor) => ({ ...tensor, bytes: 2 * tensor.shape.reduce((product, length) => product * length, 1) }));
}

/** BF16 numbers of both signs between 2^-8 and 2^-5, the same everywhere. */
function noise(bytes) {
  const words = new Uint16Array(bytes / 2);
  let state = 1;
  for (let i = 0; i < words.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    words[i] = ((state >>> 31) << 15) | (0x3b80 + ((state >>> 16) % 0x180));
  }
  return new Uint8Array(words.buffer);
}

/** Tensors in files of at most SHARD_BYTES, unless one alone is larger. */
function shardsOf(tensors) {
  const shards = [[]];
  let bytes = 0;
  for (const tensor of tensors) {
    if (bytes > 0 && bytes + tensor.bytes > SHARD_BYTES) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1).push(tensor);
    bytes += tensor.bytes;
  }
  return shards;
}

function writeShard(path, tensors, every, pages) {
  let end = 0;
  const table = {};
  for (const { name, shape, bytes } of tensors) {
    table[name] = { dtype: 'BF16', shape, data_offsets: [end, end + bytes] };
    end += bytes;
  }
  const json = JSON.stringify(table);
  const header = Buffer.from(json.padEnd(json.length + ((8 - (json.length % 8)) % 8)));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(path, 'w');
  try {
    writeSync(file, length);
    writeSync(file, header);
    let at = 8 + header.length;
    ftruncateSync(file, at + end);
    for (const { shape, bytes } of tensors) {
      // Gains of norms are 1, biases too.
      if (shape.length === 1) writeSync(file, new Uint8Array(new Uint16Array(bytes / 2).fill(0x3f80).buffer), 0, bytes, at);
      else {
        const piece = every === 1 ? pages.length : PAGE;
        for (let from = 0, n = 0; from < bytes; from += piece * (every === 1 ? 1 : every), n++) {
          const begin = every === 1 ? 0 : (n * PAGE) % pages.length;
          writeSync(file, pages, begin, Math.min(piece, bytes - from), at + from);
        }
      }
      at += bytes;
    }
  } finally {
    closeSync(file);
  }
}

/** A byte-level BPE tokenizer of `vocab` tokens: all bytes, then pairs of what there is. */
function tokenizerOf(vocab) {
  const printable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  let next = 256;
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(printable(byte) ? byte : next++));
  const end = '<|endoftext|>';
  const tokens = [...bytes];
  const merges = [];
  for (let left = 0; tokens.length < vocab - 1; left++) {
    for (let right = 0; right < 256 && tokens.length < vocab - 1; right++) {
      merges.push(`${tokens[left]} ${bytes[right]}`);
      tokens.push(tokens[left] + bytes[right]);
    }
  }
  return {
    version: '1.0',
    normalizer: null,
    post_processor: null,
    added_tokens: [{ id: vocab - 1, content: end, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
  };
}

/** Writes the directory, which must not exist or is replaced. Gives the bytes of all tensors and of the largest one. */
export function writeSynthetic(directory, { shape = 'llama-2-7b', layers, every = 1 } = {}) {
  const figures = SHAPES[shape];
  if (!figures) throw new Error(`no shape '${shape}'; known: ${Object.keys(SHAPES).join(', ')}`);
  const config = { ...figures, num_hidden_layers: layers ?? figures.num_hidden_layers };
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  const tensors = tensorsOf(config);
  const shards = shardsOf(tensors);
  const name = (i) => `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`;
  const pages = noise(256 * PAGE);
  shards.forEach((shard, i) => {
    writeShard(join(directory, name(i)), shard, every, pages);
  });
  const json = (file, value) => writeFileSync(join(directory, file), JSON.stringify(value));
  json('config.json', {
    ...config,
    hidden_act: 'silu',
    rms_norm_eps: 1e-5,
    rope_theta: 10_000,
    max_position_embeddings: 4096,
    tie_word_embeddings: false,
  });
  json('tokenizer.json', tokenizerOf(config.vocab_size));
  json('tokenizer_config.json', { eos_token: '<|endoftext|>' });
  json('model.safetensors.index.json', {
    metadata: {},
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => shard.map((tensor) => [tensor.name, name(i)]))),
  });
  return { bytes: tensors.reduce((sum, { bytes }) => sum + bytes, 0), largest: Math.max(...tensors.map(({ bytes }) => bytes)) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [directory, shape, layers, every = '1'] = process.argv.slice(2);
  if (directory === undefined) {
    console.error(`usage: node scripts/lib/synthetic.mjs DIR [${Object.keys(SHAPES).join('|')}] [LAYERS] [EVERY]`);
    process.exitCode = 2;
  } else console.log(writeSynthetic(directory, { shape, ...(layers ? { layers: Number(layers) } : {}), every: Number(every) }));
}
