/** Packed weights and their products. */
import { crc32 } from 'node:zlib';
import { kernels } from '../../../lib/index.js';
import { type BadCase, bad, made } from './case.js';

const [ROWS, COLUMNS] = [16, 64];
const FORMAT = 'w2g32';
const shape = { rows: ROWS, columns: COLUMNS };
const values = new Float32Array(ROWS * COLUMNS).fill(0.5);
const codes = new Uint8Array(ROWS * COLUMNS).fill(3);
const scales = new Float32Array(ROWS * 2).fill(0.1);
const blocks = new Uint8Array((ROWS * COLUMNS * 18) / 32);
const x = new Float32Array(COLUMNS).fill(1);

const detached = <A extends Float32Array | Uint8Array>(array: A): A => {
  const copy = array.slice() as A;
  structuredClone(copy.buffer, { transfer: [copy.buffer as ArrayBuffer] });
  return copy;
};
const shared = (array: Float32Array | Uint8Array) => {
  const memory = new SharedArrayBuffer(array.byteLength);
  return array instanceof Float32Array ? new Float32Array(memory) : new Uint8Array(memory);
};
const replaced = (array: Float32Array, value: number) => array.with(array.length - 1, value);

/** Packs; a weight that should not have been made is freed. */
const pack = (name: string, says: string | RegExp, options: unknown): BadCase =>
  bad(name, 'LUTRA_INVALID_ARGUMENT', says, () => kernels.pack(options as kernels.PackOptions).dispose());
const fromValues = (name: string, says: string | RegExp, change: object): BadCase =>
  pack(name, says, { ...shape, format: FORMAT, values, ...change });
const fromCodes = (name: string, says: string | RegExp, change: object): BadCase =>
  pack(name, says, { ...shape, format: FORMAT, codes, scales, ...change });
const fromBlocks = (name: string, says: string | RegExp, change: object): BadCase =>
  pack(name, says, { ...shape, format: 'q4_0', blocks, ...change });

const packing: BadCase[] = [
  pack('null to pack', 'null', null),
  pack('a list to pack', 'a list', []),
  pack('nothing to pack', 'one source', { ...shape, format: FORMAT }),
  fromValues('values and codes', 'one source', { codes }),
  fromValues('an option of pack that is not there', "did you mean 'values'", { value: 1 }),
  ...['w5g32', 'w2g33', 'w2', 'W2G32', '', 'f32', 'constructor', 7, null, undefined].map((format) =>
    fromValues(`the format ${JSON.stringify(format)}`, 'There is no weight format', { format }),
  ),
  ...[0, -1, 1.5, Number.NaN, 2 ** 32, '16', undefined].flatMap((count) => [
    fromValues(`${count} rows`, /rows|cannot be packed/, { rows: count }),
    fromValues(`${count} columns`, /columns|cannot be packed/, { columns: count }),
  ]),
  fromValues('the largest shape there is', '4294967295 x 4294967295', { rows: 2 ** 32 - 1, columns: 2 ** 32 - 1 }),
  fromValues('a value too few', 'values has 1023 elements, expected 1024', { values: values.subarray(1) }),
  fromValues('no values', 'values has 0 elements', { values: new Float32Array() }),
  fromValues('values that are a list', 'Float32Array', { values: [...values] }),
  fromValues('values in F64', 'Float32Array', { values: new Float64Array(1024) }),
  fromValues('detached values', 'detached', { values: detached(values) }),
  fromValues('values in shared memory', 'shared', { values: shared(values) }),
  ...[Number.NaN, Number.POSITIVE_INFINITY].map((value) =>
    fromValues(`${value} among the values`, 'values[1023]', { values: replaced(values, value) }),
  ),
  fromValues('values whose scale F16 does not hold', 'values[0] = 500000', { values: values.map((v) => v * 1e6) }),
  fromValues('values whose minimum F16 does not hold', 'values[0] = 500000', {
    format: 'w2g32m',
    values: values.map((v) => v * 1e6),
  }),
  fromValues('a value beyond F32 scales', 'values[1023]', { format: 'w2row', values: replaced(values, 3e38) }),
  fromValues('an importance too few', 'importance has 63 elements', { importance: x.subarray(1) }),
  fromValues('an importance of zero', 'importance[63] = 0', { importance: replaced(x, 0) }),
  fromValues('an importance of NaN', 'importance[63]', { importance: replaced(x, Number.NaN) }),
  fromValues('an importance in shared memory', 'shared', { importance: shared(x) }),
  fromValues('values with scales', 'no scales', { scales }),
  fromValues('values for blocks', 'packed from blocks', { format: 'q4_0' }),
  fromCodes('codes without scales', 'without scales', { scales: undefined }),
  fromCodes('a code too many', 'codes has 1025 elements', { codes: new Uint8Array(1025) }),
  fromCodes('a code beyond its bits', 'codes[5] = 4 is not below 4', { codes: codes.with(5, 4) }),
  fromCodes('signed codes', 'Uint8Array', { codes: new Int8Array(1024) }),
  fromCodes('detached codes', 'detached', { codes: detached(codes) }),
  fromCodes('codes in shared memory', 'shared', { codes: shared(codes) }),
  fromCodes('a scale too few', 'scales has 31 elements, expected 32', { scales: scales.subarray(1) }),
  fromCodes('detached scales', 'detached', { scales: detached(scales) }),
  fromCodes('a scale of NaN', 'scales[31]', { scales: replaced(scales, Number.NaN) }),
  fromCodes('an infinite scale', 'scales[31]', { scales: replaced(scales, Number.NEGATIVE_INFINITY) }),
  fromCodes('a scale that F16 does not hold', 'the scale of row 15, columns from 32, is infinite', { scales: replaced(scales, 7e4) }),
  fromCodes('offsets that the format has not', 'has no offsets', { offsets: scales }),
  fromCodes('offsets that are missing', 'needs offsets', { format: 'w2g32m' }),
  fromCodes('an offset too few', 'offsets has 31 elements', { format: 'w2g32m', offsets: scales.subarray(1) }),
  fromCodes('a minimum of NaN', 'offsets[31]', { format: 'w2g32m', offsets: replaced(scales, Number.NaN) }),
  fromCodes('a zero point of one half', 'offsets[31] = 0.5', {
    format: 'w2g32z',
    offsets: replaced(
      scales.map(() => 1),
      0.5,
    ),
  }),
  fromCodes('a zero point of 1e6', 'offsets[31]', {
    format: 'w2g32z',
    offsets: replaced(
      scales.map(() => 1),
      1e6,
    ),
  }),
  fromCodes('codes with importance', 'importance', { importance: x }),
  fromBlocks('blocks of a low-bit format', 'has no blocks', { format: FORMAT }),
  fromBlocks('half a block', 'blocks has 567 elements', { blocks: blocks.subarray(9) }),
  fromBlocks('blocks of columns that are not whole', '16 x 63 cannot be packed', { columns: 63 }),
  fromBlocks('blocks in shared memory', 'shared', { blocks: shared(blocks) }),
  fromBlocks('blocks with a scale of NaN', 'the scale of row 0, columns from 0, is NaN', { blocks: blocks.with(1, 0x7e) }),
  fromBlocks('blocks with an infinite minimum', 'the offset of row 0', {
    format: 'q4_1',
    blocks: new Uint8Array((ROWS * COLUMNS * 20) / 32).with(3, 0x7c),
  }),
  fromBlocks('blocks with scales', 'scales', { scales }),
];

/** A weight that is there for all cases. */
let kept: kernels.Weight | undefined;
function weight(): kernels.Weight {
  kept ??= kernels.pack({ ...shape, format: FORMAT, values });
  return kept;
}

const gemv = (name: string, code: BadCase['code'], says: string | RegExp, of: unknown, options: unknown = {}): BadCase =>
  bad(name, code, says, () => kernels.gemv(weight(), of as Float32Array, options as kernels.GemvOptions));
const argument = (name: string, says: string | RegExp, of: unknown, options: unknown = {}): BadCase =>
  gemv(name, 'LUTRA_INVALID_ARGUMENT', says, of, options);

const lacking = kernels.list().find(({ available, formats }) => !available && formats.includes(FORMAT));

const products: BadCase[] = [
  ...[undefined, null, 7, {}, [], values].map((value) =>
    bad(`${Object.prototype.toString.call(value)} for a weight`, 'LUTRA_INVALID_ARGUMENT', 'no packed weight', () =>
      kernels.gemv(value as kernels.Weight, x),
    ),
  ),
  bad('a weight that JavaScript made', 'LUTRA_INVALID_ARGUMENT', 'no packed weight', () =>
    kernels.dequantize(Object.create(kernels.Weight.prototype) as kernels.Weight),
  ),
  argument('no x', 'Float32Array', undefined),
  argument('an x that is a list', 'Float32Array', [...x]),
  argument('an x in F64', 'Float32Array', new Float64Array(COLUMNS)),
  argument('an empty x', 'x has 0 elements, expected 64', new Float32Array()),
  argument('an activation too few', 'x has 63 elements, expected 64', x.subarray(1)),
  argument('an activation too many', 'x has 65 elements, expected 64', new Float32Array(65)),
  argument('another number of rows', 'x has 64 elements, expected 192', x, { n: 3 }),
  argument('a detached x', 'detached', detached(x)),
  argument('an x in shared memory', 'shared', shared(x)),
  argument('NaN among the activations', 'x[63]', replaced(x, Number.NaN)),
  argument('an infinite activation', 'x[63]', replaced(x, Number.NEGATIVE_INFINITY)),
  argument('null for options of gemv', 'null', x, null),
  argument('an option of gemv that is not there', "did you mean 'threads'", x, { thread: 2 }),
  ...[0, -1, 1.5, Number.NaN, 2 ** 32, '1'].map((n) => argument(`n of ${JSON.stringify(n)} or so: ${String(n)}`, "'n'", x, { n })),
  ...[0, -1, 1.5, Number.NaN, 1e9, '2'].map((threads) =>
    argument(`${JSON.stringify(threads)} threads: ${String(threads)}`, "'threads'", x, { threads }),
  ),
  argument('a y that is a list', "'y'", x, { y: [] }),
  argument('a y too short', 'y has 15 elements, expected 16', x, { y: new Float32Array(15) }),
  argument('a y too long', 'y has 17 elements, expected 16', x, { y: new Float32Array(17) }),
  argument('a detached y', 'detached', x, { y: detached(new Float32Array(ROWS)) }),
  argument('a y in shared memory', 'shared', x, { y: shared(new Float32Array(ROWS)) }),
  argument('a kernel that is not there', "'lut-mmx'", x, { kernel: 'lut-mmx' }),
  argument('a kernel that is a number', "'kernel'", x, { kernel: 7 }),
  argument('a kernel of other formats', 'does not multiply w2g32', x, { kernel: 'linear-portable' }),
  bad('a kernel of fewer bits', 'LUTRA_INVALID_ARGUMENT', 'does not multiply w4g32', () => {
    const four = kernels.pack({ ...shape, format: 'w4g32', values });
    try {
      kernels.gemv(four, x, { kernel: 'lut-portable' });
    } finally {
      four.dispose();
    }
  }),
  ...(lacking ? [gemv('a kernel that the processor cannot run', 'LUTRA_UNSUPPORTED', lacking.isa, x, { kernel: lacking.name })] : []),
];

const disposed = (name: string, use: (of: kernels.Weight) => unknown): BadCase =>
  bad(name, 'LUTRA_DISPOSED', 'disposed', () => {
    const one = kernels.pack({ ...shape, format: FORMAT, values });
    one.dispose();
    use(one);
  });

const bytes = (
  name: string,
  says: string | RegExp,
  change: (good: Uint8Array<ArrayBuffer>) => unknown,
  code: BadCase['code'] = 'LUTRA_BAD_FILE',
): BadCase =>
  made(
    name,
    code,
    says,
    () => change(new Uint8Array(weight().toBytes())),
    (damaged) => kernels.Weight.fromBytes(damaged as Uint8Array).dispose(),
  );

/** The file up to `end`, under a header that was changed and a checksum that fits. */
function resealed(good: Uint8Array, change: (header: DataView) => void, end = good.length): Uint8Array {
  const file = good.slice(0, end);
  const header = new DataView(file.buffer);
  header.setUint32(24, end - 64, true);
  change(header);
  header.setUint32(20, 0, true);
  header.setUint32(20, crc32(file), true);
  return file;
}

const files: BadCase[] = [
  disposed('a product with a disposed weight', (of) => kernels.gemv(of, x)),
  disposed('values of a disposed weight', (of) => kernels.dequantize(of)),
  disposed('bytes of a disposed weight', (of) => of.toBytes()),
  bytes('no bytes', 'Uint8Array', () => undefined, 'LUTRA_INVALID_ARGUMENT'),
  bytes('a text for bytes', 'Uint8Array', () => 'LULW', 'LUTRA_INVALID_ARGUMENT'),
  bytes('words for bytes', 'Uint8Array', (good) => new Uint16Array(good), 'LUTRA_INVALID_ARGUMENT'),
  bytes('detached bytes', 'detached', detached, 'LUTRA_INVALID_ARGUMENT'),
  bytes('bytes in shared memory', 'shared', shared, 'LUTRA_INVALID_ARGUMENT'),
  bytes('empty bytes', 'they are 0', () => new Uint8Array()),
  bytes('a header cut off', 'they are 63', (good) => good.subarray(0, 63)),
  bytes('half the bytes', 'bytes of data', (good) => good.subarray(0, good.length >> 1)),
  bytes('a byte too many', 'bytes of data', (good) => Uint8Array.of(...good, 0)),
  bytes('noise', 'LULW', (good) => good.fill(0x5a)),
  bytes('an earlier version', 'version 0, not 1', (good) => good.with(4, 0)),
  bytes('a later version', 'version 2, not 1', (good) => good.with(4, 2)),
  bytes('another format', 'checksum', (good) => good.with(8, 34)),
  bytes('4 billion rows', 'checksum', (good) => good.with(12, 255).with(13, 255).with(14, 255).with(15, 255)),
  bytes('a format that is not there, with a checksum that fits', 'type 80, 16 x 64', (good) =>
    resealed(good, (h) => h.setUint32(8, 80, true)),
  ),
  bytes('more rows than data', '1600 x 64', (good) => resealed(good, (h) => h.setUint32(12, 1600, true))),
  bytes('so many rows that their tiles wrap around', '4294967295 x 64', (good) =>
    resealed(good, (h) => h.setUint32(12, 2 ** 32 - 1, true), 64),
  ),
  bytes('no columns', '16 x 0', (good) => resealed(good, (h) => h.setUint32(16, 0, true), 64)),
  bytes('a scale of NaN in the data', 'is NaN', (good) => resealed(good, (h) => h.setUint16(good.length - 2, 0x7e00, true))),
  bytes('a flipped bit of the data', 'checksum', (good) => good.with(100, good[100]! ^ 1)),
  bytes('a flipped bit at the end', 'checksum', (good) => good.with(good.length - 1, good.at(-1)! ^ 128)),
];

const linear = {
  inputs: COLUMNS,
  outputs: ROWS,
  codes: new Int8Array(ROWS * COLUMNS).fill(3),
  scales: new Float32Array(ROWS).fill(0.1),
  input: { scale: 0.05 },
  output: { scale: 0.5 },
};
const shadow = (name: string, says: string | RegExp, change: object, of: unknown = x, options: unknown = {}): BadCase =>
  bad(name, 'LUTRA_INVALID_ARGUMENT', says, () =>
    kernels.shadowLinear({ ...linear, ...change } as kernels.ShadowLinear, of as Float32Array, options as kernels.ShadowOptions),
  );
const shadowOption = (name: string, says: string | RegExp, options: unknown, of: unknown = x) => shadow(name, says, {}, of, options);
const shadowRange = (name: string, says: string | RegExp, range: unknown) => shadow(name, says, { input: range });

const shadows: BadCase[] = [
  ...[null, undefined, 7, 'linear', []].map((value) =>
    bad(`${JSON.stringify(value)} for a linear`, 'LUTRA_INVALID_ARGUMENT', 'not an object', () =>
      kernels.shadowLinear(value as unknown as kernels.ShadowLinear, x),
    ),
  ),
  shadow('a member of a linear that is not there', "did you mean 'scales'?", { scale: 1 }),
  ...[0, -1, 1.5, 65_537, Number.NaN, '64'].map((inputs) => shadow(`${JSON.stringify(inputs)} inputs: ${inputs}`, "'inputs'", { inputs })),
  ...[0, 2 ** 32, '16'].map((outputs) => shadow(`${JSON.stringify(outputs)} outputs`, "'outputs'", { outputs })),
  shadow('no number of inputs', 'A linear of undefined inputs', { inputs: undefined }),
  shadow('no number of outputs', 'A linear of 64 inputs and undefined outputs', { outputs: undefined }),
  shadow('a code too few', 'codes has 1023 elements, expected 1024', { codes: linear.codes.subarray(1) }),
  shadow('as many outputs as there may be', 'codes has 1024 elements', { outputs: 2 ** 32 - 1 }),
  shadow('unsigned codes', 'codes is not a Int8Array', { codes }),
  shadow('no codes', 'codes', { codes: undefined }),
  shadow('codes of a linear in shared memory', 'shared', { codes: new Int8Array(new SharedArrayBuffer(ROWS * COLUMNS)) }),
  shadow('a scale of a linear too many', 'scales has 17 elements, expected 16', { scales: new Float32Array(17) }),
  shadow('a scale of NaN in a linear', 'scales[15]', { scales: replaced(linear.scales, Number.NaN) }),
  shadow('a negative scale in a linear', 'scales[15] = -1', { scales: replaced(linear.scales, -1) }),
  shadow('scales and ranges that do not belong together', 'is 5e+66 steps of the output', {
    scales: replaced(linear.scales, 1e38),
    output: { scale: 1e-30 },
  }),
  shadowRange('no range', 'no range of its inputs', undefined),
  shadowRange('null for a range', 'null', null),
  shadowRange('a number for a range', '0.05', 0.05),
  shadowRange('a range without a step', 'The range of the inputs has no scale', {}),
  shadowRange('a member of a range that is not there', "did you mean 'scale'?", { scales: 1 }),
  ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY, '1'].map((scale) =>
    shadowRange(`steps of ${JSON.stringify(scale)}: ${scale}`, "'scale'", { scale }),
  ),
  ...[1e-45, 1e-300, 1e300, 3e38].map((scale) => shadowRange(`steps of ${scale}`, 'the scale of the input', { scale })),
  ...[0.5, 128, -129, '0'].map((zeroPoint) =>
    shadowRange(`a zero point ${JSON.stringify(zeroPoint)}`, /zero point|'zeroPoint'/, { scale: 1, zeroPoint }),
  ),
  shadowRange('a negative zero point of unsigned codes', 'a code from 0 to 255', { scale: 1, zeroPoint: -1, signed: false }),
  shadowRange('signed codes that are neither', "'signed'", { scale: 1, signed: 1 }),
  shadowOption('activations of a shadow linear in F64', 'F16 values', {}, new Float64Array(COLUMNS)),
  shadowOption('no activations', 'x has 0 elements, expected 64', {}, new Float32Array()),
  shadowOption('a row and a half', 'x has 96 elements, expected 64', {}, new Float32Array(96)),
  shadowOption('NaN for an activation', 'x[63]', {}, replaced(x, Number.NaN)),
  shadowOption('an infinite activation in F16', 'x[63]', {}, new Uint16Array(COLUMNS).with(63, 0x7c00)),
  shadowOption('detached activations', 'detached', {}, detached(x)),
  shadowOption('a base too short', 'base has 15 elements, expected 16', { base: new Float32Array(15) }),
  shadowOption('a base of NaN', 'base[15]', { base: replaced(new Float32Array(16), Number.NaN) }),
  shadowOption('outputs of an NPU of the other sign', 'Int8Array, as its range is signed', { quantized: new Uint8Array(16) }),
  shadowOption('an output of an NPU too many', 'quantized has 17 elements', { quantized: new Int8Array(17) }),
  shadowOption('a result too short', 'y has 15 elements', { y: new Float32Array(15) }),
  shadowOption('a repair that is a number', "'repair'", { repair: 1 }),
  shadowOption('an option of shadowLinear that is not there', "did you mean 'repair'?", { repairs: true }),
  shadowOption('no threads', "'threads'", { threads: 0 }),
];

export const kernelCases: BadCase[] = [...packing, ...products, ...files, ...shadows];
