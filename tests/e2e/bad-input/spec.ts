/** lutra.json and the files of the tokenizer: not there, not readable, changed, or nonsense under digests that fit it. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reseal } from '../../reference/reseal.js';
import { type BadCase, made, replace, respecified, type Spec, spoiled, tryModel } from './case.js';

const SPEC = 'lutra.json';
const DEEP = 100_000;
const NESTED = `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`;

function directory(name: string, code: BadCase['code'], says: string | RegExp, change: (directory: string) => void): BadCase {
  return made(name, code, says, (world) => spoiled(world, change), tryModel);
}

/** lutra.json with other bytes. */
const bytes = (name: string, code: BadCase['code'], says: string | RegExp, content: (good: Buffer) => string | Uint8Array): BadCase =>
  directory(name, code, says, (place) => writeFileSync(join(place, SPEC), content(readFileSync(join(place, SPEC)))));

/** lutra.json with other fields. */
const field = (name: string, says: string | RegExp, change: (spec: Spec) => unknown, code: BadCase['code'] = 'LUTRA_BAD_FILE'): BadCase =>
  made(name, code, says, (world) => respecified(world, (spec) => void change(spec)), tryModel);

const things: BadCase[] = [
  ['no lutra.json', 'LUTRA_BAD_FILE', (path: string) => rmSync(path)] as const,
  ...(
    [
      ['a directory', 'LUTRA_BAD_FILE'],
      ['a FIFO', 'LUTRA_BAD_FILE'],
      ['a link to /dev/null', 'LUTRA_BAD_FILE'],
      ['a link to /dev/zero', 'LUTRA_BAD_FILE'],
      ['a link to itself', 'LUTRA_IO'],
      ['the memory of a process', 'LUTRA_BAD_FILE'],
    ] as const
  ).map(([what, code]) => [`${what} as lutra.json`, code, (path: string) => replace(path, what)] as const),
].map(([name, code, change]) => directory(name, code, SPEC, (place) => change(join(place, SPEC))));

const texts: BadCase[] = [
  bytes('an empty lutra.json', 'LUTRA_BAD_FILE', 'not JSON', () => ''),
  bytes('a lutra.json of 300 MB', 'LUTRA_BAD_FILE', '314572800', () => ''),
  bytes('noise', 'LUTRA_BAD_FILE', 'UTF-8', () => Buffer.alloc(9000, 0xa5)),
  bytes('a text', 'LUTRA_BAD_FILE', 'not JSON', () => 'a text'),
  bytes('a list', 'LUTRA_BAD_FILE', 'object', () => '[]'),
  bytes('a number', 'LUTRA_BAD_FILE', 'object', () => '7'),
  bytes('null', 'LUTRA_BAD_FILE', 'object', () => 'null'),
  bytes('a hundred thousand brackets', 'LUTRA_BAD_FILE', /object|not JSON/, () => '['.repeat(DEEP) + ']'.repeat(DEEP)),
  bytes('a hundred thousand braces', 'LUTRA_UNSUPPORTED', 'format', () => NESTED),
  bytes('half of it', 'LUTRA_BAD_FILE', 'not JSON', (good) => good.subarray(0, good.length >> 1)),
  bytes('all but its last byte', 'LUTRA_BAD_FILE', 'checksum', (good) => good.subarray(0, -1)),
  bytes('a space more', 'LUTRA_BAD_FILE', 'checksum', (good) => `${good} `),
  bytes('a digit changed by hand', 'LUTRA_BAD_FILE', 'checksum', (good) => good.toString().replace('"hidden": 64', '"hidden": 65')),
  bytes('no checksum', 'LUTRA_BAD_FILE', 'checksum', (good) => good.toString().replace(/,\n "checksum": .*/, '')),
  bytes('format 1', 'LUTRA_UNSUPPORTED', 'format 1', () => '{"format": 1, "name": "old"}'),
].map((one) =>
  one.name.includes('300 MB') ? directory(one.name, one.code, one.says, (place) => truncateSync(join(place, SPEC), 300 * 2 ** 20)) : one,
);

const arch = (name: string, says: string | RegExp, change: object, code?: BadCase['code']): BadCase =>
  field(name, says, (spec) => Object.assign(spec.arch, change), code);

const shapes: BadCase[] = [
  field('format 3', 'format 4', (spec) => Object.assign(spec, { format: 3 }), 'LUTRA_UNSUPPORTED'),
  field('a format that is a text', "'2'", (spec) => Object.assign(spec, { format: '2' }), 'LUTRA_UNSUPPORTED'),
  field('no arch', 'arch', (spec) => Object.assign(spec, { arch: null })),
  arch('another family', 'mamba', { family: 'mamba' }, 'LUTRA_UNSUPPORTED'),
  arch('a family named as a built-in property', 'toString', { family: 'toString' }, 'LUTRA_UNSUPPORTED'),
  arch('a width of 0', 'hidden', { hidden: 0 }),
  arch('a negative width', '-64', { hidden: -64 }),
  arch('a width with a fraction', '64.5', { hidden: 64.5 }),
  arch('a width that is a text', "'64'", { hidden: '64' }),
  arch('a width of 1e308', '1e+308', { hidden: 1e308 }),
  arch('a width that the weights do not have', '128', { hidden: 128 }),
  arch('2^53 − 1 layers', 'layers', { layers: Number.MAX_SAFE_INTEGER }),
  arch('a million layers', '4096', { layers: 1_000_000 }),
  arch('3 heads on 2', '3 heads', { heads: 3 }),
  arch('heads of odd size', '15', { headDim: 15 }),
  arch('a vocabulary of 2^40', /vocab|embed/, { vocab: 2 ** 40 }),
  arch('a context of 0', 'maxContext', { maxContext: 0 }),
  arch('a RoPE base of 0', 'ropeTheta', { ropeTheta: 0 }),
  arch('a RoPE base of null', 'ropeTheta', { ropeTheta: null }),
  arch('a negative epsilon', 'rmsEps', { rmsEps: -1e-5 }),
  arch('an epsilon that F32 has as 0', 'rmsEps', { rmsEps: 1e-60 }),
  arch('a RoPE base beyond F32', 'ropeTheta', { ropeTheta: 1e300 }),
  arch('an activation that nobody knows', 'gelu', { activation: 'gelu' }, 'LUTRA_UNSUPPORTED'),
  arch('tied as a text', 'tied', { tied: 'no' }),
  arch('interleaved as a number', 'ropeInterleaved', { ropeInterleaved: 1 }),
  arch('biases as null', 'qkvBias', { qkvBias: null }),
  arch('biases that are not there', 'layers.0.q.bias', { qkvBias: true }),
  arch('factors that are not there', 'rope_factors', { ropeFactors: true }),
  field('a chunk of 0', 'chunk', (spec) => Object.assign(spec, { chunk: 0 })),
  field('a chunk of a million', '1000000', (spec) => Object.assign(spec, { chunk: 1_000_000 })),
  field('a name that is a number', 'name', (spec) => Object.assign(spec, { name: 7 })),
];

const tensor = (name: string, says: string | RegExp, of: string, value: unknown): BadCase =>
  field(name, says, (spec) => Object.assign(spec.tensors, { [of]: value }));
const linear = (name: string, says: string | RegExp, of: string, change: object | null): BadCase =>
  field(name, says, (spec) => {
    spec.linears[of] = change && { ...(spec.linears[of] as object), ...change };
  });
const range = (change: object): object => ({ input: { dtype: 'u8', scale: 0.1, offset: -128, ...change } });

const tables: BadCase[] = [
  field('no tensors', 'tensors', (spec) => Object.assign(spec, { tensors: [] })),
  field('a tensor that is missing', 'embed', (spec) => delete spec.tensors.embed),
  tensor('a tensor that is null', 'norm', 'norm', null),
  tensor('a tensor of an unknown type', 'q3_9', 'layers.0.q', { type: 'q3_9', shape: [64, 64] }),
  tensor('a tensor without a shape', 'layers.0.q', 'layers.0.q', { type: 'q4_1' }),
  tensor('a tensor of another shape', '[64, 128]', 'layers.0.q', { type: 'q4_1', shape: [64, 128] }),
  tensor('a tensor of another type than the file has', 'layers.0.gate', 'layers.0.gate', { type: 'q8_0', shape: [96, 64] }),
  tensor('a norm in halves', 'norm', 'norm', { type: 'f16', shape: [64] }),
  field('no linears', 'linears', (spec) => Object.assign(spec, { linears: 7 })),
  field('a linear that is missing', 'layers.1.down', (spec) => delete spec.linears['layers.1.down']),
  field('a linear that the model has not', 'layers.9.q', (spec) =>
    Object.assign(spec.linears, { 'layers.9.q': spec.linears['layers.0.q'] }),
  ),
  linear('a linear that is null', 'layers.0.q', 'layers.0.q', null),
  linear('an unknown precision', 'w3a3', 'layers.0.gate', { precision: 'w3a3' }),
  linear('a precision named as a built-in property', 'valueOf', 'layers.0.gate', { precision: 'valueOf' }),
  linear('no range', 'layers.0.o', 'layers.0.o', { input: null }),
  linear('a range that is a text', 'layers.0.o', 'layers.0.o', { input: 'wide' }),
  linear('a scale of 0', 'scale 0', 'layers.0.o', range({ scale: 0 })),
  linear('a negative scale', 'scale -1', 'layers.0.o', range({ scale: -1 })),
  linear('a scale that is a text', 'layers.0.o', 'layers.0.o', range({ scale: '0.1' })),
  linear('a scale beyond F32', 'scale 1e+300', 'layers.0.o', range({ scale: 1e300 })),
  linear('an offset without zero', 'offset 1', 'layers.0.o', range({ offset: 1 })),
  linear('an offset with a fraction', 'offset -0.5', 'layers.0.o', range({ offset: -0.5 })),
  linear('a range in another type', 'u16', 'layers.0.o', range({ dtype: 'u16' })),
  linear('a range in no type', 'u9', 'layers.0.o', range({ dtype: 'u9' })),
  linear('an unknown layout', 'spiral', 'layers.0.gate', { layout: 'spiral' }),
  linear('a shadow that is none', 'layers.0.q', 'layers.0.q', { shadow: 'yes' }),
  linear('a shadow where there can be none', 'layers.0.gate', 'layers.0.gate', { shadow: { input: true, output: false } }),
  linear('clipping without a shadow', 'layers.0.q', 'layers.0.q', { shadow: { input: false, output: false } }),
  field('no hashes', 'hashes', (spec) => Object.assign(spec, { hashes: {} })),
  field(
    'a digest that is missing',
    /tensor 'norm'.*nothing/,
    (spec) => delete (spec.hashes.cpu as { tensors: Record<string, string> }).tensors.norm,
  ),
  field('another digest', /tensor 'norm'/, (spec) => Object.assign((spec.hashes.cpu as { tensors: object }).tensors, { norm: '0' })),
  field('no tokens', 'tokens', (spec) => Object.assign(spec, { tokens: null })),
  field('end tokens that are no list', 'eos', (spec) => Object.assign(spec.tokens, { eos: 2 })),
  field('a negative end token', '-1', (spec) => Object.assign(spec.tokens, { eos: [-1] })),
  field('an end token outside the vocabulary', '1000000', (spec) => Object.assign(spec.tokens, { eos: [1_000_000] })),
  field('a begin token with a fraction', '1.5', (spec) => Object.assign(spec.tokens, { bos: 1.5 })),
  field('addBos as a text', 'addBos', (spec) => Object.assign(spec.tokens, { addBos: 'yes' })),
];

/** A tokenizer file with other content, under a digest that fits. */
function content(name: string, says: string | RegExp, file: string, change: (good: string) => string | Uint8Array): BadCase {
  return directory(name, 'LUTRA_BAD_FILE', says, (place) => {
    const path = join(place, file);
    writeFileSync(path, change(readFileSync(path, 'utf8')));
    reseal(place);
  });
}

type TokenizerJson = Record<string, unknown> & { model: { vocab: Record<string, unknown> } & Record<string, unknown> };
const TOKENIZER = 'tokenizer.json';
const CONFIG = 'tokenizer_config.json';

const tokenizer = (name: string, change: (json: TokenizerJson) => unknown): BadCase =>
  content(name, TOKENIZER, TOKENIZER, (good) => {
    const json = JSON.parse(good) as TokenizerJson;
    change(json);
    return JSON.stringify(json);
  });
const model = (name: string, change: object): BadCase => tokenizer(name, (json) => Object.assign(json.model, change));
const token = (name: string, id: unknown): BadCase => tokenizer(name, ({ model: { vocab } }) => Object.assign(vocab, { new: id }));

const tokenizers: BadCase[] = [
  ...[TOKENIZER, CONFIG].flatMap((file) => [
    directory(`no ${file}`, 'LUTRA_NOT_FOUND', file, (place) => rmSync(join(place, file))),
    directory(`a FIFO as ${file}`, 'LUTRA_BAD_FILE', file, (place) => replace(join(place, file), 'a FIFO')),
    directory(`a link to /dev/zero as ${file}`, 'LUTRA_BAD_FILE', file, (place) => replace(join(place, file), 'a link to /dev/zero')),
    directory(`${file} changed by hand`, 'LUTRA_BAD_FILE', file, (place) => writeFileSync(join(place, file), '{}')),
    content(`${file} that is no JSON`, file, file, (good) => good.slice(0, -3)),
    content(`${file} that is no UTF-8`, file, file, () => Buffer.from([0x7b, 0xff, 0x7d])),
    content(`${file} that is a list`, file, file, () => '[]'),
  ]),
  tokenizer('an empty tokenizer', (json) => {
    for (const key of Object.keys(json)) delete json[key];
  }),
  tokenizer('a tokenizer without a decoder', (json) => delete json.decoder),
  tokenizer('a tokenizer without a model', (json) => delete (json as Partial<TokenizerJson>).model),
  tokenizer('a pre-tokenizer of an unknown kind', (json) => Object.assign(json, { pre_tokenizer: { type: 'Magic' } })),
  tokenizer('a pattern that is none', (json) =>
    Object.assign(json, { pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated' } }),
  ),
  model('a model of an unknown kind', { type: 'Magic' }),
  model('a vocabulary that is a list', { vocab: ['a', 'b'] }),
  model('merges that are no list', { merges: 7 }),
  model('merges of numbers', { merges: [1, 2] }),
  token('an id that is a text', 'zero'),
  token('a negative id', -1),
  token('an id of a billion', 1_000_000_000),
  token('an id with a fraction', 0.5),
  tokenizer('added tokens that are no list', (json) => Object.assign(json, { added_tokens: 7 })),
  tokenizer('an added token without content', (json) => Object.assign(json, { added_tokens: [{ id: 1 }] })),
  tokenizer('an added token with an id of a billion', (json) => Object.assign(json, { added_tokens: [{ id: 1e9, content: 'x' }] })),
  content('a chat template that is a number', CONFIG, CONFIG, () => '{"chat_template": 7}'),
];

export const specCases: BadCase[] = [...things, ...texts, ...shapes, ...tables, ...tokenizers];
