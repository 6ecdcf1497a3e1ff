/** Weight files that are none or lie about themselves, under digests that fit them. */
import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { reseal } from '../../reference/reseal.js';
import { type BadCase, made, replace, spoiled, tryModel } from './case.js';

type Table = Record<string, { dtype?: unknown; shape?: unknown; data_offsets?: unknown }>;

/** Loads a copy after `change`. */
function directory(name: string, code: BadCase['code'], says: string | RegExp, change: (directory: string) => void): BadCase {
  return made(name, code, says, (world) => spoiled(world, change), tryModel);
}

/** A header with spaces behind it, so that data are aligned. */
function aligned(header: Uint8Array): Buffer {
  return Buffer.concat([header, Buffer.alloc(63 - ((header.length + 7) % 64), ' ')]);
}

/** A weight file with another header in front of its data. */
function withHeader(header: Uint8Array, data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, data]);
}

function header(name: string, code: BadCase['code'], says: string | RegExp, change: (text: string) => string | Uint8Array): BadCase {
  return directory(name, code, says, (place) => {
    const path = join(place, 'npu.safetensors');
    const bytes = readFileSync(path);
    const end = 8 + Number(bytes.readBigUInt64LE());
    writeFileSync(path, withHeader(aligned(Buffer.from(change(bytes.toString('utf8', 8, end)))), bytes.subarray(end)));
    reseal(place);
  });
}

const table = (name: string, code: BadCase['code'], says: string | RegExp, change: (table: Table) => unknown): BadCase =>
  header(name, code, says, (text) => {
    const parsed = JSON.parse(text) as Table;
    change(parsed);
    return JSON.stringify(parsed);
  });

/** An entry of the table, changed. */
const entry = (name: string, says: string | RegExp, tensor: string, change: object): BadCase =>
  table(name, 'LUTRA_BAD_FILE', says, (all) => Object.assign(all[tensor] ?? {}, change));

const things: BadCase[] = ['cpu', 'npu'].flatMap((kind) => {
  const file = `${kind}.safetensors`;
  const thing = (what: string, code: BadCase['code'] = 'LUTRA_BAD_FILE') =>
    directory(`${what} in place of ${file}`, code, file, (place) => replace(join(place, file), what));
  const length = (bytes: number) =>
    directory(`${file} with ${bytes} bytes`, 'LUTRA_BAD_FILE', file, (place) => truncateSync(join(place, file), bytes));
  return [
    directory(`no ${file}`, 'LUTRA_BAD_FILE', `${file} is missing`, (place) => rmSync(join(place, file))),
    thing('a directory'),
    thing('a FIFO'),
    thing('a link to /dev/null'),
    thing('a link to /dev/zero'),
    thing('a link to itself', 'LUTRA_IO'),
    thing('a dangling link'),
    thing('the memory of a process'),
    ...[0, 7, 8, 100, 2000, 20_000].map(length),
    directory(`noise in place of ${file}`, 'LUTRA_BAD_FILE', file, (place) => writeFileSync(join(place, file), Buffer.alloc(5000, 0x5a))),
    directory(`a byte after ${file}`, 'LUTRA_BAD_FILE', /1 bytes after its last tensor/, (place) => {
      const path = join(place, file);
      writeFileSync(path, Buffer.concat([readFileSync(path), Buffer.of(0)]));
    }),
  ];
});

const lengths: BadCase[] = (
  [
    ['of 2^63', 1n << 63n],
    ['of 2^64 − 1', (1n << 64n) - 1n],
    ['of 1 GB', 1n << 30n],
    ['of 0', 0n],
    ['beyond the file', 3_000_000n],
  ] as const
).map(([name, length]) =>
  directory(`a header length ${name}`, 'LUTRA_BAD_FILE', 'npu.safetensors', (place) => {
    const path = join(place, 'npu.safetensors');
    const bytes = readFileSync(path);
    bytes.writeBigUInt64LE(length);
    writeFileSync(path, bytes);
    reseal(place);
  }),
);

const Q = 'layers.0.q.w8';
const DEEP = 100_000;
const NESTED = `${'{"a":'.repeat(DEEP)}1${'}'.repeat(DEEP)}`;
const headers: BadCase[] = [
  header('a header that is no JSON', 'LUTRA_BAD_FILE', 'header', (text) => text.replace(':', '=')),
  header('a header that is a list', 'LUTRA_BAD_FILE', 'header', () => '[]'),
  header('a header that is no UTF-8', 'LUTRA_BAD_FILE', 'UTF-8', (text) =>
    Buffer.from(text.replace('layers.0.q.w8', 'layers.0.q.w\xff'), 'latin1'),
  ),
  header('a header of a hundred thousand brackets', 'LUTRA_BAD_FILE', 'header', () => NESTED),
  header('a header with a NUL behind it', 'LUTRA_BAD_FILE', 'header', (text) => `${text.trimEnd()}\0`),
  header('a tensor twice', 'LUTRA_BAD_FILE', Q, (text) => text.replace('layers.0.k.w8', Q)),
  header('a negative offset', 'LUTRA_BAD_FILE', 'header', (text) => text.replace('"data_offsets":[0,', '"data_offsets":[-1,')),
  header('an offset with a fraction', 'LUTRA_BAD_FILE', 'header', (text) => text.replace('"data_offsets":[0,', '"data_offsets":[0.5,')),
  header('an offset of 1e300', 'LUTRA_BAD_FILE', 'header', (text) => text.replace('"data_offsets":[0,', '"data_offsets":[1e300,')),
  table('metadata that are no texts', 'LUTRA_BAD_FILE', 'header', (all) => Object.assign(all, { __metadata__: { a: 1 } })),
  table('an unknown dtype', 'LUTRA_BAD_FILE', 'F7', (all) => Object.assign(all[Q] ?? {}, { dtype: 'F7' })),
  entry('a dtype that is a number', 'header', Q, { dtype: 7 }),
  entry('no dtype', 'header', Q, { dtype: undefined }),
  entry('no shape', 'header', Q, { shape: undefined }),
  entry('a shape that is a text', 'header', Q, { shape: '64' }),
  entry('a shape of texts', 'header', Q, { shape: ['64', '64'] }),
  entry('a shape that overflows', /overflows|bytes for its shape/, Q, { shape: [2 ** 40, 2 ** 40] }),
  entry('a shape that is not the data', 'bytes for its shape', Q, { shape: [1, 1, 64, 63] }),
  entry('a hundred thousand dimensions', 'npu.safetensors', Q, { shape: new Array(100_000).fill(1) }),
  entry('one offset', 'header', Q, { data_offsets: [0] }),
  entry('offsets in the wrong order', 'header', Q, { data_offsets: [64, 0] }),
  table('data beyond the end', 'LUTRA_BAD_FILE', 'truncated', (all) => Object.assign(all[Q] ?? {}, { data_offsets: [0, 10_000_000] })),
  table('a hole', 'LUTRA_BAD_FILE', 'hole', (all) => delete all[Q]),
  table('an overlap', 'LUTRA_BAD_FILE', 'overlaps', (all) => Object.assign(all, { extra: { ...all[Q] } })),
  table('a tensor of another name', 'LUTRA_NOT_FOUND', Q, (all) => {
    all.renamed = all[Q] ?? {};
    delete all[Q];
  }),
  table('a tensor of another type', 'LUTRA_BAD_FILE', 'layers.0.q.scale', (all) =>
    Object.assign(all['layers.0.q.scale'] ?? {}, { dtype: 'I32' }),
  ),
  table('a tensor of another shape', 'LUTRA_BAD_FILE', 'I8 [64, 64], the plan needs I8 [1, 1, 64, 64]', (all) =>
    Object.assign(all[Q] ?? {}, { shape: [64, 64] }),
  ),
  table('a name of a megabyte', 'LUTRA_NOT_FOUND', Q, (all) => {
    all['n'.repeat(2 ** 20)] = all[Q] ?? {};
    delete all[Q];
  }),
];

const contents: BadCase[] = [
  directory('weights of a model without NPU weights', 'LUTRA_BAD_FILE', 'npu.safetensors', (place) => {
    writeFileSync(join(place, 'npu.safetensors'), readFileSync(join(place, 'cpu.safetensors')));
  }),
  directory('one file for both', 'LUTRA_BAD_FILE', "'embed'", (place) => {
    writeFileSync(join(place, 'npu.safetensors'), readFileSync(join(place, 'cpu.safetensors')));
    reseal(place);
  }),
  ...['cpu', 'npu'].map((kind) =>
    directory(`data of ${kind}.safetensors that are not aligned`, 'LUTRA_BAD_FILE', 'aligned', (place) => {
      const path = join(place, `${kind}.safetensors`);
      const bytes = readFileSync(path);
      const end = 8 + Number(bytes.readBigUInt64LE());
      writeFileSync(path, withHeader(Buffer.from(`${bytes.toString('utf8', 8, end)} `), bytes.subarray(end)));
      reseal(place);
    }),
  ),
];

export const weightCases: BadCase[] = [...things, ...lengths, ...headers, ...contents];
