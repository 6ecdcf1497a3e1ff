/** The tokenizer files of a checkpoint as those of a model directory. */
import { Tokenizer } from '@huggingface/tokenizers';
import { isObject } from '../../files/read.js';
import type { ModelSpec } from '../../graph/spec.js';
import { END_TOKENS, type TokenizerFiles } from '../tokenizer-json.js';
import type { Checkpoint } from './checkpoint.js';
import type { Fields } from './fields.js';

interface AddedToken {
  id: number;
  content: string;
  special: boolean;
}

/** `{"type": "ByteLevel"}`, alone or in a sequence. */
function isByteLevel(value: unknown): boolean {
  if (!isObject(value)) return false;
  return value.type === 'ByteLevel' || (Array.isArray(value.decoders) && value.decoders.some(isByteLevel));
}

const isId = (value: unknown, vocab: number): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < vocab;

function addedTokens(tokenizer: Fields, vocab: number): AddedToken[] {
  const list: unknown = tokenizer.get('added_tokens') ?? [];
  if (!Array.isArray(list)) throw tokenizer.wrong('added_tokens', 'a list');
  return (list as unknown[]).map((entry) => {
    if (isObject(entry) && typeof entry.content === 'string' && isId(entry.id, vocab))
      return { id: entry.id, content: entry.content, special: entry.special === true };
    throw tokenizer.wrong('added_tokens', `a list of tokens with content and an id below ${vocab}`);
  });
}

/** Throws unless it is a byte-level BPE whose tokens the model has, and one that can be used. */
function checkUsable(tokenizer: Fields, vocab: number): void {
  const model = tokenizer.object('model');
  const kind = model?.string('type', 'BPE');
  const remedy = 'lutra converts byte-level BPE tokenizers.';
  if (!model || kind !== 'BPE') throw tokenizer.unsupported(`its tokenizer is of kind "${kind ?? 'none'}"`, remedy);
  if (!isByteLevel(tokenizer.get('decoder'))) throw tokenizer.unsupported('its tokenizer is not byte-level', remedy);
  const tokens = model.object('vocab')?.values ?? {};
  for (const [token, id] of Object.entries(tokens)) {
    if (!isId(id, vocab)) throw model.wrong('vocab', `an id below ${vocab} for ${JSON.stringify(token)}`);
  }
  try {
    new Tokenizer(tokenizer.values, {}).encode('a 1', { add_special_tokens: false });
  } catch (error) {
    throw tokenizer.unsupported(`its tokenizer cannot be used: ${String(error)}`, remedy);
  }
}

/** The text of a token in tokenizer_config.json, where it may be an object. */
function tokenText(config: Fields | undefined, name: string): string | null {
  const value = config?.get(name);
  if (isObject(value) && typeof value.content === 'string') return value.content;
  return typeof value === 'string' ? value : null;
}

/** Ids under a name: one, several, none. */
function idsOf(fields: Fields | undefined, name: string, vocab: number): number[] {
  const value = fields?.get(name);
  if (fields === undefined || value === undefined) return [];
  const ids: unknown[] = Array.isArray(value) ? value : [value];
  return ids.map((id) => {
    if (isId(id, vocab)) return id;
    throw fields.wrong(name, `ids of tokens below ${vocab}`);
  });
}

/** The template, wherever it is: a file of its own, a text, or one called "default" of a list. */
async function chatTemplate(checkpoint: Checkpoint, config: Fields | undefined): Promise<string | null> {
  const own = await checkpoint.text('chat_template.jinja');
  if (own !== undefined) return own;
  const value = config?.get('chat_template');
  if (value === undefined || typeof value === 'string') return value ?? null;
  const named = Array.isArray(value) ? (value as unknown[]).find((entry) => isObject(entry) && entry.name === 'default') : undefined;
  if (isObject(named) && typeof named.template === 'string') return named.template;
  throw config?.wrong('chat_template', 'a text') ?? checkpoint.bad('chat_template');
}

/** Whether what is added to a text begins with `bos`: the first special token of a template processor. */
function addsBos(value: unknown, bos: string | null): boolean {
  if (!isObject(value) || bos === null) return false;
  if (Array.isArray(value.processors)) return value.processors.some((one) => addsBos(one, bos));
  const first: unknown = Array.isArray(value.single) ? value.single[0] : undefined;
  return isObject(first) && isObject(first.SpecialToken) && first.SpecialToken.id === bos;
}

/** Errors: LUTRA_UNSUPPORTED (not byte-level BPE), LUTRA_BAD_FILE. */
export async function readTokenizer(checkpoint: Checkpoint, vocab: number): Promise<TokenizerFiles> {
  const tokenizer = await checkpoint.json('tokenizer.json');
  if (!tokenizer) throw checkpoint.bad('there is no tokenizer.json');
  const added = addedTokens(tokenizer, vocab);
  checkUsable(tokenizer, vocab);
  const config = await checkpoint.json('tokenizer_config.json');
  const generation = await checkpoint.json('generation_config.json');
  const idOf = (text: string | null) => added.find(({ content }) => content === text)?.id ?? null;
  const bosText = tokenText(config, 'bos_token');
  const bos = idOf(bosText) ?? idsOf(checkpoint.config, 'bos_token_id', vocab)[0] ?? null;
  const ends = [
    idOf(tokenText(config, 'eos_token')),
    ...idsOf(checkpoint.config, 'eos_token_id', vocab),
    ...idsOf(generation, 'eos_token_id', vocab),
    ...added.filter(({ content, special }) => special && END_TOKENS.includes(content)).map(({ id }) => id),
  ];
  const addBos = bos !== null && (config?.boolean('add_bos_token', addsBos(tokenizer.get('post_processor'), bosText)) ?? false);
  const template = await chatTemplate(checkpoint, config);
  const tokens: ModelSpec['tokens'] = { bos, eos: [...new Set(ends)].filter((id) => id !== null), addBos };
  return {
    tokenizer: tokenizer.values,
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: bosText,
      eos_token: tokenText(config, 'eos_token'),
      unk_token: tokenText(config, 'unk_token'),
      pad_token: tokenText(config, 'pad_token'),
      add_bos_token: addBos,
      clean_up_tokenization_spaces: false,
      ...(template === null ? {} : { chat_template: template }),
    },
    tokens,
  };
}
