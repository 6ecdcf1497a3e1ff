/**
 * `tokenizer.json` and `tokenizer_config.json` from the vocabulary, merges and pre-tokenizer that a GGUF file names.
 *
 * Byte-level BPE only. What the pre-tokenizers split on are facts of the models' own tokenizers; the names are llama.cpp's.
 */
import { LutraError } from '../graph/errors.js';
import type { ModelSpec } from '../graph/spec.js';
import type { GgufFile } from './gguf.js';

const CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d";
const GPT2 = `${CONTRACTIONS}| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`;
/** The pattern that GPT-4 introduced, with `digits` as the way numbers are cut. */
const gpt4 = (digits: string): string =>
  `(?i:${CONTRACTIONS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;

/** How text is cut into words before merging. */
interface PreTokenizer {
  /** Applied one after another; each isolates its matches. */
  splits: string[];
  /** A word that is a token itself is not built from merges. */
  ignoreMerges?: boolean;
  /** Unicode normalisation before splitting. */
  normalizer?: 'NFC';
  /** Whether the model starts with BOS when the file does not say. */
  addBos?: boolean;
}

const DIGITS_GPT2: PreTokenizer = { splits: ['\\p{N}', GPT2] };
const PRE_TOKENIZERS: Readonly<Record<string, PreTokenizer>> = {
  'gpt-2': { splits: [GPT2] },
  smollm: DIGITS_GPT2,
  starcoder: DIGITS_GPT2,
  qwen2: { splits: [gpt4('\\p{N}')], normalizer: 'NFC' },
  'llama-bpe': { splits: [gpt4('\\p{N}{1,3}')], ignoreMerges: true, addBos: true },
  default: { splits: ['[\\p{P}\\$\\+<=>\\^~\\|]+', GPT2, '\\p{N}+', '[0-9][0-9][0-9]'] },
};

/** Token types of GGUF vocabularies. */
const TYPE = { normal: 1, unknown: 2, control: 3, user: 4, unused: 5, byte: 6 } as const;

/** Control tokens that end a text in the model families that lutra converts, whatever the file's eos is. */
export const END_TOKENS: readonly string[] = ['<|endoftext|>', '<|im_end|>', '<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|end|>'];

/** The tokenizer files of a model directory and what lutra.json says of tokens. */
export interface TokenizerFiles {
  tokenizer: object;
  config: object;
  tokens: ModelSpec['tokens'];
}

interface Vocabulary {
  tokens: string[];
  types: number[];
  merges: string[];
}

function readVocabulary(file: GgufFile): Vocabulary {
  const model = file.string('tokenizer.ggml.model');
  if (model !== 'gpt2') {
    throw new LutraError(
      'LUTRA_UNSUPPORTED',
      `${file.path}: its tokenizer is of kind "${model}"`,
      'lutra converts byte-level BPE tokenizers ("gpt2").',
    );
  }
  const tokens = file.strings('tokenizer.ggml.tokens');
  const types = file.has('tokenizer.ggml.token_type') ? file.numbers('tokenizer.ggml.token_type') : tokens.map(() => TYPE.normal);
  if (types.length !== tokens.length) {
    throw new LutraError(
      'LUTRA_BAD_FILE',
      `${file.path}: ${tokens.length} tokens but ${types.length} token types`,
      'Export the file again.',
    );
  }
  const merges = file.strings('tokenizer.ggml.merges');
  const merge = merges.find((pair) => !/^[^ ]+ [^ ]+$/.test(pair));
  if (merge !== undefined)
    throw new LutraError('LUTRA_BAD_FILE', `${file.path}: the merge ${JSON.stringify(merge)} is not two tokens`, 'Export the file again.');
  checkDistinct(file, tokens);
  return { tokens, types, merges };
}

/** A vocabulary maps texts to ids: of two equal texts one id would be lost. */
function checkDistinct(file: GgufFile, tokens: readonly string[]): void {
  const ids = new Map<string, number>();
  for (const [id, token] of tokens.entries()) {
    const other = ids.get(token);
    if (other !== undefined)
      throw new LutraError('LUTRA_UNSUPPORTED', `${file.path}: its tokens ${other} and ${id} are both ${JSON.stringify(token)}`);
    ids.set(token, id);
  }
}

function readPreTokenizer(file: GgufFile): PreTokenizer {
  const name = file.string('tokenizer.ggml.pre', 'default');
  const found = Object.hasOwn(PRE_TOKENIZERS, name) ? PRE_TOKENIZERS[name] : undefined;
  if (found) return found;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `${file.path}: its pre-tokenizer is "${name}"`,
    `lutra knows: ${Object.keys(PRE_TOKENIZERS).join(', ')}.`,
  );
}

/** Token ids in the metadata; null when the key is absent. LUTRA_BAD_FILE when it points outside the vocabulary. */
function tokenId(file: GgufFile, key: string, vocab: number): number | null {
  const name = `tokenizer.ggml.${key}`;
  if (!file.has(name)) return null;
  const id = file.integer(name, 0);
  if (id >= vocab)
    throw new LutraError('LUTRA_BAD_FILE', `${file.path}: ${name} is ${id}, the vocabulary has ${vocab}`, 'Export the file again.');
  return id;
}

function endTokens(file: GgufFile, { tokens, types }: Vocabulary, eos: number | null): number[] {
  const named = ['eot_token_id', 'eom_token_id'].map((key) => tokenId(file, key, tokens.length));
  const byText = END_TOKENS.map((text) => tokens.indexOf(text)).filter((id) => id >= 0 && types[id] === TYPE.control);
  return [...new Set([eos, ...named, ...byText])].filter((id): id is number => id !== null);
}

function preTokenizerJson({ splits }: PreTokenizer): object {
  const split = (pattern: string) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false });
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return { type: 'Sequence', pretokenizers: [...splits.map(split), byteLevel] };
}

function addedTokens({ tokens, types }: Vocabulary): object[] {
  return tokens.flatMap((content, id) => {
    const type = types[id];
    if (type !== TYPE.control && type !== TYPE.user && type !== TYPE.unknown) return [];
    return [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: type !== TYPE.user }];
  });
}

/** Builds the tokenizer files. Errors: LUTRA_UNSUPPORTED (kind or pre-tokenizer), LUTRA_BAD_FILE. */
export function buildTokenizer(file: GgufFile): TokenizerFiles {
  const vocabulary = readVocabulary(file);
  const pre = readPreTokenizer(file);
  const { tokens, merges } = vocabulary;
  if (file.boolean('tokenizer.ggml.add_space_prefix', false)) {
    throw new LutraError('LUTRA_UNSUPPORTED', `${file.path}: its tokenizer puts a space before the text`);
  }
  const id = (key: string) => tokenId(file, key, tokens.length);
  const text = (key: string) => tokens[id(key) ?? -1];
  const bos = id('bos_token_id');
  const eos = id('eos_token_id');
  const addBos = bos !== null && file.boolean('tokenizer.ggml.add_bos_token', pre.addBos ?? false);
  const model = {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: pre.ignoreMerges ?? false,
    // fromEntries defines a property for every key, "__proto__" included.
    vocab: Object.fromEntries(tokens.map((token, index) => [token, index])),
    merges,
  };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: addedTokens(vocabulary),
    normalizer: pre.normalizer ? { type: pre.normalizer } : null,
    pre_tokenizer: preTokenizerJson(pre),
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model,
  };
  const config = {
    tokenizer_class: 'PreTrainedTokenizerFast',
    bos_token: text('bos_token_id') ?? null,
    eos_token: text('eos_token_id') ?? null,
    unk_token: text('unknown_token_id') ?? null,
    pad_token: text('padding_token_id') ?? null,
    add_bos_token: addBos,
    clean_up_tokenization_spaces: false,
    ...(file.has('tokenizer.chat_template') ? { chat_template: file.string('tokenizer.chat_template') } : {}),
  };
  return { tokenizer, config, tokens: { bos, eos: endTokens(file, vocabulary, eos), addBos } };
}
