/** Writes GGUF files for tests: metadata of the types that models use, tensors in any ggml type as ready-made bytes. */
import { writeFileSync } from 'node:fs';

export type MetadataValue = string | boolean | { u32: number } | { f32: number } | string[] | { i32s: number[] };

export interface GgufTensorInput {
  name: string;
  /** ggml type code. */
  type: number;
  /** ggml order: columns first. */
  ne: number[];
  data: Uint8Array;
}

class Bytes {
  private readonly parts: Buffer[] = [];
  length = 0;

  push(part: Uint8Array): void {
    this.parts.push(Buffer.from(part.buffer, part.byteOffset, part.byteLength));
    this.length += part.length;
  }

  u32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.push(part);
  }

  u64(value: number): void {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(BigInt(value));
    this.push(part);
  }

  f32(value: number): void {
    const part = Buffer.alloc(4);
    part.writeFloatLE(value);
    this.push(part);
  }

  text(value: string): void {
    const part = Buffer.from(value, 'utf8');
    this.u64(part.length);
    this.push(part);
  }

  pad(alignment: number): void {
    this.push(Buffer.alloc((alignment - (this.length % alignment)) % alignment));
  }

  concat(): Buffer {
    return Buffer.concat(this.parts);
  }
}

function putValue(out: Bytes, value: MetadataValue): void {
  if (typeof value === 'string') {
    out.u32(8);
    out.text(value);
  } else if (typeof value === 'boolean') {
    out.u32(7);
    out.push(Uint8Array.of(Number(value)));
  } else if (Array.isArray(value)) {
    out.u32(9);
    out.u32(8);
    out.u64(value.length);
    for (const item of value) out.text(item);
  } else if ('i32s' in value) {
    out.u32(9);
    out.u32(5);
    out.u64(value.i32s.length);
    for (const item of value.i32s) out.u32(item);
  } else if ('u32' in value) {
    out.u32(4);
    out.u32(value.u32);
  } else {
    out.u32(6);
    out.f32(value.f32);
  }
}

/** The bytes of a GGUF v3 file; tensor data aligned to 32. */
export function ggufBytes(metadata: Record<string, MetadataValue>, tensors: readonly GgufTensorInput[]): Buffer {
  const out = new Bytes();
  out.push(Buffer.from('GGUF'));
  out.u32(3);
  out.u64(tensors.length);
  out.u64(Object.keys(metadata).length);
  for (const [key, value] of Object.entries(metadata)) {
    out.text(key);
    putValue(out, value);
  }
  let offset = 0;
  for (const tensor of tensors) {
    out.text(tensor.name);
    out.u32(tensor.ne.length);
    for (const length of tensor.ne) out.u64(length);
    out.u32(tensor.type);
    out.u64(offset);
    offset += Math.ceil(tensor.data.length / 32) * 32;
  }
  out.pad(32);
  for (const tensor of tensors) {
    out.push(tensor.data);
    out.pad(32);
  }
  return out.concat();
}

export function writeGguf(path: string, metadata: Record<string, MetadataValue>, tensors: readonly GgufTensorInput[]): void {
  writeFileSync(path, ggufBytes(metadata, tensors));
}
