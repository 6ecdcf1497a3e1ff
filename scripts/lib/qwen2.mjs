// Writes a GGUF model of the Llama family as a directory of Hugging Face of the Qwen2 family, in F32 and in shards: a Qwen model with the statistics of a real one.
// Usage: node scripts/lib/qwen2.mjs MODEL.gguf DIR [BIAS]; the biases of q, k and v are 0, or pseudo-random numbers from −BIAS to BIAS. Needs the build.
import { closeSync, mkdirSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = new URL('../../dist/', import.meta.url);
const { hfConfig } = await import(new URL('convert/config.js', dist));
const { openGguf } = await import(new URL('convert/gguf-source.js', dist));
const { Scratch } = await import(new URL('convert/scratch.js', dist));
const { loadAddon } = await import(new URL('native/loader.js', dist));

const SHARDS = 4;
const MODULES = {
  attn_norm: 'input_layernorm',
  ffn_norm: 'post_attention_layernorm',
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
};
const OUTSIDE = { embed: 'model.embed_tokens.weight', norm: 'model.norm.weight', lm_head: 'lm_head.weight' };

/** The name in transformers of one of lutra's tensors. */
function nameOf(name) {
  const [, layer, part] = /^layers\.(\d+)\.(\w+)$/.exec(name) ?? [];
  return layer === undefined ? OUTSIDE[name] : `model.layers.${layer}.${MODULES[part]}.weight`;
}

/** The same numbers everywhere: multiples of 2^-15 from −1 to 1, by a congruential generator. */
function noise(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 16) / 2 ** 15 - 1;
  };
}

/** Tensors with their values as they are written, piece by piece. */
function tensorsOf(source, bias) {
  const tools = { addon: loadAddon(), scratch: new Scratch() };
  const random = noise(1);
  return source.tensors.flatMap(({ name, shape, source: { slabs } }) => {
    async function* values() {
      for await (const slab of slabs(tools)) yield slab.floats();
    }
    const own = { name: nameOf(name), shape, values };
    if (own.name === undefined) throw new Error(`tensor ${name} has no place in Qwen2`);
    if (!/\.[qkv]$/.test(name)) return [own];
    const data = Float32Array.from({ length: shape[0] }, () => bias * random());
    const biases = {
      name: own.name.replace(/weight$/, 'bias'),
      shape: [shape[0]],
      async *values() {
        yield data;
      },
    };
    return [own, biases];
  });
}

async function writeShard(path, tensors) {
  let end = 0;
  const table = Object.fromEntries(
    tensors.map(({ name, shape }) => {
      const begin = end;
      end += 4 * shape.reduce((product, length) => product * length, 1);
      return [name, { dtype: 'F32', shape, data_offsets: [begin, end] }];
    }),
  );
  const header = Buffer.from(JSON.stringify(table));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const file = openSync(path, 'w');
  try {
    for (const part of [length, header]) writeSync(file, part);
    for (const { values } of tensors)
      for await (const part of values()) writeSync(file, new Uint8Array(part.buffer, part.byteOffset, part.byteLength));
  } finally {
    closeSync(file);
  }
}

/** Writes the directory, which must not exist or is replaced. */
export async function writeQwen2(gguf, directory, bias = 0) {
  const source = await openGguf(gguf);
  try {
    rmSync(directory, { recursive: true, force: true });
    mkdirSync(directory, { recursive: true });
    const { arch, tokenizer } = source;
    const tensors = tensorsOf(source, bias);
    const file = (shard) => `model-0000${shard + 1}-of-0000${SHARDS}.safetensors`;
    for (let shard = 0; shard < SHARDS; shard++)
      await writeShard(
        join(directory, file(shard)),
        tensors.filter((_, i) => i % SHARDS === shard),
      );
    const json = (name, value) => writeFileSync(join(directory, name), JSON.stringify(value));
    json('config.json', hfConfig({ ...arch, family: 'qwen2', qkvBias: true }, tokenizer.tokens));
    json('tokenizer.json', tokenizer.tokenizer);
    json('tokenizer_config.json', tokenizer.config);
    json('model.safetensors.index.json', {
      metadata: {},
      weight_map: Object.fromEntries(tensors.map(({ name }, i) => [name, file(i % SHARDS)])),
    });
  } finally {
    await source.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [gguf, directory, bias = '0'] = process.argv.slice(2);
  if (gguf === undefined || directory === undefined || !Number.isFinite(Number(bias))) {
    console.error('usage: node scripts/lib/qwen2.mjs MODEL.gguf DIR [BIAS]');
    process.exitCode = 2;
  } else await writeQwen2(gguf, directory, Number(bias));
}
