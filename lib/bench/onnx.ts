/** ONNX models of MatMulNBits nodes, written byte by byte: a protobuf of a handful of messages. */

type Field = Uint8Array;

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

const integer = (field: number, value: number): Field => joined([varint(field * 8), varint(value)]);
const bytes = (field: number, value: Uint8Array): Field => joined([varint(field * 8 + 2), varint(value.length), value]);
const text = (field: number, value: string): Field => bytes(field, new TextEncoder().encode(value));
const message = (field: number, ...fields: Field[]): Field => bytes(field, joined(fields));

const FLOAT = 1;
const UINT8 = 2;
const INT = 2; // the type of an attribute

const attribute = (name: string, value: number): Field => message(5, text(1, name), integer(3, value), integer(20, INT));

const tensor = (name: string, type: number, dims: readonly number[], data: Uint8Array): Field =>
  message(5, ...dims.map((dim) => integer(1, dim)), integer(2, type), text(8, name), bytes(9, data));

const value = (field: number, name: string, dims: readonly number[]): Field =>
  message(field, text(1, name), message(2, message(1, integer(1, FLOAT), message(2, ...dims.map((dim) => message(1, integer(1, dim)))))));

export interface MatMulNBits {
  readonly bits: number;
  readonly block: number;
  /** Outputs and inputs of each node, and rows of x. */
  readonly rows: number;
  readonly columns: number;
  readonly n: number;
  /** Codes [rows, blocks, block · bits / 8], the first column of a byte in its low bits, and scales [rows, blocks], of each node. Values are (code − 2^(bits − 1)) · scale. */
  readonly weights: readonly { readonly codes: Uint8Array; readonly scales: Float32Array }[];
}

/** A model with input `x` [n, columns] and an output `y0`, `y1`, … [n, rows] for each node. Activations in 8 bits (accuracy level 4). */
export function matMulNBitsModel({ bits, block, rows, columns, n, weights }: MatMulNBits): Uint8Array {
  const blocks = columns / block;
  const attributes = { K: columns, N: rows, bits, block_size: block, accuracy_level: 4 };
  const graph = weights.flatMap(({ codes, scales }, i) => [
    message(
      1,
      ...['x', `w${i}`, `s${i}`].map((name) => text(1, name)),
      text(2, `y${i}`),
      text(3, `node${i}`),
      text(4, 'MatMulNBits'),
      ...Object.entries(attributes).map(([name, of]) => attribute(name, of)),
      text(7, 'com.microsoft'),
    ),
    tensor(`w${i}`, UINT8, [rows, blocks, (block * bits) / 8], codes),
    tensor(`s${i}`, FLOAT, [rows, blocks], new Uint8Array(scales.buffer, scales.byteOffset, scales.byteLength)),
    value(12, `y${i}`, [n, rows]),
  ]);
  const opset = (domain: string, version: number): Field => message(8, text(1, domain), integer(2, version));
  return joined([
    integer(1, 8),
    opset('', 17),
    opset('com.microsoft', 1),
    message(7, ...graph, text(2, 'g'), value(11, 'x', [n, columns])),
  ]);
}
