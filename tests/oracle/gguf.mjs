/**
 * Writes a GGUF file once more with other types, for another engine: as F32, so that it computes on exactly the same numbers without rounding activations, or with Q4_0 for Q4_1. Reads
 * and expands the blocks itself: nothing of the converter under test is used.
 */

import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { open, rename } from 'node:fs/promises';

/** @typedef {{ name: string, dims: number[], type: number, offset: number }} TensorInfo */

const F32 = 0;
const Q4_0 = 2;
const Q4_1 = 3;
const Q8_0 = 8;

/** Bytes and elements of a block of the types that occur. */
const TYPES = {
  [F32]: { bytes: 4, elements: 1 },
  [Q4_0]: { bytes: 18, elements: 32 }, // d, 16 bytes of two codes
  [Q4_1]: { bytes: 20, elements: 32 }, // d, m, 16 bytes of two codes
  [Q8_0]: { bytes: 34, elements: 32 }, // d, 32 codes
};

const SCALAR_BYTES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const STRING = 8;
const ARRAY = 9;
const ALIGNMENT = 32;

/** Reads a GGUF header; only what is needed to find its parts. */
class Header {
  /** @type {DataView} */
  #view;
  #at = 0;
  /** End of the metadata: everything before is copied. */
  metadataEnd = 0;
  /** @type {TensorInfo[]} */
  tensors = [];
  dataStart = 0;

  /** @param {Buffer} bytes */
  constructor(bytes) {
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

  #u32() {
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  #u64() {
    this.#at += 8;
    return Number(this.#view.getBigUint64(this.#at - 8, true));
  }

  #string() {
    const length = this.#u64();
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset + this.#at, length);
    this.#at += length;
    return new TextDecoder().decode(bytes);
  }

  #skip(type) {
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

const align = (at) => Math.ceil(at / ALIGNMENT) * ALIGNMENT;
const elementsOf = (tensor) => tensor.dims.reduce((product, dim) => product * dim, 1);

function f16(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * mantissa * 2 ** -24 : sign * (1024 + mantissa) * 2 ** (exponent - 25);
}

/** Values of a tensor's blocks, in F32 arithmetic as the format defines them. */
function expand(type, data, elements) {
  const out = new Float32Array(elements);
  if (type === F32) {
    for (let i = 0; i < elements; i++) out[i] = data.readFloatLE(4 * i);
    return out;
  }
  const block = TYPES[type];
  for (let b = 0; b * 32 < elements; b++) {
    const at = b * block.bytes;
    const d = f16(data.readUInt16LE(at));
    if (type === Q8_0) {
      for (let i = 0; i < 32; i++) out[b * 32 + i] = d * data.readInt8(at + 2 + i);
      continue;
    }
    const m = f16(data.readUInt16LE(at + 2));
    for (let i = 0; i < 16; i++) {
      const codes = data[at + 4 + i];
      out[b * 32 + i] = d * (codes & 15) + m;
      out[b * 32 + 16 + i] = d * (codes >> 4) + m;
    }
  }
  return out;
}

/** Blocks of Q4_0: the largest magnitude becomes code 0, which stands for −8. */
function quantize(values) {
  const { bytes, elements } = TYPES[Q4_0];
  const out = Buffer.alloc((values.length / elements) * bytes);
  for (let b = 0; b * elements < values.length; b++) {
    const block = values.subarray(b * elements, (b + 1) * elements);
    const extreme = block.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
    const d = f16Bits(extreme / -8);
    const scale = f16(d);
    const code = (x) => (scale === 0 ? 8 : Math.min(15, Math.max(0, Math.round(x / scale) + 8)));
    out.writeUInt16LE(d, b * bytes);
    for (let i = 0; i < 16; i++) out[b * bytes + 2 + i] = code(block[i]) | (code(block[16 + i]) << 4);
  }
  return out;
}

/** F16 nearest to a number in its range, ties away from zero. */
function f16Bits(x) {
  const sign = x < 0 ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  const exponent = Math.max(Math.floor(Math.log2(magnitude || 1e-30)), -14);
  return sign + ((exponent + 14) << 10) + Math.round(magnitude * 2 ** (10 - exponent));
}

/** @param {{ tensor: TensorInfo, type: number }[]} outputs */
function tensorTable(outputs) {
  const parts = [];
  let offset = 0;
  for (const { tensor, type } of outputs) {
    const name = Buffer.from(tensor.name);
    const head = Buffer.alloc(8 + name.length + 4 + 8 * tensor.dims.length + 4 + 8);
    let at = head.writeBigUInt64LE(BigInt(name.length), 0);
    at += name.copy(head, at);
    at = head.writeUInt32LE(tensor.dims.length, at);
    for (const dim of tensor.dims) at = head.writeBigUInt64LE(BigInt(dim), at);
    at = head.writeUInt32LE(type, at);
    head.writeBigUInt64LE(BigInt(offset), at);
    parts.push(head);
    offset = align(offset + bytesOf(tensor, type));
  }
  return Buffer.concat(parts);
}

const bytesOf = (tensor, type) => (elementsOf(tensor) / TYPES[type].elements) * TYPES[type].bytes;

/** `output` appears whole or not at all. */
async function rewrite(input, output, typeFor) {
  const file = await open(input, 'r');
  const stream = createWriteStream(`${output}.part`, { highWaterMark: 1 << 22 });
  const write = async (data) => {
    if (!stream.write(data)) await once(stream, 'drain');
  };
  try {
    const head = Buffer.alloc(Math.min((await file.stat()).size, 16 << 20));
    await file.read(head, 0, head.length, 0);
    const header = new Header(head);
    const outputs = header.tensors.map((tensor) => {
      if (!TYPES[tensor.type]) throw new Error(`tensor ${tensor.name} has type ${tensor.type}`);
      return { tensor, type: typeFor(tensor.type) };
    });
    const table = tensorTable(outputs);
    const start = header.metadataEnd + table.length;
    await write(head.subarray(0, header.metadataEnd));
    await write(table);
    await write(Buffer.alloc(align(start) - start));
    for (const { tensor, type } of outputs) {
      const data = Buffer.alloc(bytesOf(tensor, tensor.type));
      await file.read(data, 0, data.length, header.dataStart + tensor.offset);
      const values = () => expand(tensor.type, data, elementsOf(tensor));
      const bytes = type === tensor.type ? data : type === F32 ? new Uint8Array(values().buffer) : quantize(values());
      await write(bytes);
      await write(Buffer.alloc(align(bytes.length) - bytes.length));
    }
    stream.end();
    await once(stream, 'finish');
    await rename(`${output}.part`, output);
  } finally {
    await file.close();
    stream.destroy();
  }
}

/** Every tensor as F32. */
export const writeF32Gguf = (input, output) => rewrite(input, output, () => F32);

/** Tensors of Q4_1 as Q4_0, others as they are. */
export const writeQ40Gguf = (input, output) => rewrite(input, output, (type) => (type === Q4_1 ? Q4_0 : type));
