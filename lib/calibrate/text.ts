/**
 * Texts of any length as tokens, in constant memory: files are read in blocks, and cut where no tokenizer has a token across.
 */
import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { fileError, openFile } from '../files/read.js';
import { LutraError } from '../graph/errors.js';

/** A file of calibration text. */
export interface TextFile {
  path: string;
  /** Last part of the path. */
  name: string;
  bytes: number;
  sha256: string;
}

/** Tokens of one piece of a file. */
export interface TokenPiece {
  /** Index of the file. */
  file: number;
  ids: readonly number[];
  /** Bytes of all files up to the end of the piece's block. */
  bytes: number;
}

export type Encode = (text: string) => readonly number[];

const BLOCK_BYTES = 2 ** 12;
/** A piece without a place to cut is cut anywhere when it is longer. */
const MAX_PIECE = 2 ** 16;

const REMEDY = 'Give the path of a UTF-8 text for calibration.';
const SPACE = /\s/;

/**
 * Where a text can be cut so that the tokens of both parts are those of the whole: the last single space between two other characters, before it, since a word takes its space along. In byte-level BPE no
 * token goes across: pre-tokenizers split there. Without one, the last line break between two other characters, after it; 0: nowhere.
 */
export function cutOf(text: string): number {
  let line = 0;
  for (let i = text.length - 2; i > 0; i--) {
    const character = text[i];
    if (character !== ' ' && (character !== '\n' || line > 0)) continue;
    if (SPACE.test(text[i - 1] ?? ' ') || SPACE.test(text[i + 1] ?? ' ')) continue;
    if (character === ' ') return i;
    line = i + 1;
  }
  return line;
}

/** Not between the halves of a character outside the basic plane. */
function cutAnywhere(text: string): number {
  const last = text.charCodeAt(text.length - 1);
  return last >= 0xd800 && last < 0xdc00 ? text.length - 1 : text.length;
}

interface Block {
  text: string;
  bytes: number;
}

/** The text of a file, block by block. Throws LUTRA_BAD_FILE for what is no text. */
async function* blocksOf(path: string, hash: ReturnType<typeof createHash>): AsyncGenerator<Block> {
  const { handle } = await openFile(path, { remedy: REMEDY });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (bytes?: Uint8Array): string => {
    try {
      return bytes ? decoder.decode(bytes, { stream: true }) : decoder.decode();
    } catch (error) {
      throw new LutraError('LUTRA_BAD_FILE', `${path} is not UTF-8.`, REMEDY, { cause: error });
    }
  };
  const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
  try {
    for (let bytes = 0; ; ) {
      const { bytesRead } = await handle.read(buffer, 0, BLOCK_BYTES, bytes).catch((error: unknown) => {
        throw fileError(path, error);
      });
      const block = buffer.subarray(0, bytesRead);
      hash.update(block);
      bytes += bytesRead;
      const text = bytesRead > 0 ? decode(block) : decode();
      if (text.includes('\0')) throw new LutraError('LUTRA_BAD_FILE', `${path} is binary: it has NUL bytes.`, REMEDY);
      if (text.length > 0) yield { text, bytes };
      if (bytesRead === 0) return;
    }
  } finally {
    await handle.close();
  }
}

/** Reads files once: that they are texts, and which ones. Errors: LUTRA_INVALID_ARGUMENT, LUTRA_NOT_FOUND, LUTRA_BAD_FILE (binary, not UTF-8, empty), LUTRA_IO. */
export async function scanTexts(paths: readonly string[], signal?: AbortSignal): Promise<TextFile[]> {
  if (paths.length === 0) throw new LutraError('LUTRA_INVALID_ARGUMENT', 'There is no calibration text.', REMEDY);
  const files: TextFile[] = [];
  for (const path of paths) {
    const hash = createHash('sha256');
    let bytes = 0;
    for await (const block of blocksOf(path, hash)) {
      signal?.throwIfAborted();
      bytes = block.bytes;
    }
    if (bytes === 0) throw new LutraError('LUTRA_BAD_FILE', `${path} is empty.`, REMEDY);
    files.push({ path, name: basename(path), bytes, sha256: hash.digest('hex') });
  }
  return files;
}

/** The tokens of all files, one after the other. A file that is not what {@link scanTexts} saw ends in LUTRA_IO. */
export async function* tokenPieces(files: readonly TextFile[], encode: Encode): AsyncGenerator<TokenPiece> {
  let before = 0;
  for (const [file, { path, bytes, sha256 }] of files.entries()) {
    const hash = createHash('sha256');
    let held = '';
    let read = 0;
    for await (const block of blocksOf(path, hash)) {
      held += block.text;
      read = block.bytes;
      const cut = cutOf(held) || (held.length > MAX_PIECE ? cutAnywhere(held) : 0);
      if (cut === 0) continue;
      yield { file, ids: encode(held.slice(0, cut)), bytes: before + read };
      held = held.slice(cut);
    }
    if (read !== bytes || hash.digest('hex') !== sha256)
      throw new LutraError('LUTRA_IO', `${path} changed while it was read.`, 'Start again.');
    before += bytes;
    if (held.length > 0) yield { file, ids: encode(held), bytes: before };
  }
}

/** One run of the model. */
export interface TextWindow {
  tokens: Uint32Array;
  /** As of {@link TokenPiece}. */
  bytes: number;
}

/** Windows of `size` tokens, without gaps; what is left at the end is too short for one. */
export async function* textWindows(pieces: AsyncIterable<TokenPiece>, size: number): AsyncGenerator<TextWindow> {
  let tokens = new Uint32Array(size);
  let filled = 0;
  for await (const { ids, bytes } of pieces) {
    for (const id of ids) {
      tokens[filled++] = id;
      if (filled < size) continue;
      yield { tokens, bytes };
      tokens = new Uint32Array(size);
      filled = 0;
    }
  }
}

/** Where a token stands. */
export interface Place {
  /** Index of the file, and of the token among those of the file. */
  file: number;
  token: number;
  /** What the token stands for, and the text before it. */
  text: string;
  before: string;
}

/** Tokens of the text before a place. */
const CONTEXT = 12;

/** Finds tokens by their index in the stream of all files. Tokenises once more, up to the last one. */
export async function locate(
  wanted: Iterable<number>,
  pieces: AsyncIterable<TokenPiece>,
  decode: (ids: readonly number[]) => string,
): Promise<Map<number, Place>> {
  const left = [...new Set(wanted)].sort((a, b) => a - b);
  const places = new Map<number, Place>();
  let first = 0;
  let begin = 0;
  let file = 0;
  let context: number[] = [];
  let next = 0;
  if (left.length === 0) return places;
  for await (const piece of pieces) {
    if (piece.file !== file) [file, begin, context] = [piece.file, first, []];
    for (let row = left[next]; row !== undefined && row < first + piece.ids.length; row = left[++next]) {
      const at = row - first;
      const id = piece.ids[at] ?? 0;
      const before = [...context, ...piece.ids.slice(Math.max(0, at - CONTEXT), at)].slice(-CONTEXT);
      places.set(row, { file, token: row - begin, text: decode([id]), before: decode(before) });
    }
    first += piece.ids.length;
    if (next === left.length) break;
    context = [...context, ...piece.ids.slice(-CONTEXT)].slice(-CONTEXT);
  }
  return places;
}
