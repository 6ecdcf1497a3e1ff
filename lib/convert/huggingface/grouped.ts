/**
 * Linears of GPTQ and AWQ: unsigned codes in 32-bit words, with a scale and an integer zero point for each group of inputs and each output. value = (code − zero) · scale.
 *
 * Both hold the matrix as [inputs, outputs], lutra as [outputs, inputs]. With GPTQ's act-order the inputs of a group are not neighbours; they become so when columns are stored
 * in the order of their groups, and the input is read in that order, too.
 */
import type { BlockType, LowBitType } from '../../graph/dtype.js';
import { fromHalf, toHalf } from '../../graph/half.js';
import { floatsOf, notFinite } from '../floats.js';
import { checkFinite, groupsOf, type LowBitRows, lowBitSlab, type SlabTools, slabRanges, type TensorSource } from '../tensors.js';
import type { Checkpoint } from './checkpoint.js';

/** How unsigned numbers of a matrix lie in words. */
export interface Packing {
  /** Words of a matrix [a, b]; null: it does not fill whole words. */
  shape(a: number, b: number): [number, number] | null;
  /** Number (i, j) of a matrix whose rows of words are `width` long. */
  at(words: Uint32Array, width: number, i: number, j: number): number;
}

/** Number `index` of a stream of `bits` bits each, lowest first, in words that begin at `first` and are `stride` apart. */
function streamed(words: Uint32Array, first: number, stride: number, bits: number, index: number): number {
  const bit = index * bits;
  const word = first + (bit >>> 5) * stride;
  const shift = bit & 31;
  const low = words[word]! >>> shift;
  const value = shift + bits > 32 ? low | (words[word + stride]! << (32 - shift)) : low;
  return value & ((1 << bits) - 1);
}

const wordsOf = (count: number, bits: number): number | null => ((count * bits) % 32 === 0 ? (count * bits) / 32 : null);

/** Each column is a stream. */
export function down(bits: number): Packing {
  return {
    shape: (a, b) => {
      const words = wordsOf(a, bits);
      return words === null ? null : [words, b];
    },
    at: (words, width, i, j) => streamed(words, j, width, bits, i),
  };
}

/** Each row is a stream; `places`: where the numbers of a word lie in it, if not in order. */
export function across(bits: number, places?: readonly number[]): Packing {
  return {
    shape: (a, b) => {
      const words = wordsOf(b, bits);
      return words === null ? null : [a, words];
    },
    at: (words, width, i, j) => streamed(words, i * width, 1, bits, places ? j - (j % places.length) + places[j % places.length]! : j),
  };
}

export interface GroupedFormat {
  name: string;
  bits: 2 | 3 | 4;
  /** Inputs that share a scale; 0: all. */
  group: number;
  weights: Packing;
  zeros: Packing;
  /** Added to a stored zero point, modulo 2^bits. */
  zeroStep: 0 | 1;
  /** Whether `g_idx` may or must say which group an input belongs to. */
  order: 'never' | 'possible' | 'needed';
}

/** A linear as lutra holds it. */
export interface LowBitMatrix<Type extends BlockType = LowBitType> {
  type: Type;
  /** For each stored column the input's; null: the same. */
  order: Uint32Array | null;
  source: TensorSource;
  /** Names of the tensors that it is made of. */
  used: string[];
}

/** A linear of the checkpoint whose tensors are there with the right types and shapes. */
interface Opened {
  checkpoint: Checkpoint;
  format: GroupedFormat;
  prefix: string;
  rows: number;
  cols: number;
  /** Columns of a group of the checkpoint, and how many groups a row has. */
  group: number;
  groups: number;
}

function tensorOf({ checkpoint, prefix }: Opened, part: string, dtypes: readonly string[], shape: readonly number[] | null) {
  if (shape) return checkpoint.tensor(`${prefix}.${part}`, dtypes, shape);
  throw checkpoint.bad(`${prefix} has a shape whose ${part} does not fill words of 32 bits`);
}

const SCALES = ['F16', 'BF16', 'F32'] as const;

function scalesTensor(opened: Opened) {
  return tensorOf(opened, 'scales', SCALES, [opened.groups, opened.rows]);
}

function weightsTensor(opened: Opened) {
  return tensorOf(opened, 'qweight', ['I32'], opened.format.weights.shape(opened.cols, opened.rows));
}

async function wordsOfTensor(opened: Opened, tensor: ReturnType<typeof weightsTensor>): Promise<Uint32Array> {
  return new Uint32Array((await opened.checkpoint.read(tensor)).buffer);
}

/** Zero points [groups, rows]. */
async function readZeros(opened: Opened): Promise<Uint8Array> {
  const { format, rows, groups } = opened;
  const tensor = tensorOf(opened, 'qzeros', ['I32'], format.zeros.shape(groups, rows));
  const words = await wordsOfTensor(opened, tensor);
  const width = words.length / groups;
  const mask = (1 << format.bits) - 1;
  return Uint8Array.from({ length: groups * rows }, (_, i) => {
    const group = Math.floor(i / rows);
    return (format.zeros.at(words, width, group, i - group * rows) + format.zeroStep) & mask;
  });
}

/** The columns in the order of their groups, or null when they are. */
async function readOrder(opened: Opened): Promise<Uint32Array | null> {
  const { checkpoint, format, prefix, cols, group, groups } = opened;
  const name = `${prefix}.g_idx`;
  if (format.order === 'never' || (format.order === 'possible' && !checkpoint.tensors.has(name))) return null;
  const tensor = checkpoint.tensor(name, ['I32'], [cols]);
  const index = new Int32Array((await checkpoint.read(tensor)).buffer);
  const wrong = index.findIndex((one) => one < 0 || one >= groups);
  if (wrong >= 0) throw checkpoint.bad(`${name} puts input ${wrong} into group ${index[wrong]} of ${groups}`);
  // Some writers leave zeros where the order is that of the inputs.
  if (format.order === 'possible' && index.every((one) => one === 0)) return null;
  const order = Uint32Array.from(index, (_, column) => column).sort((a, b) => index[a]! - index[b]! || a - b);
  const uneven = order.findIndex((column, place) => index[column] !== Math.floor(place / group));
  if (uneven >= 0) throw checkpoint.bad(`${name} does not put ${group} inputs into every group`);
  return order.every((column, place) => column === place) ? null : order;
}

/** The largest group of lutra's that divides one of the checkpoint's. */
function storedGroup(group: number, groups: number): 0 | 32 | 64 | 128 {
  if (groups === 1) return 0;
  return ([128, 64, 32] as const).find((size) => group % size === 0) ?? 32;
}

/** Reads what decides how a linear is stored. Errors: LUTRA_BAD_FILE, LUTRA_IO. */
export async function openGrouped(
  checkpoint: Checkpoint,
  format: GroupedFormat,
  prefix: string,
  rows: number,
  cols: number,
): Promise<LowBitMatrix> {
  const group = format.group === 0 ? cols : format.group;
  const opened: Opened = { checkpoint, format, prefix, rows, cols, group, groups: Math.ceil(cols / group) };
  const bytes = [weightsTensor(opened), scalesTensor(opened)].reduce((sum, { begin, end }) => sum + end - begin, 0);
  const order = await readOrder(opened);
  const middle = 1 << (format.bits - 1);
  const symmetric = (await readZeros(opened)).every((zero) => zero === middle);
  const stored = storedGroup(group, opened.groups);
  const scaled = stored === 0 ? 'row' : (`g${stored}` as const);
  const type = `w${format.bits}${scaled}${symmetric ? '' : 'z'}` as const;
  const used = ['qweight', 'qzeros', 'scales', ...(format.order === 'never' ? [] : ['g_idx'])].map((part) => `${prefix}.${part}`);
  const place = { type, order, stored, symmetric };
  return { type, order, used, source: { name: prefix, bytes, slabs: (tools) => slabs(opened, place, tools) } };
}

interface Place {
  type: LowBitType;
  order: Uint32Array | null;
  stored: 0 | 32 | 64 | 128;
  /** All zero points are in the middle, as the type implies. */
  symmetric: boolean;
}

async function readScales(opened: Opened, stored: Place['stored']): Promise<Float32Array> {
  const { checkpoint, prefix } = opened;
  const tensor = scalesTensor(opened);
  const scales = floatsOf(tensor.dtype as (typeof SCALES)[number], await checkpoint.read(tensor));
  checkFinite(checkpoint.path, `${prefix}.scales`, notFinite(scales));
  const inexact = stored === 0 ? -1 : scales.findIndex((scale) => fromHalf(toHalf(scale)) !== scale);
  if (inexact >= 0)
    throw checkpoint.config.unsupported(
      `${prefix}.scales holds ${scales[inexact]}, which F16 does not hold exactly`,
      'Export the model with scales in F16.',
    );
  return scales;
}

/** Everything of a linear but its order, as it lies in the files. */
interface Contents {
  words: Uint32Array;
  /** [groups, rows] */
  scales: Float32Array;
  /** The same; null: the type implies them. */
  zeros: Uint8Array | null;
}

async function* slabs(opened: Opened, place: Place, tools: SlabTools): ReturnType<TensorSource['slabs']> {
  const { rows, cols } = opened;
  const contents: Contents = {
    words: await wordsOfTensor(opened, weightsTensor(opened)),
    scales: await readScales(opened, place.stored),
    zeros: place.symmetric ? null : await readZeros(opened),
  };
  for (const { first, count } of slabRanges(rows, cols)) {
    const data = unpacked(opened, place, contents, first, tools.scratch.bytes('codes', count * cols));
    yield lowBitSlab(tools, place.type, data, { first, rows: count, cols, order: place.order });
  }
}

/** Rows from `first` on, as many as `codes` takes. */
function unpacked(
  opened: Opened,
  { order, stored }: Place,
  { words, scales, zeros }: Contents,
  first: number,
  codes: Uint8Array,
): LowBitRows {
  const { format, rows, cols, group } = opened;
  const width = format.weights.shape(cols, rows)?.[1] ?? 0;
  const count = codes.length / cols;
  for (let col = 0; col < cols; col++) {
    const input = order ? order[col]! : col;
    for (let row = 0; row < count; row++) codes[row * cols + col] = format.weights.at(words, width, input, first + row);
  }
  const numbers = groupsOf(stored, cols);
  const spread = (of: ArrayLike<number>) =>
    Float32Array.from({ length: count * numbers }, (_, i) => {
      const row = Math.floor(i / numbers);
      return of[Math.floor(((i - row * numbers) * stored) / group) * rows + first + row]!;
    });
  return { codes, scales: spread(scales), offsets: zeros && spread(zeros) };
}
