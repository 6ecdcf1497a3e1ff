/** Files of mllm that are none, lie about themselves, or hold what lutra cannot convert. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type TinyCheckpoint, tinyCheckpoint, writeCheckpoint } from '../../reference/checkpoint.js';
import { MLLM_TYPES, type MllmArray, type MllmFile, mllmFile, npuMllm, oneFlag, oneFloat, plainMllm } from '../../reference/mllm-writer.js';
import { type BadCase, bad, made, NO_FILES, place, replace, tryConvert, type World } from './case.js';

type Version = 1 | 2;
type Says = string | RegExp;

const tiny = tinyCheckpoint({ tied: true });
const npu = npuMllm(tiny).file;
const [EMBED, UP] = ['model.embed_tokens.weight', 'model.layers.1.mlp.up_proj'];

/** A file in a directory of its own, beside that of its config.json. */
function write(world: World, bytes: Uint8Array, of: TinyCheckpoint = tiny): string {
  const path = place(world, 'tiny.mllm');
  writeFileSync(path, bytes);
  writeCheckpoint(join(dirname(path), 'config'), { ...of, tensors: new Map() });
  return path;
}

const convert = (path: string, world: World) => tryConvert(path, world, join(dirname(path), 'config'));

/** Both versions, or one, of a file whose bytes are changed. */
function bytes(
  name: string,
  says: Says,
  change: (file: MllmFile) => Uint8Array,
  versions: readonly Version[] = [1, 2],
  code: BadCase['code'] = 'LUTRA_BAD_FILE',
): BadCase[] {
  return versions.map((version) =>
    made(`version ${version}: ${name}`, code, says, (world) => write(world, change(mllmFile(version, npu))), convert),
  );
}

/** The same with numbers that are changed where they lie. */
const patched = (
  name: string,
  says: Says,
  version: Version,
  patch: (bytes: Buffer, at: (of: string) => number) => void,
  code?: BadCase['code'],
) =>
  bytes(
    name,
    says,
    ({ bytes: file, entries }) => {
      patch(file, (of) => entries.get(of)?.entry ?? 0);
      return file;
    },
    [version],
    code,
  );

/** Both versions of a file whose tensors are changed. */
function tensors(
  name: string,
  says: Says,
  change: (tensors: Map<string, MllmArray>) => void,
  code: BadCase['code'] = 'LUTRA_BAD_FILE',
): BadCase[] {
  return ([1, 2] as const).map((version) =>
    made(
      `version ${version}: ${name}`,
      code,
      says,
      (world) => {
        const changed = new Map(npu);
        change(changed);
        return write(world, mllmFile(version, changed).bytes);
      },
      convert,
    ),
  );
}

/** Offsets of the fields of an entry behind its name of `length` bytes. */
const v1 = (length: number) => ({ bytes: 4 + length, place: 12 + length, type: 20 + length });
const [EMBED_FIELDS, V2] = [v1(EMBED.length), { type: 4, bytes: 8, place: 16, dimensions: 24, shape: 32, name: 96 }];

const frames: BadCase[] = [
  ...bytes('nothing', 'it ends inside its first word', () => new Uint8Array()),
  ...bytes('three bytes', 'it ends inside its first word', ({ bytes }) => bytes.subarray(0, 3)),
  ...bytes('a header cut off', 'its header', ({ bytes }) => bytes.subarray(0, 9)),
  ...bytes('half the index', 'its index', ({ bytes }) => bytes.subarray(0, 900)),
  ...bytes('half the data', 'it is truncated', ({ bytes }) => bytes.subarray(0, bytes.length >> 1)),
  ...bytes('a byte too few', 'it is truncated', ({ bytes }) => bytes.subarray(0, -1)),
  ...bytes('another first word', 'it begins with 7', ({ bytes }) => bytes.fill(0, 0, 4).fill(7, 0, 1)),
  ...bytes('noise', 'it begins with', ({ bytes }) => bytes.fill(0x5a)),
  ...patched('version 3', 'of version 3', 2, (file) => file.writeInt32LE(3, 4), 'LUTRA_UNSUPPORTED'),
  ...patched('no index', 'it has no tensors', 1, (file) => file.writeBigUInt64LE(0n, 4)),
  ...patched('an index of all memory', 'its index would have', 1, (file) => file.writeBigUInt64LE(2n ** 40n, 4)),
  ...patched('an index of more than all memory', 'its index would have', 1, (file) => file.writeBigUInt64LE(2n ** 64n - 1n, 4)),
  ...patched('an index longer than the file', 'it ends inside its index', 1, (file) => file.writeBigUInt64LE(BigInt(file.length), 4)),
  ...patched('an index that ends in an entry', 'its index ends inside', 1, (file) => file.writeBigUInt64LE(30n, 4)),
  ...patched('no tensors', 'it has no tensors', 2, (file) => file.writeUInt32LE(0, 520)),
  ...patched('4 billion tensors', 'its index would have', 2, (file) => file.writeUInt32LE(2 ** 32 - 1, 520)),
  ...patched('more tensors than the file has', 'it ends inside its index', 2, (file) => file.writeUInt32LE(20_000, 520)),
  ...patched('an index behind the end', 'it ends inside its index', 2, (file) => file.writeBigUInt64LE(2n ** 60n, 524)),
  ...patched('an index in the header', 'the index lies over the header', 2, (file) => {
    file.copy(file, 100, 532, 532 + 352);
    file.writeUInt32LE(1, 520);
    file.writeBigUInt64LE(100n, 524);
  }),
];

const entries: BadCase[] = [
  ...patched('a name of −1 bytes', 'would have a name of -1 bytes', 1, (file, at) => file.writeInt32LE(-1, at(EMBED))),
  ...patched('a name of a gigabyte', 'would have a name of 1000000000 bytes', 1, (file, at) => file.writeInt32LE(1e9, at(EMBED))),
  ...patched('a name that is no UTF-8', 'is not UTF-8', 1, (file, at) => file.writeUInt8(0xff, at(EMBED) + 6)),
  ...patched('a name that is no UTF-8', 'is not UTF-8', 2, (file, at) => file.writeUInt8(0xff, at(EMBED) + V2.name)),
  ...patched('a zero in a name', 'has a zero in it', 1, (file, at) => file.writeUInt8(0, at(EMBED) + 6)),
  ...patched('an empty name', 'is empty', 2, (file, at) => file.writeUInt8(0, at(EMBED) + V2.name)),
  ...patched('a name without an end', 'two tensors', 2, (file, at) =>
    file.fill(0x61, at(EMBED) + V2.name, at(EMBED) + 352).fill(0x61, at(`${UP}.weight`) + V2.name, at(`${UP}.weight`) + 352),
  ),
  ...patched('a tensor of no bytes', 'has no data', 1, (file, at) => file.writeBigUInt64LE(0n, at(EMBED) + EMBED_FIELDS.bytes)),
  ...patched('a tensor of no bytes', 'has no data', 2, (file, at) => file.writeBigUInt64LE(0n, at(EMBED) + V2.bytes)),
  ...patched('a tensor of 2^63 bytes', 'truncated', 1, (file, at) => file.writeBigUInt64LE(2n ** 63n, at(EMBED) + EMBED_FIELDS.bytes)),
  ...patched('a tensor of 2^63 bytes', 'truncated', 2, (file, at) => file.writeBigUInt64LE(2n ** 63n, at(EMBED) + V2.bytes)),
  ...patched('a tensor behind the end', 'truncated', 1, (file, at) =>
    file.writeBigUInt64LE(BigInt(file.length), at(EMBED) + EMBED_FIELDS.place),
  ),
  ...patched('a tensor behind the end', 'truncated', 2, (file, at) => file.writeBigUInt64LE(2n ** 64n - 1n, at(EMBED) + V2.place)),
  ...patched('a tensor in the header', 'lies over', 1, (file, at) => file.writeBigUInt64LE(4n, at(EMBED) + EMBED_FIELDS.place)),
  ...patched('a tensor in the index', 'lies over', 2, (file, at) => file.writeBigUInt64LE(600n, at(EMBED) + V2.place)),
  ...bytes('two tensors in one place', 'lies over', ({ bytes: file, entries: all }) => {
    const norm = all.get('model.norm.weight');
    const field = norm ? norm.entry + (file.readInt32LE() === 20012 ? v1('model.norm.weight'.length).place : V2.place) : 0;
    file.writeBigUInt64LE(BigInt(all.get(EMBED)?.data ?? 0), field);
    return file;
  }),
  ...patched(
    'an unknown type',
    'unknown type 77',
    1,
    (file, at) => file.writeInt32LE(77, at(EMBED) + EMBED_FIELDS.type),
    'LUTRA_UNSUPPORTED',
  ),
  ...patched(
    'an unknown type',
    'unknown type 4294967295',
    2,
    (file, at) => file.writeUInt32LE(2 ** 32 - 1, at(EMBED) + V2.type),
    'LUTRA_UNSUPPORTED',
  ),
  ...patched('17 dimensions', 'has 17 dimensions', 2, (file, at) => file.writeBigUInt64LE(17n, at(EMBED) + V2.dimensions)),
  ...patched('2^60 dimensions', 'dimensions', 2, (file, at) => file.writeBigUInt64LE(2n ** 60n, at(EMBED) + V2.dimensions)),
  ...patched('a length of zero', 'has the shape [0,', 2, (file, at) => file.writeInt32LE(0, at(EMBED) + V2.shape)),
  ...patched('a negative length', 'has the shape [-5,', 2, (file, at) => file.writeInt32LE(-5, at(EMBED) + V2.shape)),
  ...patched('a shape larger than the data', 'bytes', 2, (file, at) => file.writeInt32LE(2 ** 31 - 1, at(EMBED) + V2.shape)),
];

const array = (type: number, shape: number[], data: Uint8Array): MllmArray => ({ type, shape, data });
const floats = (...values: number[]) => new Uint8Array(Float32Array.from(values).buffer);
const sized = (of: string, type: number, size: (elements: number) => number) => (all: Map<string, MllmArray>) => {
  const { shape } = npu.get(of) ?? { shape: [] };
  all.set(of, array(type, shape, new Uint8Array(size(shape.reduce((a, b) => a * b, 1)))));
};
const scaleCases = [
  ['NaN', Number.NaN],
  ['zero', 0],
  ['below zero', -1],
  ['infinite', Number.POSITIVE_INFINITY],
] as const;

const contents: BadCase[] = [
  ...tensors('a tensor that is missing', `there is no tensor ${EMBED}`, (all) => all.delete(EMBED)),
  ...tensors('a tensor that nothing uses', 'model.extra', (all) => all.set('model.extra', oneFloat(1)), 'LUTRA_UNSUPPORTED'),
  ...tensors(
    'a type that lutra has not',
    'has type Q4_K',
    sized(EMBED, MLLM_TYPES.Q4_K, (elements) => (elements / 256) * 144),
    'LUTRA_UNSUPPORTED',
  ),
  ...tensors(
    'codes of 8 bits with scales of their own',
    'has type 143',
    sized(EMBED, 143, (elements) => elements),
    'LUTRA_UNSUPPORTED',
  ),
  ...tensors('a row too many', `tensor ${EMBED} is`, (all) => {
    const { shape, data } = all.get(EMBED) ?? oneFloat(0);
    const [rows = 0, cols = 0] = shape;
    all.set(EMBED, array(MLLM_TYPES.F16, [rows + 1, cols], Buffer.concat([data, new Uint8Array(2 * cols)])));
  }),
  ...tensors(
    'blocks that are not whole',
    'no whole blocks of Q4_0',
    sized(EMBED, MLLM_TYPES.Q4_0, (elements) => (elements / 32) * 18 + 1),
  ),
  ...tensors('blocks with an infinite scale', 'infinities', (all) => {
    sized(EMBED, MLLM_TYPES.Q8_0, (elements) => (elements / 32) * 34)(all);
    all.get(EMBED)?.data.set([0, 0x7c]);
  }),
  ...tensors('a weight of NaN', 'infinities or what is no number', (all) => {
    sized(EMBED, MLLM_TYPES.F32, (elements) => 4 * elements)(all);
    all.get(EMBED)?.data.set([0, 0, 0xc0, 0x7f], 400);
  }),
  ...scaleCases.flatMap(([name, value]) => [
    ...tensors(`a scale that is ${name}`, `${UP}.weight.scale is`, (all) => all.set(`${UP}.weight.scale`, oneFloat(value))),
    ...tensors(`an amplitude that is ${name}`, `${UP}.input_scale is`, (all) => all.set(`${UP}.input_scale`, oneFloat(value))),
  ]),
  ...tensors('two scales of one tensor', 'is not one number', (all) =>
    all.set(`${UP}.weight.scale`, array(MLLM_TYPES.F32, [2], floats(1, 2))),
  ),
  ...tensors('a scale in F16', 'is not one number', (all) => all.set(`${UP}.weight.scale`, array(MLLM_TYPES.F16, [1], new Uint8Array(2)))),
  ...tensors('codes without a scale', `no ${UP}.weight.scale`, (all) => all.delete(`${UP}.weight.scale`)),
  ...tensors('a scale without codes', 'but no tensor model.layers.9.mlp.up_proj.weight', (all) =>
    all.set('model.layers.9.mlp.up_proj.weight.scale', oneFloat(1)),
  ),
  ...tensors(
    'a scale of halves',
    'codes of 8 bits are expected',
    sized(`${UP}.weight`, MLLM_TYPES.F16, (elements) => 2 * elements),
  ),
  ...tensors(
    'an embedding of codes',
    `${EMBED} has codes of 8 bits`,
    sized(EMBED, MLLM_TYPES.I8, (elements) => elements),
  ),
  ...tensors('a scale of an embedding', `${EMBED}.scale is none`, (all) => all.set(`${EMBED}.scale`, oneFloat(1)), 'LUTRA_UNSUPPORTED'),
  ...tensors('a flag of 2', `${UP}.clip_input is 2`, (all) => all.set(`${UP}.clip_input`, oneFlag(2))),
  ...tensors('a flag of one half', `${UP}.clip_output is 0.5`, (all) => all.set(`${UP}.clip_output`, oneFloat(0.5))),
  ...tensors('flags of a layer that is not there', 'but no tensor model.layers.26.mlp.down_proj.weight', (all) =>
    all.set('model.layers.26.mlp.down_proj.clip_input', oneFlag(0)),
  ),
  ...tensors('codes too few', `tensor ${UP}.weight is`, (all) => {
    const { shape, data } = all.get(`${UP}.weight`) ?? oneFloat(0);
    const [rows = 0, cols = 0] = shape;
    all.set(`${UP}.weight`, array(MLLM_TYPES.I8, [rows - 1, cols], data.subarray(cols)));
  }),
  ...[0.5, 128, -129, Number.NaN].flatMap((value) =>
    tensors(`a widened code ${value}`, 'which is no code of 8 bits', (all) => {
      const widened = npuMllm(tiny, { widened: true }).file;
      const { type, shape, data } = widened.get(`${UP}.weight`) ?? oneFloat(0);
      const copy = data.slice();
      copy.set(floats(value), 80);
      all.set(`${UP}.weight`, array(type, shape, copy));
    }),
  ),
];

const plain = (world: World, change: (config: string) => void = () => undefined, of?: TinyCheckpoint): string => {
  const path = write(world, mllmFile(1, plainMllm(tiny)).bytes, of);
  change(join(dirname(path), 'config'));
  return path;
};
const beside = (name: string, code: BadCase['code'], says: Says, change: (config: string) => void, of?: TinyCheckpoint) =>
  made(name, code, says, (world) => plain(world, change, of), convert);
const config = (change: object): TinyCheckpoint => ({ ...tiny, config: { ...tiny.config, ...change } });

const configs: BadCase[] = [
  made('no --config', 'LUTRA_INVALID_ARGUMENT', 'which holds tensors only', plain, (path, world) => tryConvert(path, world)),
  beside('a --config that is not there', 'LUTRA_BAD_FILE', 'has no config.json', (directory) => rmSync(directory, { recursive: true })),
  beside('a --config without config.json', 'LUTRA_BAD_FILE', 'has no config.json', (directory) => rmSync(join(directory, 'config.json'))),
  beside('a --config without tokenizer.json', 'LUTRA_BAD_FILE', 'there is no tokenizer.json', (directory) =>
    rmSync(join(directory, 'tokenizer.json')),
  ),
  beside('a config.json of something else', 'LUTRA_UNSUPPORTED', 'mamba', () => undefined, config({ model_type: 'mamba' })),
  beside('a config.json of a wider model', 'LUTRA_BAD_FILE', `tensor ${EMBED} is`, () => undefined, config({ hidden_size: 128 })),
  beside(
    'a config.json of more layers',
    'LUTRA_BAD_FILE',
    'there is no tensor model.layers.2',
    () => undefined,
    config({ num_hidden_layers: 3 }),
  ),
  beside('a config.json of another vocabulary', 'LUTRA_BAD_FILE', `tensor ${EMBED} is`, () => undefined, config({ vocab_size: 9999 })),
  ...['', 'a\0b', 7, {}].map((value) =>
    made(`${JSON.stringify(value)} for --config`, 'LUTRA_INVALID_ARGUMENT', 'a directory with config.json', plain, (path, world) =>
      tryConvert(path, world, value as unknown as string),
    ),
  ),
  bad('--config with a GGUF file', 'LUTRA_INVALID_ARGUMENT', 'is no .mllm file', (world) =>
    tryConvert(world.files.path, world, world.root),
  ),
  made(
    '--config with a directory',
    'LUTRA_INVALID_ARGUMENT',
    'is no .mllm file',
    (world) => writeCheckpoint(place(world, 'hf'), tiny),
    (path, world) => tryConvert(path, world, path),
  ),
  bad('--config with a file that is not there', 'LUTRA_NOT_FOUND', 'missing', (world) =>
    tryConvert(join(world.root, 'no.mllm'), world, world.root),
  ),
  ...Object.keys(NO_FILES)
    .filter((kind) => kind !== 'the memory of a process')
    .map((kind) =>
      made(
        `an .mllm file: ${kind}`,
        kind === 'a dangling link' ? 'LUTRA_NOT_FOUND' : kind === 'a link to itself' ? 'LUTRA_IO' : 'LUTRA_BAD_FILE',
        'model.mllm',
        (world) => {
          const path = place(world, 'model.mllm');
          replace(path, kind);
          mkdirSync(join(dirname(path), 'config'));
          return path;
        },
        (path, world) => tryConvert(path, world),
      ),
    ),
];

export const mllmCases: BadCase[] = [...frames, ...entries, ...contents, ...configs];
