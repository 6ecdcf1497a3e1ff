/** `lutra calibrate` on a tiny model: the same bytes however it runs, constant memory, and a typed error for whatever is wrong. */
import { spawn } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scanTexts, tokenPieces } from '../../lib/calibrate/text.js';
import { convertModel } from '../../lib/convert/index.js';
import { calibrateModel, readProfile } from '../../lib/index.js';
import { loadAddon } from '../../lib/native/loader.js';
import { Tokenizer } from '../../lib/runtime/tokenizer.js';
import { Random } from '../reference/random.js';
import { cache, lutra, lutraJson, modelDirectory, root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles, writeTinyFile } from './tiny.js';

const shim = join(repository, 'build/tests/native/libfault_shim.so');

/** Bytes of the text that must not need more memory; 5000000 takes half a minute. */
const LARGE = Number(process.env.LUTRA_TEXT_BYTES || 1_000_000);

/** Words that the tiny tokenizer knows, and some that it spells. */
function text(seed: number, bytes: number): string {
  const random = new Random(seed);
  const words = ['hello', 'world', 'world', 'world', '12', 'world', 'world', 'world', 'otter', 'world'];
  const parts: string[] = [];
  for (let length = 0; length < bytes; ) {
    const word = `${words[random.below(words.length)]}${random.below(10) === 0 ? '\n' : ' '}`;
    parts.push(word);
    length += word.length;
  }
  return parts.join('').slice(0, bytes);
}

/** The same as what people say to each other, which takes fewer tokens. */
function chats(seed: number, bytes: number): string {
  const words = text(seed, bytes).split(/\s/);
  return words
    .map((word) => `<|im_start|> ${word}<|im_end|>`)
    .join('\n')
    .slice(0, bytes);
}

let root: string;
let model: TinyModelFiles;
let book: string;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'lutra-calibrate-'));
  model = await makeTiny(root, 'model', null, {});
  book = join(root, 'book.txt');
  writeFileSync(book, text(1, 200_000));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Calibrated {
  windows: number;
  tokens: number;
  resumed: number;
  peakRssBytes: number;
}

let outputs = 0;
const output = () => join(root, `calibration-${outputs++}.json`);
const run = (file: string, ...flags: string[]) => lutraJson<Calibrated>(['calibrate', model.directory, '-o', file, ...flags]);

describe('lutra calibrate', () => {
  it('gives the same bytes on one thread and on three, and by the API; a page beside it', async () => {
    const [one, three, api, page] = [output(), output(), output(), join(root, 'page.html')];
    await run(one, '--text', book, '--windows', '20', '--threads', '1', '--html', page);
    await run(three, '--text', book, '--windows', '20', '--threads', '3');
    const profile = await calibrateModel(model.directory, { texts: [book], windows: 20, output: api });
    expect(readFileSync(three).equals(readFileSync(one))).toBe(true);
    expect(readFileSync(api).equals(readFileSync(one))).toBe(true);
    expect(await readProfile(one)).toEqual(profile);
    expect(readFileSync(page, 'utf8')).toMatch(/<svg[\s\S]*<\/html>/);
    expect(existsSync(`${one}.checkpoint`)).toBe(false);
  });

  it('takes a file that is not converted yet', async () => {
    const [converted, file] = [output(), output()];
    await run(converted, '--text', book, '--windows', '3');
    await lutraJson(['calibrate', model.path, '--text', book, '--windows', '3', '-o', file]);
    expect(readFileSync(file).equals(readFileSync(converted))).toBe(true);
  });

  it('takes files one after the other, and names where the largest values are', async () => {
    const [first, second, file] = [join(root, 'first.txt'), join(root, 'second.txt'), output()];
    writeFileSync(first, text(2, 700));
    writeFileSync(second, text(3, 5000));
    const { tokens } = await run(file, '--text', first, '--text', second, '--window-tokens', '32');
    const profile = await readProfile(file);
    expect(profile.text.files.map(({ name, bytes }) => [name, bytes])).toEqual([
      ['first.txt', 700],
      ['second.txt', 5000],
    ]);
    expect(profile.text.tokens).toBe(tokens);
    const tokenizer = await Tokenizer.load(model.directory);
    const all = [...tokenizer.encode(readFileSync(first, 'utf8')), ...tokenizer.encode(readFileSync(second, 'utf8'))];
    for (const { peak } of profile.sites) {
      expect(peak.text).toBe(tokenizer.decode([all[peak.token] ?? -1]));
      expect(peak.window * 32 + peak.position).toBe(peak.token);
    }
  });

  it('tokenises piece by piece as all at once', async () => {
    const tokenizers = [model.directory, modelDirectory('smollm2-135m')];
    for (const directory of tokenizers) {
      const tokenizer = await Tokenizer.load(directory);
      for (const path of [book, ...['alice29.txt', 'lcet10.txt'].map((name) => join(cache, 'text', name))]) {
        const pieces: number[] = [];
        for await (const { ids } of tokenPieces(await scanTexts([path]), (piece) => tokenizer.encode(piece))) pieces.push(...ids);
        expect(pieces, path).toEqual(tokenizer.encode(readFileSync(path, 'utf8')));
      }
    }
  });

  it('killed in the middle and started again it gives the same bytes', async () => {
    const [whole, file] = [output(), output()];
    await run(whole, '--text', book);
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      const child = spawn(process.execPath, [
        ...[join(repository, 'dist/cli/main.js'), 'calibrate', model.directory],
        ...['--text', book, '-o', file, '--json'],
      ]);
      const ended = new Promise<number | null>((done) => child.once('exit', (code) => done(code)));
      while (!existsSync(`${file}.checkpoint`)) await new Promise((next) => setTimeout(next, 1));
      child.kill(signal);
      expect(await ended).toBe(signal === 'SIGKILL' ? null : 1);
      expect(existsSync(file)).toBe(false);
      // A changed option is refused, and the checkpoint is still there for who comes with the right ones.
      const changed = await lutra(['calibrate', model.directory, '--text', book, '-o', file, '--windows', '90', '--json']);
      expect(changed.stdout).toMatch(/LUTRA_INVALID_ARGUMENT.*another number of windows/);
      const { resumed, windows } = await run(file, '--text', book);
      expect(resumed).toBeGreaterThanOrEqual(64);
      expect(resumed).toBeLessThan(windows);
      expect(readFileSync(file).equals(readFileSync(whole))).toBe(true);
      expect(readdirSync(root).filter((name) => /checkpoint|part/.test(name))).toEqual([]);
      rmSync(file);
    }
  });

  it('needs the same memory for 50 kB and for twenty times as much', async () => {
    const [small, large] = [join(root, 'small.txt'), join(root, 'large.txt')];
    writeFileSync(small, chats(4, 50_000));
    writeFileSync(large, chats(4, LARGE));
    const peak = async (path: string) => {
      const { peakRssBytes, tokens } = await lutraJson<Calibrated>(['calibrate', model.directory, '-o', output(), '--text', path]);
      return { peakRssBytes, tokens };
    };
    const [few, many] = [await peak(small), await peak(large)];
    const ratio = many.peakRssBytes / few.peakRssBytes;
    console.log(
      `peak of ${few.tokens} tokens ${few.peakRssBytes / 1e6} MB, of ${many.tokens} ${many.peakRssBytes / 1e6} MB: ${ratio.toFixed(3)} ×`,
    );
    expect(many.tokens).toBeGreaterThan(15 * few.tokens);
    expect(ratio).toBeLessThanOrEqual(1.05);
  });
});

/** Runs that must end in an error, without a result. */
async function refused(args: string[], code: string, message: RegExp, env: NodeJS.ProcessEnv = {}): Promise<void> {
  const file = output();
  const result = await lutra(['calibrate', ...args, '-o', file, '--json'], env);
  expect(result.code, result.stderr).not.toBe(0);
  const { error } = JSON.parse(result.stdout) as { error: { code: string; message: string; remedy: string } };
  expect(error).toMatchObject({ code, message: expect.stringMatching(message), remedy: expect.stringMatching(/./) });
  expect(result.stderr).not.toMatch(/\n\s+at /);
  expect(readdirSync(root).filter((name) => name.startsWith(file.slice(root.length + 1)))).toEqual([]);
}

describe('what lutra calibrate refuses', () => {
  const bad = (name: string, content: string | Uint8Array): string => {
    const path = join(root, name);
    writeFileSync(path, content);
    return path;
  };

  it.each<[string, () => string[], string, RegExp]>([
    [
      'a text shorter than a window',
      () => ['--text', bad('short.txt', 'hello world')],
      'LUTRA_INVALID_ARGUMENT',
      /11 bytes has less than the 256/,
    ],
    ['an empty text', () => ['--text', bad('empty.txt', '')], 'LUTRA_BAD_FILE', /is empty/],
    ['a binary file', () => ['--text', join(model.directory, 'cpu.safetensors')], 'LUTRA_BAD_FILE', /is binary|is not UTF-8/],
    ['no UTF-8', () => ['--text', bad('latin.txt', Uint8Array.of(0x68, 0xe9, 0x20))], 'LUTRA_BAD_FILE', /is not UTF-8/],
    ['a text that is not there', () => ['--text', join(root, 'none.txt')], 'LUTRA_NOT_FOUND', /is missing/],
    ['a directory as text', () => ['--text', root], 'LUTRA_BAD_FILE', /is not a file/],
    ['no text', () => [], 'USAGE', /--text is missing/],
    ['an unknown flag', () => ['--text', book, '--windoes', '3'], 'USAGE', /did you mean --windows/],
    ['windows that are none', () => ['--text', book, '--windows', '0'], 'USAGE', /at least 1/],
    ['windows longer than the context', () => ['--text', book, '--window-tokens', '9000'], 'LUTRA_INVALID_ARGUMENT', /contextSize is 9000/],
  ])('%s', (_, args, code, message) => refused([model.directory, ...args()], code, message));

  it('weights that are not finite', async () => {
    const tiny = writeTinyFile(join(root, 'nan.gguf'), { storages: ['f32'] });
    const directory = join(root, 'nan');
    await convertModel({ input: tiny.path, output: directory, addon: loadAddon(), precision: null });
    const weights = join(directory, 'cpu.safetensors');
    const bytes = readFileSync(weights);
    const values = tiny.weights.get('layers.1.down')?.data.slice(0, 8) ?? new Float32Array();
    const at = bytes.indexOf(Buffer.from(values.buffer));
    expect(at).toBeGreaterThan(0);
    bytes.writeFloatLE(Number.NaN, at + 4);
    writeFileSync(weights, bytes);
    await refused([directory, '--text', book], 'LUTRA_BAD_FILE', /output of layer 1, down: the model computes values that are not finite/);
  });

  it('something that is no model directory', () => refused([root, '--text', book], 'LUTRA_BAD_FILE', /is not a lutra model directory/));

  it.each([
    ['write:ENOSPC:1:.checkpoint', /checkpoint cannot be written: ENOSPC/],
    ['write:ENOSPC:1:.json.part', /json cannot be written: ENOSPC/],
    ['fsync:EIO:1:.json.part', /json cannot be written: EIO/],
    ['rename:EACCES:1:.json.part', /json cannot be written: EACCES/],
  ])('a disk that fails: %s', async (fault, message) => {
    const file = output();
    const result = await lutra(['calibrate', model.directory, '--text', book, '--windows', '70', '-o', file, '--json'], {
      LD_PRELOAD: shim,
      LUTRA_FAULT: fault,
    });
    expect(result.stdout).toMatch(/LUTRA_IO/);
    expect(result.stderr).toMatch(message);
    expect(existsSync(file)).toBe(false);
    expect(readdirSync(root).filter((name) => name.endsWith('.part'))).toEqual([]);
    // What was done is not lost.
    await run(file, '--text', book, '--windows', '70');
    expect(existsSync(`${file}.checkpoint`)).toBe(false);
  });

  it('the checkpoint of another text or model, and a damaged one', async () => {
    const [file, checkpoint] = [output(), join(root, 'kept.checkpoint')];
    await lutra(['calibrate', model.directory, '--text', book, '--windows', '70', '-o', file, '--json'], {
      LD_PRELOAD: shim,
      LUTRA_FAULT: 'write:ENOSPC:1:.json.part',
    });
    copyFileSync(`${file}.checkpoint`, checkpoint);
    const other = bad('other.txt', text(9, 200_000));
    const attempt = async (...args: string[]) => (await lutra(['calibrate', ...args, '--windows', '70', '-o', file, '--json'])).stdout;
    expect(await attempt(model.directory, '--text', other)).toMatch(/LUTRA_INVALID_ARGUMENT.*another text/);
    const twin = await makeTiny(root, 'twin', null, { seed: 2 });
    expect(await attempt(twin.directory, '--text', book)).toMatch(/LUTRA_INVALID_ARGUMENT.*another model/);
    truncateSync(`${file}.checkpoint`, 1000);
    expect(await attempt(model.directory, '--text', book)).toMatch(/LUTRA_BAD_FILE/);
    copyFileSync(checkpoint, `${file}.checkpoint`);
    expect((await run(file, '--text', book, '--windows', '70')).resumed).toBeGreaterThanOrEqual(64);
  });

  it('unknown options of the API', async () => {
    const options = { texts: [book], windoes: 3 } as { texts: string[] };
    await expect(calibrateModel(model.directory, options)).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
      message: expect.stringMatching(/windows/),
    });
    const signal = AbortSignal.abort();
    await expect(calibrateModel(model.directory, { texts: [book], signal })).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
  });
});
