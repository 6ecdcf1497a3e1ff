/**
 * Text to token ids and back, and the chat template: `tokenizer.json` and `tokenizer_config.json` of a model directory.
 */
import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { Tokenizer as HfTokenizer } from '@huggingface/tokenizers';
import { sha256 } from '../files/digest.js';
import { isObject, jsonObject, MAX_JSON_BYTES, readBytes } from '../files/read.js';
import { LutraError } from '../graph/errors.js';
import type { ModelSpec, TOKENIZER_FILES } from '../graph/spec.js';
import { boolean, type Check, checkOptions, objects, show } from './options.js';

/** A function that a model asked for. */
export interface ChatToolCall {
  id: string;
  type: 'function';
  /** `arguments`: the value, not its JSON. */
  function: { name: string; arguments: unknown };
}

/** One message of a conversation. Roles are what the model's template knows: system, user, assistant … */
export interface ChatMessage {
  role: string;
  content: string;
  name?: string;
  /** Of an assistant. */
  tool_calls?: ChatToolCall[];
  /** Of a message with role `tool`: the call that it answers. */
  tool_call_id?: string;
}

/** Options of {@link Tokenizer.applyChatTemplate}. */
export interface ChatTemplateOptions {
  /** Ends the prompt where the assistant's answer begins; default true. */
  addGenerationPrompt?: boolean;
  /** Functions that the model may ask for, as its template expects them: `{ type: 'function', function: { name, description, parameters } }`. */
  tools?: readonly object[];
}

export interface EncodeOptions {
  /** Texts of special tokens such as `<|im_start|>` become those tokens (default); false: they are ordinary text. */
  special?: boolean;
}

/** Turns tokens into text as they come. */
export interface TextDecoder {
  /** Text that is complete with this token; never half a character, and nothing for special tokens. */
  push(token: number): string;
  /** What is left when no token follows: U+FFFD for a character that never became whole. */
  end(): string;
}

/** An entry of `added_tokens` in tokenizer.json. */
interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
}

interface TokenizerConfig {
  chat_template?: string;
  bos_token?: string | null;
  eos_token?: string | null;
}

/**
 * The byte of each of the 256 characters that byte-level vocabularies are written in: printable Latin-1 stands for itself, the other
 * bytes for the characters from U+0100 on, in order.
 */
function byteAlphabet(): Map<string, number> {
  const bytes = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    bytes.set(String.fromCodePoint(printable ? byte : next++), byte);
  }
  return bytes;
}

/** Bytes that a UTF-8 sequence with this first byte has; 1 for bytes that begin none. */
function sequenceLength(byte: number): number {
  if (byte >= 0xc2 && byte <= 0xdf) return 2;
  if (byte >= 0xe0 && byte <= 0xef) return 3;
  return byte >= 0xf0 && byte <= 0xf4 ? 4 : 1;
}

/** Length of the beginning of `bytes` that does not end inside a character. */
function completeLength(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    return sequenceLength(byte) > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Ids beyond this are no index of a table. */
const MAX_ID = 2 ** 24;

function bad(what: string, cause?: unknown): LutraError {
  return new LutraError('LUTRA_BAD_FILE', what, 'Convert the model again.', { cause });
}

/** The vocabulary and the added tokens of a tokenizer.json, checked. */
function readTokens(json: object): { vocab: Record<string, number>; added: AddedToken[] } {
  const { added_tokens: added = [], model } = json as { added_tokens?: unknown; model?: unknown };
  const isId = (id: unknown): boolean => Number.isInteger(id) && (id as number) >= 0 && (id as number) <= MAX_ID;
  if (!isObject(model) || !isObject(model.vocab)) throw bad('tokenizer.json has no vocabulary.');
  if (model.type !== 'BPE') throw bad(`tokenizer.json holds a model of type ${show(model.type)}, not 'BPE'.`);
  for (const token of Object.keys(model.vocab)) {
    const id = model.vocab[token];
    if (!isId(id)) throw bad(`tokenizer.json gives token ${show(token)} the id ${show(id)}.`);
  }
  if (!Array.isArray(added)) throw bad(`tokenizer.json has added_tokens that are ${show(added)}.`);
  for (const token of added as unknown[]) {
    if (!isObject(token)) throw bad(`tokenizer.json has an added token that is ${show(token)}.`);
    const { id, content } = token;
    if (!isId(id) || typeof content !== 'string') throw bad(`tokenizer.json has an added token ${show(content)} with the id ${show(id)}.`);
  }
  return { vocab: model.vocab as Record<string, number>, added: added as AddedToken[] };
}

/** `expected`: the digest that the file must have. */
async function readJson(directory: string, name: string, expected: string | undefined): Promise<object> {
  const path = join(directory, name);
  const wanted = { remedy: 'Convert the model again.' };
  const bytes = await readBytes(path, MAX_JSON_BYTES, wanted);
  const found = sha256(bytes);
  if (expected !== undefined && found !== expected) {
    const what = `${path} is damaged or was changed: its sha256 is ${found}, lutra.json says ${expected}.`;
    throw new LutraError('LUTRA_BAD_FILE', what, wanted.remedy);
  }
  return jsonObject(bytes, path, wanted);
}

export class Tokenizer {
  readonly #tokenizer: HfTokenizer;
  readonly #config: TokenizerConfig;
  readonly #special: ReadonlySet<number>;
  readonly #bytes: TokenBytes;
  /** The same tokenizer without the special tokens, for text in which they mean nothing; made when it is first needed. */
  readonly #makePlain: () => HfTokenizer;
  #plain: HfTokenizer | undefined;
  #template: Template | undefined;

  /** From the parsed files. Throws LUTRA_BAD_FILE when they are not a tokenizer that can be used. */
  constructor(json: object, config: object) {
    const { vocab, added } = readTokens(json);
    try {
      this.#tokenizer = new HfTokenizer(json, config);
    } catch (error) {
      throw bad(`tokenizer.json cannot be used: ${String(error)}.`, error);
    }
    this.#config = config as TokenizerConfig;
    const template: unknown = this.#config.chat_template ?? undefined;
    if (template !== undefined && typeof template !== 'string')
      throw bad(`tokenizer_config.json has a chat_template that is ${show(template)}.`);
    this.#special = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.#bytes = new TokenBytes(vocab, added);
    this.#makePlain = () => new HfTokenizer({ ...json, added_tokens: added.filter((token) => !token.special) }, {});
  }

  /** Reads the files of a model directory; `hashes`: what they must be. Errors: LUTRA_NOT_FOUND, LUTRA_BAD_FILE, LUTRA_IO. */
  static async load(directory: string, hashes?: ModelSpec['hashes']['tokenizer']): Promise<Tokenizer> {
    const read = (name: (typeof TOKENIZER_FILES)[number]) => readJson(directory, name, hashes?.[name]);
    return new Tokenizer(await read('tokenizer.json'), await read('tokenizer_config.json'));
  }

  /** Ids of a text, without a BOS token: whether a model wants one is in lutra.json. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    if (typeof text !== 'string') throw new LutraError('LUTRA_INVALID_ARGUMENT', `The text to encode is ${show(text)}.`);
    checkOptions('encode', options, { special: boolean });
    if (text.length === 0) return [];
    const { special = true } = options;
    if (!special) this.#plain ??= this.#makePlain();
    const tokenizer = special ? this.#tokenizer : (this.#plain ?? this.#tokenizer);
    return tokenizer.encode(text, { add_special_tokens: false }).ids;
  }

  /** Whether a token is one of control rather than text. */
  isSpecial(token: number): boolean {
    return this.#special.has(token);
  }

  /** The bytes that a token stands for; none for special and unknown tokens. */
  bytesOf(token: number): Uint8Array {
    if (!Number.isInteger(token) || token < 0) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${show(token)} is not a token id.`);
    return (this.#special.has(token) ? undefined : this.#bytes.get(token)) ?? new Uint8Array();
  }

  /** Text of a run of ids; special tokens become nothing, bytes that are no UTF-8 become U+FFFD. */
  decode(tokens: Iterable<number>): string {
    if (typeof (tokens as Partial<Iterable<number>> | null | undefined)?.[Symbol.iterator] !== 'function')
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `The tokens to decode are ${show(tokens)}, not a list.`);
    return Buffer.concat(Array.from(tokens, (token) => this.bytesOf(token))).toString('utf8');
  }

  /** A decoder for one stream of tokens. */
  stream(): TextDecoder {
    let held = Buffer.alloc(0);
    return {
      push: (token) => {
        const bytes = Buffer.concat([held, this.bytesOf(token)]);
        const length = completeLength(bytes);
        held = bytes.subarray(length);
        return bytes.toString('utf8', 0, length);
      },
      end: () => {
        const rest = held.toString('utf8');
        held = Buffer.alloc(0);
        return rest;
      },
    };
  }

  /** The model's chat template (Jinja), if it came with one. */
  get chatTemplate(): string | undefined {
    return this.#config.chat_template ?? undefined;
  }

  /** Whether the model came with a chat template. */
  get hasChatTemplate(): boolean {
    return this.chatTemplate !== undefined;
  }

  /** The prompt that the model's template makes of a conversation. Errors: LUTRA_UNSUPPORTED (no template), LUTRA_INVALID_ARGUMENT (refused by it). */
  applyChatTemplate(messages: readonly ChatMessage[], options: ChatTemplateOptions = {}): string {
    checkMessages(messages);
    checkOptions('applyChatTemplate', options, { addGenerationPrompt: boolean, tools: objects } satisfies Record<
      keyof ChatTemplateOptions,
      Check
    >);
    const source = this.#config.chat_template;
    if (typeof source !== 'string') throw new LutraError('LUTRA_UNSUPPORTED', 'The model has no chat template', 'Give it a plain prompt.');
    try {
      this.#template ??= new Template(source);
      return this.#template.render({
        messages: messages.map(templateMessage),
        ...(options.tools && options.tools.length > 0 ? { tools: [...options.tools] } : {}),
        add_generation_prompt: options.addGenerationPrompt ?? true,
        bos_token: this.#config.bos_token ?? '',
        eos_token: this.#config.eos_token ?? '',
      });
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `The model's chat template refuses the messages: ${reason}`,
        'Check roles and their order.',
        { cause: error },
      );
    }
  }
}

/** The fields that templates know, and no others. */
function templateMessage({ role, content, name, tool_calls, tool_call_id }: ChatMessage): object {
  return {
    role,
    content,
    ...(name === undefined ? {} : { name }),
    ...(tool_calls === undefined ? {} : { tool_calls }),
    ...(tool_call_id === undefined ? {} : { tool_call_id }),
  };
}

function checkMessages(messages: unknown): void {
  if (!Array.isArray(messages) || messages.length === 0)
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The messages are ${Array.isArray(messages) ? 'none' : show(messages)}; a list of some is needed.`,
    );
  for (const [i, message] of (messages as unknown[]).entries()) {
    if (!isObject(message))
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `Of the messages, number ${i} is ${show(message)}, not an object.`);
    for (const field of ['role', 'content']) {
      if (typeof message[field] !== 'string')
        throw new LutraError(
          'LUTRA_INVALID_ARGUMENT',
          `Of the messages, number ${i} has a ${field} that is ${show(message[field])}, not a text.`,
        );
    }
  }
}

/** Bytes of tokens by id, made when they are first asked for: few of a vocabulary are ever generated. */
class TokenBytes {
  readonly #alphabet = byteAlphabet();
  readonly #spelled: (string | undefined)[] = [];
  readonly #made = new Map<number, Buffer>();

  /** Ordinary tokens are spelled in the byte alphabet, added ones as they are. */
  constructor(vocab: Record<string, number>, added: readonly AddedToken[]) {
    for (const token of Object.keys(vocab)) this.#spelled[vocab[token]!] = token;
    for (const { id, content } of added) this.#made.set(id, Buffer.from(content, 'utf8'));
  }

  get(id: number): Buffer | undefined {
    const made = this.#made.get(id);
    const token = this.#spelled[id];
    if (made || token === undefined) return made;
    const spelled = Array.from(token, (character) => this.#alphabet.get(character));
    // A token that is not spelled in the alphabet is plain text: unused entries of some vocabularies.
    const bytes = spelled.every((byte) => byte !== undefined) ? Buffer.from(spelled as number[]) : Buffer.from(token, 'utf8');
    this.#made.set(id, bytes);
    return bytes;
  }
}
