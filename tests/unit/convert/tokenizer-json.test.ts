import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GgufFile } from '../../../lib/convert/gguf.js';
import { buildTokenizer } from '../../../lib/convert/tokenizer-json.js';
import { Tokenizer } from '../../../lib/runtime/tokenizer.js';
import type { MetadataValue } from '../../reference/gguf-writer.js';
import { Random } from '../../reference/random.js';
import { tinyGguf } from './tiny-gguf.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'tok-'));
});
afterAll(() => rmSync(directory, { recursive: true }));

async function build(change: Record<string, MetadataValue> = {}) {
  const tiny = tinyGguf();
  Object.assign(tiny.metadata, change);
  const path = join(directory, 'tiny.gguf');
  writeFileSync(path, tiny.bytes());
  const file = await GgufFile.open(path);
  try {
    const built = buildTokenizer(file);
    return { ...built, tokenizer: new Tokenizer(built.tokenizer, built.config), vocabulary: file.strings('tokenizer.ggml.tokens') };
  } finally {
    await file.close();
  }
}

async function words(pre: string, text: string): Promise<string[]> {
  const { tokenizer, vocabulary } = await build({ 'tokenizer.ggml.pre': pre });
  return tokenizer.encode(text).map((id) => vocabulary[id] ?? '?');
}

describe('buildTokenizer', () => {
  it('merges within words that the pre-tokenizer cuts', async () => {
    expect(await words('smollm', 'hello world')).toEqual(['hello', 'Ġworld']);
    expect(await words('smollm', '12')).toEqual(['1', '2']);
    expect(await words('qwen2', '12')).toEqual(['1', '2']);
    expect(await words('gpt-2', '12')).toEqual(['12']);
    expect(await words('llama-bpe', '12')).toEqual(['12']);
    expect(await words('gpt-2', 'a   b')).toEqual(['a', 'ĠĠ', 'Ġ', 'b']);
    expect(await words('default', 'th=hell')).toEqual(['th', '=', 'hell']);
  });

  it('keeps the special tokens apart from the text', async () => {
    const { tokenizer, tokens } = await build();
    expect(tokens).toEqual({ bos: 1, eos: [2, 0], addBos: false });
    expect(tokenizer.encode('<|im_start|>hello<|im_end|>')).toEqual([1, ...tokenizer.encode('hello'), 2]);
    const plain = tokenizer.encode('<|im_start|>', { special: false });
    expect(plain.length).toBeGreaterThan(5);
    expect(tokenizer.decode(plain)).toBe('<|im_start|>');
    expect([tokenizer.isSpecial(1), tokenizer.isSpecial(30)]).toEqual([true, false]);
    expect(tokenizer.decode([1, ...tokenizer.encode('hello'), 2])).toBe('hello');
    expect((await build({ 'tokenizer.ggml.pre': 'llama-bpe', 'tokenizer.ggml.eot_token_id': { u32: 7 } })).tokens.eos).toEqual([2, 7, 0]);
  });

  it('survives token texts that are property names', async () => {
    const tiny = tinyGguf();
    const tokens = [...(tiny.metadata['tokenizer.ggml.tokens'] as string[])];
    tokens[260] = '__proto__';
    const { vocabulary, tokenizer } = await build({ 'tokenizer.ggml.tokens': tokens });
    expect(vocabulary[260]).toBe('__proto__');
    expect(tokenizer.decode([260])).toBe('__proto__');
  });

  it('renders the chat template', async () => {
    const { tokenizer } = await build();
    expect(tokenizer.hasChatTemplate).toBe(true);
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }])).toBe('<|im_start|>user\nhi<|im_end|>\n');
    const refusing = await build({ 'tokenizer.chat_template': "{{ raise_exception('roles must alternate') }}" });
    expect(() => refusing.tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }])).toThrow(
      expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT', message: expect.stringContaining('alternate') }),
    );
  });
});

describe('Tokenizer', () => {
  const TEXT = 'naïve 日本語 👩‍👩‍👧 \u{1F1E9}\u{1F1EA} hello\n\tworld — é e\u0301 \u0000 \ufeff';

  it('gives back any text, whole and token by token, never half a character', async () => {
    const { tokenizer } = await build();
    const ids = tokenizer.encode(TEXT);
    expect(tokenizer.decode(ids)).toBe(TEXT);
    const stream = tokenizer.stream();
    const parts = ids.map((id) => stream.push(id));
    expect(parts.join('') + stream.end()).toBe(TEXT);
    expect(parts.every((part) => !part.includes('\ufffd') && Buffer.from(part, 'utf8').toString('utf8') === part)).toBe(true);
    expect(parts.filter((part) => part === '').length).toBeGreaterThan(10);
  });

  it('streams the bytes of random tokens exactly as a decoder of the whole would', async () => {
    const { tokenizer } = await build();
    const random = new Random(9);
    for (let round = 0; round < 300; round++) {
      const ids = Array.from({ length: 1 + random.below(12) }, () => random.below(271));
      const bytes = Buffer.concat(ids.map((id) => tokenizer.bytesOf(id)));
      const stream = tokenizer.stream();
      const text = ids.map((id) => stream.push(id)).join('') + stream.end();
      expect(text).toBe(bytes.toString('utf8'));
    }
  });

  it('holds an unfinished character back until the end', async () => {
    const { tokenizer } = await build();
    const ids = tokenizer.encode('é');
    const stream = tokenizer.stream();
    expect(stream.push(ids[0] ?? 0)).toBe('');
    expect(stream.end()).toBe('\ufffd');
    expect(stream.end()).toBe('');
    expect(tokenizer.encode('')).toEqual([]);
  });

  it('says what is wrong with the files of a directory', async () => {
    await expect(Tokenizer.load(join(directory, 'none'))).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
    writeFileSync(join(directory, 'tokenizer.json'), '{"model":');
    writeFileSync(join(directory, 'tokenizer_config.json'), '{}');
    await expect(Tokenizer.load(directory)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    for (const json of ['{}', '[]', '3', '{"model": {"type": "Nonsense", "vocab": {}}}']) {
      writeFileSync(join(directory, 'tokenizer.json'), json);
      await expect(Tokenizer.load(directory), json).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    }
  });
});
