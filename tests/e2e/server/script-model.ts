/**
 * A model whose weights are a script: after a given character it says given pieces, one token each, and ends. Its layers add nothing, so that the logits are products of the last
 * token's embedding with the head, and the head's row of a piece is the embedding of what comes before it. All the rest of the engine is as it is.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { convertModel } from '../../../lib/convert/index.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { type GgufTensorInput, writeGguf } from '../../reference/gguf-writer.js';
import { Random } from '../../reference/random.js';
import { byteSymbols, SPECIALS, TINY, tinyGguf, tinyVocabulary } from '../../unit/convert/tiny-gguf.js';

/** What follows a character: pieces that differ from each other and from those of every other script; one that ends with its first piece goes on for ever. */
export type Scripts = Readonly<Record<string, readonly string[]>>;

const END = SPECIALS.indexOf('<|im_end|>');

/** In the alphabet of byte-level vocabularies. */
function spelled(text: string): string {
  const symbols = byteSymbols();
  return [...Buffer.from(text)].map((byte) => symbols[byte]).join('');
}

function f32(name: string, ne: number[], data: Float32Array): GgufTensorInput {
  return { name, type: 0, ne, data: new Uint8Array(data.buffer) };
}

/** Converts the model into `root`/`name`; returns the directory. `template`: its chat template. */
export async function makeScripted(root: string, name: string, scripts: Scripts, template: string): Promise<string> {
  const { tokens: base, types } = tinyVocabulary();
  const pieces = [...new Set(Object.values(scripts).flat())];
  const tokens = [...base, ...pieces.map(spelled)];
  const { hidden } = TINY;
  const embeddings = new Random(5).normals(tokens.length * hidden, 1);
  const head = new Float32Array(tokens.length * hidden);
  const follow = (token: number, next: number) => {
    for (let i = 0; i < hidden; i++) head[next * hidden + i]! += embeddings[token * hidden + i]!;
  };
  for (const [first, said] of Object.entries(scripts)) {
    const chain = [tokens.indexOf(spelled(first)), ...said.map((piece) => base.length + pieces.indexOf(piece))];
    if (said.at(-1) !== said[0]) chain.push(END);
    for (let i = 1; i < chain.length; i++) follow(chain[i - 1]!, chain[i]!);
  }
  const { metadata, tensors } = tinyGguf({ storages: ['f32'], tied: false });
  const layers = tensors
    .filter(({ name: tensor }) => tensor.startsWith('blk.'))
    .map((tensor) =>
      /attn_output|ffn_down/.test(tensor.name) ? f32(tensor.name, tensor.ne, new Float32Array(tensor.values.length)) : tensor,
    );
  const file = join(root, `${name}.gguf`);
  writeGguf(
    file,
    {
      ...metadata,
      'llama.context_length': { u32: 16384 },
      'tokenizer.ggml.tokens': tokens,
      'tokenizer.ggml.token_type': { i32s: [...types, ...pieces.map(() => 1)] },
      'tokenizer.chat_template': template,
    },
    [
      ...layers,
      f32('token_embd.weight', [hidden, tokens.length], embeddings),
      f32('output.weight', [hidden, tokens.length], head),
      f32('output_norm.weight', [hidden], new Float32Array(hidden).fill(1)),
    ],
  );
  const text = join(root, `${name}.txt`);
  writeFileSync(text, 'hello world');
  const directory = join(root, name);
  await convertModel({ input: file, output: directory, addon: loadAddon(), precision: null, chunk: 8, threads: 1 });
  return directory;
}
