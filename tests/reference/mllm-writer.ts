/** Files of mllm, both versions, written by the letter of the format. Nothing here is shared with the importer. */
import { fromHalf } from '../../lib/graph/half.js';
import type { StoredArray, TinyCheckpoint } from './checkpoint.js';

export interface MllmArray {
  type: number;
  /** Version 2 stores it. */
  shape: number[];
  data: Uint8Array;
}
export type MllmArrays = ReadonlyMap<string, MllmArray>;

export const MLLM_TYPES = { F32: 0, F16: 1, Q4_0: 2, Q4_1: 3, Q8_0: 8, Q4_K: 12, I8: 16, BF16: 128, U8: 129, BOOL: 156 } as const;

/** For each tensor, where its entry of the index begins, and where its data; with the whole file. */
export interface MllmFile {
  bytes: Buffer;
  entries: Map<string, { entry: number; data: number }>;
}

export function mllmFile(version: 1 | 2, tensors: MllmArrays): MllmFile {
  return version === 1 ? version1(tensors) : version2(tensors);
}

function version1(tensors: MllmArrays): MllmFile {
  const names = [...tensors.keys()];
  const indexBytes = names.reduce((sum, name) => sum + 24 + Buffer.byteLength(name), 0);
  const entries: MllmFile['entries'] = new Map();
  const head = Buffer.alloc(12);
  head.writeInt32LE(20012);
  head.writeBigUInt64LE(BigInt(indexBytes), 4);
  const index: Buffer[] = [];
  let [entry, data] = [12, 12 + indexBytes];
  for (const [name, { type, data: bytes }] of tensors) {
    const text = Buffer.from(name);
    const one = Buffer.alloc(24 + text.length);
    one.writeInt32LE(text.length);
    text.copy(one, 4);
    one.writeBigUInt64LE(BigInt(bytes.length), 4 + text.length);
    one.writeBigUInt64LE(BigInt(data), 12 + text.length);
    one.writeInt32LE(type, 20 + text.length);
    entries.set(name, { entry, data });
    index.push(one);
    entry += one.length;
    data += bytes.length;
  }
  return { bytes: Buffer.concat([head, ...index, ...[...tensors.values()].map((one) => one.data)]), entries };
}

function version2(tensors: MllmArrays): MllmFile {
  const entries: MllmFile['entries'] = new Map();
  const head = Buffer.alloc(532);
  head.writeInt32LE(0x519a);
  head.writeInt32LE(2, 4);
  head.write('tiny', 8);
  head.writeUInt32LE(tensors.size, 520);
  head.writeBigUInt64LE(532n, 524);
  const index = Buffer.alloc(352 * tensors.size);
  let data = 532 + index.length;
  for (const [i, [name, { type, shape, data: bytes }]] of [...tensors].entries()) {
    const at = 352 * i;
    index.writeUInt32LE(i, at);
    index.writeUInt32LE(type, at + 4);
    index.writeBigUInt64LE(BigInt(bytes.length), at + 8);
    index.writeBigUInt64LE(BigInt(data), at + 16);
    index.writeBigUInt64LE(BigInt(shape.length), at + 24);
    for (const [d, length] of shape.entries()) index.writeInt32LE(length, at + 32 + 4 * d);
    index.write(name, at + 96);
    entries.set(name, { entry: 532 + at, data });
    data += bytes.length;
  }
  return { bytes: Buffer.concat([head, index, ...[...tensors.values()].map((one) => one.data)]), entries };
}

/** The tensors of a checkpoint as they are: what mllm's converters write for the CPU. */
export function plainMllm({ tensors }: TinyCheckpoint): Map<string, MllmArray> {
  return new Map([...tensors].map(([name, { dtype, shape, data }]) => [name, { type: MLLM_TYPES[dtype as 'F32'], shape, data }]));
}

const bytesOf = (array: Float32Array | Int8Array): Uint8Array => new Uint8Array(array.slice().buffer);
export const oneFloat = (value: number): MllmArray => ({ type: MLLM_TYPES.F32, shape: [1], data: bytesOf(Float32Array.of(value)) });
export const oneFlag = (value: number): MllmArray => ({ type: MLLM_TYPES.I8, shape: [1], data: bytesOf(Int8Array.of(value)) });

const valuesOf = ({ data }: StoredArray): Float32Array =>
  Float32Array.from(new Uint16Array(data.buffer, data.byteOffset, data.length / 2), fromHalf);

export interface NpuMllm {
  file: Map<string, MllmArray>;
  /** The same model with the values that the codes stand for, as a checkpoint. */
  checkpoint: TinyCheckpoint;
}

/**
 * What mllm's converters write for the NPU: linears as codes [inputs, outputs] with one scale, amplitudes and flags beside them. `widened`: codes and flags as F32 numbers, as converters wrote
 * them for a time. `biases`: of q, k and v, as codes too.
 */
export function npuMllm(tiny: TinyCheckpoint, { widened = false } = {}): NpuMllm {
  const file = plainMllm(tiny);
  const tensors = new Map(tiny.tensors);
  for (const [name, stored] of tiny.tensors) {
    if (!/(_proj\.weight|_proj\.bias)$/.test(name)) continue;
    const values = valuesOf(stored);
    const scale = Math.fround(values.reduce((max, value) => Math.max(max, Math.abs(value)), 1e-6) / 127);
    const codes = Int8Array.from(values, (value) => Math.round(value / scale));
    const [rows = 1, cols = 1] = stored.shape;
    const turned = Int8Array.from(codes, (_, i) => codes[(i % rows) * cols + Math.floor(i / rows)] ?? 0);
    const as = (array: Int8Array, shape: number[]): MllmArray =>
      widened
        ? { type: MLLM_TYPES.F32, shape, data: bytesOf(Float32Array.from(array)) }
        : { type: MLLM_TYPES.I8, shape, data: bytesOf(array) };
    file.set(name, as(turned, stored.shape.toReversed()));
    file.set(`${name}.scale`, oneFloat(scale));
    const held = Float32Array.from(codes, (code) => code * scale);
    tensors.set(name, { dtype: 'F32', shape: stored.shape, data: bytesOf(held) });
    if (!name.endsWith('.weight')) continue;
    const linear = name.slice(0, -'.weight'.length);
    for (const side of ['input', 'output']) {
      file.set(`${linear}.${side}_scale`, oneFloat(3.5));
      file.set(`${linear}.clip_${side}`, as(Int8Array.of(side === 'input' ? 0 : 1), [1]));
    }
  }
  return { file, checkpoint: { ...tiny, tensors } };
}
