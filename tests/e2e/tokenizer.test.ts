/** The synthesised tokenizer gives the ids that llama.cpp gives on the same GGUF file, for both books from end to end. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { GgufFile } from '../../lib/convert/gguf.js';
import { buildTokenizer } from '../../lib/convert/tokenizer-json.js';
import { Tokenizer } from '../../lib/runtime/tokenizer.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const CACHE = resolve(ROOT, process.env.LUTRA_CACHE ?? '.cache');
const MODEL = resolve(CACHE, 'gguf/SmolLM2-135M-Instruct.Q4_1.gguf');
const BOOKS = ['lcet10.txt', 'alice29.txt'];

/** What is used of node-llama-cpp. */
interface Oracle {
  getLlama(options: object): Promise<{ loadModel(options: object): Promise<OracleModel>; dispose(): Promise<void> }>;
}
interface OracleModel {
  tokenize(text: string, specialTokens: boolean): ArrayLike<number>;
}

let llama: Awaited<ReturnType<Oracle['getLlama']>>;
let oracle: OracleModel;
let tokenizer: Tokenizer;

beforeAll(async () => {
  for (const file of [MODEL, ...BOOKS.map((book) => resolve(CACHE, 'text', book))]) {
    if (!existsSync(file)) throw new Error(`${file} is missing: run scripts/fetch-model and scripts/fetch-text`);
  }
  const entry = resolve(ROOT, 'tests/oracle/node_modules/node-llama-cpp/dist/index.js');
  if (!existsSync(entry)) throw new Error('node-llama-cpp is missing: npm ci --ignore-scripts --omit=optional --prefix tests/oracle');
  const { getLlama } = (await import(pathToFileURL(entry).href)) as Oracle;
  llama = await getLlama({ gpu: false, build: 'never', skipDownload: true, progressLogs: false, maxThreads: 1, logLevel: 'error' });
  oracle = await llama.loadModel({ modelPath: MODEL, vocabOnly: true });
  const file = await GgufFile.open(MODEL);
  const built = buildTokenizer(file);
  await file.close();
  tokenizer = new Tokenizer(built.tokenizer, built.config);
});
afterAll(async () => {
  await llama?.dispose();
});

describe('tokenizer', () => {
  it.each(BOOKS)('has the ids of llama.cpp on the whole of %s, and gives the text back', (book) => {
    const text = readFileSync(resolve(CACHE, 'text', book), 'utf8');
    const ids = tokenizer.encode(text, { special: false });
    expect(ids.length).toBeGreaterThan(40_000);
    expect(ids).toEqual(Array.from(oracle.tokenize(text, false)));
    expect(tokenizer.decode(ids)).toBe(text);
    const stream = tokenizer.stream();
    expect(ids.map((id) => stream.push(id)).join('') + stream.end()).toBe(text);
  });

  it('agrees on text that books do not have', () => {
    const cases = [
      '  leading and trailing   ',
      'a\n\n\nb \t\t c\r\n\r\n x',
      '12345 67 ½ ³ ٣٤ Ⅷ 𝟘𝟙',
      '日本語 テスト 한국어 텍스트',
      'emoji 👩‍👩‍👧‍👦 🇩🇪 ok',
      "I'll we're HE'S 'tis",
      'a\u00a0b\u3000c\u2028d\u0085e',
      'e\u0301 é ß ſ İ \u200b\u200d \ufeffbom',
      'x_y-z==>> <|im_start|>user\nhi<|im_end|> <|endoftext|>',
      '   ',
    ];
    for (const text of cases) {
      for (const special of [false, true]) {
        expect(tokenizer.encode(text, { special }), JSON.stringify(text)).toEqual(Array.from(oracle.tokenize(text, special)));
      }
      expect(tokenizer.decode(tokenizer.encode(text, { special: false }))).toBe(text);
    }
  });

  it('renders the chat template with the default system line', () => {
    expect(tokenizer.applyChatTemplate([{ role: 'user', content: 'Hello' }])).toBe(
      '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' +
        '<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n',
    );
  });
});
