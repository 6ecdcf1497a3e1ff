import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { cutOf, locate, scanTexts, type TextFile, type TokenPiece, textWindows, tokenPieces } from '../../../lib/calibrate/text.js';
import { Random } from '../../reference/random.js';

const root = mkdtempSync(join(tmpdir(), 'text-'));
afterAll(() => rmSync(root, { recursive: true }));

let files = 0;
function file(content: string | Uint8Array): string {
  const path = join(root, `${files++}.txt`);
  writeFileSync(path, content);
  return path;
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** Every UTF-16 unit is a token. */
const units = (text: string): number[] => Array.from({ length: text.length }, (_, i) => text.charCodeAt(i));
const text = (ids: readonly number[]): string => String.fromCharCode(...ids);
const idsOf = async (found: readonly TextFile[]) => (await all(tokenPieces(found, units))).flatMap(({ ids }) => [...ids]);

describe('cutOf', () => {
  it.each([
    ['one two three', 7],
    ['one two  three', 3],
    ['one\ntwo', 4],
    ['one\ntwo three', 7],
    ['one\n\ntwo', 0],
    ['one\r\ntwo', 0],
    ['one ', 0],
    [' one', 0],
    ['onetwo', 0],
    ['', 0],
  ])('%j: %i', (string, at) => expect(cutOf(string)).toBe(at));
});

describe('tokenPieces', () => {
  it('gives every character once, in order, in pieces that are bounded, wherever blocks end', async () => {
    const random = new Random(3);
    const alphabet = ['a', 'é', '漢', '🦦', ' ', ' ', '\n', '.'];
    const mixed = Array.from({ length: 60_000 }, () => alphabet[random.below(alphabet.length)]).join('');
    // Without a place to cut, and with a character of two units at every odd place.
    const solid = `x${'🦦'.repeat(120_000)}`;
    const found = await scanTexts([file(mixed), file(solid)]);
    const pieces = await all(tokenPieces(found, units));
    expect(
      pieces
        .filter((piece) => piece.file === 0)
        .map(({ ids }) => text(ids))
        .join(''),
    ).toBe(mixed);
    const solidPieces = pieces.filter((piece) => piece.file === 1).map(({ ids }) => text(ids));
    expect(solidPieces.join('')).toBe(solid);
    for (const piece of solidPieces) expect(piece).not.toMatch(/\p{Surrogate}/u);
    expect(Math.max(...pieces.map(({ ids }) => ids.length))).toBeLessThan(2 ** 16 + 2 ** 14);
    expect(pieces.at(-1)?.bytes).toBe(found.reduce((sum, { bytes }) => sum + bytes, 0));
    expect(pieces.map(({ bytes }) => bytes)).toEqual(pieces.map(({ bytes }) => bytes).sort((a, b) => a - b));
  });

  it('leaves a byte order mark out', async () => {
    expect(text(await idsOf(await scanTexts([file('\ufeffa b')])))).toBe('a b');
  });

  it('notices a file that changes', async () => {
    const path = file('one two');
    const found = await scanTexts([path]);
    writeFileSync(path, 'one twa');
    await expect(idsOf(found)).rejects.toMatchObject({ code: 'LUTRA_IO' });
  });
});

describe('scanTexts', () => {
  it.each([
    ['nothing', '', 'LUTRA_BAD_FILE', /is empty/],
    ['no UTF-8', Uint8Array.of(0x61, 0xff, 0x61), 'LUTRA_BAD_FILE', /is not UTF-8/],
    ['half a character at the end', Uint8Array.of(0x61, 0xe6, 0xbc), 'LUTRA_BAD_FILE', /is not UTF-8/],
    ['a binary file', 'a\0b', 'LUTRA_BAD_FILE', /is binary/],
  ])('refuses %s', async (_, content, code, message) => {
    await expect(scanTexts([file('fine text'), file(content)])).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('refuses what is not there, a directory, and no file at all', async () => {
    await expect(scanTexts([join(root, 'none')])).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
    await expect(scanTexts([root])).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    await expect(scanTexts([])).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
  });
});

async function* listed(pieces: TokenPiece[]): AsyncGenerator<TokenPiece> {
  yield* pieces;
}

describe('textWindows', () => {
  it('cuts the tokens of all files into windows without gaps and leaves the rest', async () => {
    const pieces = [
      { file: 0, ids: [1, 2, 3], bytes: 10 },
      { file: 0, ids: [], bytes: 20 },
      { file: 1, ids: [4, 5, 6, 7, 8, 9, 10, 11], bytes: 30 },
    ];
    const windows = await all(textWindows(listed(pieces), 4));
    expect(windows.map(({ tokens }) => [...tokens])).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ]);
    expect(windows.map(({ bytes }) => bytes)).toEqual([30, 30]);
  });
});

describe('locate', () => {
  it('names file, token and the text before it', async () => {
    const pieces = [
      { file: 0, ids: units('the otter '), bytes: 1 },
      { file: 0, ids: units('swims'), bytes: 2 },
      { file: 1, ids: units('in a lake'), bytes: 3 },
    ];
    const places = await locate([12, 16, 0, 12, 999], listed(pieces), text);
    expect([...places]).toEqual([
      [0, { file: 0, token: 0, text: 't', before: '' }],
      [12, { file: 0, token: 12, text: 'i', before: 'the otter sw' }],
      [16, { file: 1, token: 1, text: 'n', before: 'i' }],
    ]);
  });
});
