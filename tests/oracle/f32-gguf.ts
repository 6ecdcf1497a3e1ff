/**
 * Writes the values of a GGUF file once more as F32, so that another engine computes on exactly the same numbers without rounding
 * activations. Reads and expands the blocks itself: nothing of the converter under test is used.
 */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open, rename } from 'node:fs/promises';

interface TensorInfo {
  name: string;
  dims: number[];
  type: number;
  offset: number;
}

/** Bytes and elements of a block of the types that occur. */
const TYPES: Record<number, { bytes: number; elements: number }> = {
  0: { bytes: 4, elements: 1 }, // F32
  3: { bytes: 20, elements: 32 }, // Q4_1: d, m, 16 bytes of two codes
  8: { bytes: 34, elements: 32 }, // Q8_0: d, 32 codes
};

const SCALAR_BYTES: Record<number, number> = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const STRING = 8;
const ARRAY = 9;
const ALIGNMENT = 32;

/** Reads a GGUF header; only what is needed to find its parts. */
class Header {
  readonly #view: DataView;
  #at = 0;
  /** End of the metadata: everything before is copied. */
  metadataEnd = 0;
  tensors: TensorInfo[] = [];
  dataStart = 0;

  constructor(bytes: Buffer) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#u32() !== 0x46554747) throw new Error('not a GGUF file');
    if (this.#u32() !== 3) throw new Error('not GGUF version 3');
    const tensorCount = this.#u64();
    const keys = this.#u64();
    for (let i = 0; i < keys; i++) {
      this.#string();
      this.#skip(this.#u32());
    }
    this.metadataEnd = this.#at;
    for (let i = 0; i < tensorCount; i++) {
      const name = this.#string();
      const dims = Array.from({ length: this.#u32() }, () => this.#u64());
      this.tensors.push({ name, dims, type: this.#u32(), offset: this.#u64() });
    }
    this.dataStart = align(this.#at);
  }

  #u32(): number {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  #u64(): number {
    this.#at += 8;
    return Number(this.#view.getBigUint64(this.#at - 8, true));
  }

  #string(): string {
    const length = this.#u64();
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at, length);
    this.#at += length;
    return new TextDecoder().decode(bytes);
  }

  #skip(type: number): void {
    if (type === STRING) this.#string();
    else if (type === ARRAY) {
      const element = this.#u32();
      for (let count = this.#u64(); count > 0; count--) this.#skip(element);
    } else {
      const bytes = SCALAR_BYTES[type];
      if (bytes === undefined) throw new Error(`GGUF value of type ${type}`);
      this.#at += bytes;
    }
  }
}

const align = (at: number) => Math.ceil(at / ALIGNMENT) * ALIGNMENT;
const elementsOf = (tensor: TensorInfo) => tensor.dims.reduce((product, dim) => product * dim, 1);

function f16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Values of a tensor's blocks, in F32 arithmetic as the format defines them. */
export function expand(type: number, data: Buffer, elements: number): Float32Array {
  const out = new Float32Array(elements);
  if (type === 0) {
    for (let i = 0; i < elements; i++) out[i] = data.readFloatLE(4 * i);
    return out;
  }
  const block = TYPES[type];
  if (!block || type === 0) throw new Error(`tensor of type ${type}`);
  for (let b = 0; b * 32 < elements; b++) {
    const at = b * block.bytes;
    const d = f16(data.readUInt16LE(at));
    if (type === 8) {
      for (let i = 0; i < 32; i++) out[b * 32 + i] = d * data.readInt8(at + 2 + i);
      continue;
    }
    const m = f16(data.readUInt16LE(at + 2));
    for (let i = 0; i < 16; i++) {
      const codes = data[at + 4 + i] ?? 0;
      out[b * 32 + i] = d * (codes & 15) + m;
      out[b * 32 + 16 + i] = d * (codes >> 4) + m;
    }
  }
  return out;
}

function tensorTable(tensors: readonly TensorInfo[]): Buffer {
  const parts: Buffer[] = [];
  let offset = 0;
  for (const tensor of tensors) {
    const name = Buffer.from(tensor.name);
    const head = Buffer.alloc(8 + name.length + 4 + 8 * tensor.dims.length + 4 + 8);
    let at = head.writeBigUInt64LE(BigInt(name.length), 0);
    at += name.copy(head, at);
    at = head.writeUInt32LE(tensor.dims.length, at);
    for (const dim of tensor.dims) at = head.writeBigUInt64LE(BigInt(dim), at);
    at = head.writeUInt32LE(0, at);
    head.writeBigUInt64LE(BigInt(offset), at);
    parts.push(head);
    offset = align(offset + 4 * elementsOf(tensor));
  }
  return Buffer.concat(parts);
}

/** `output` appears whole or not at all. */
export async function writeF32Gguf(input: string, output: string): Promise<void> {
  const file = await open(input, 'r');
  const stream = createWriteStream(`${output}.part`, { highWaterMark: 1 << 22 });
  const write = async (data: Uint8Array) => {
    if (!stream.write(data)) await once(stream, 'drain');
  };
  try {
    const head = Buffer.alloc(Math.min((await file.stat()).size, 16 << 20));
    await file.read(head, 0, head.length, 0);
    const header = new Header(head);
    const table = tensorTable(header.tensors);
    const start = header.metadataEnd + table.length;
    await write(head.subarray(0, header.metadataEnd));
    await write(table);
    await write(Buffer.alloc(align(start) - start));
    for (const tensor of header.tensors) {
      const elements = elementsOf(tensor);
      const type = TYPES[tensor.type];
      if (!type) throw new Error(`tensor ${tensor.name} has type ${tensor.type}`);
      const data = Buffer.alloc((elements / type.elements) * type.bytes);
      await file.read(data, 0, data.length, header.dataStart + tensor.offset);
      const values = expand(tensor.type, data, elements);
      await write(new Uint8Array(values.buffer));
      await write(Buffer.alloc(align(values.byteLength) - values.byteLength));
    }
    stream.end();
    await once(stream, 'finish');
    await rename(`${output}.part`, output);
  } finally {
    await file.close();
    stream.destroy();
  }
}
