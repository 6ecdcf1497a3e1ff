/** Between floats and what tensors hold: F16 as bits, fixed point under an encoding. */
import { LutraError } from '../../graph/errors.js';
import { type ArrayOf, type FixedPoint, limitsOf, QNN_DTYPES } from './dtype.js';
import type { AxisEncoding, ScaleOffset } from './encoding.js';
import { type Dims, elementsOf } from './tensor.js';

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** Bits of the half nearest to `value`, ties to even; too large becomes infinity. */
function halfBits(value: number): number {
  float[0] = value;
  const bits = word[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  if (magnitude < 0x33000000) return sign;
  const exponent = magnitude >>> 23;
  // The bits of the fraction that a half has room for; subnormal halves have fewer.
  const dropped = exponent < 113 ? 126 - exponent : 13;
  const fraction = exponent < 113 ? (magnitude & 0x7fffff) | 0x800000 : magnitude - 0x38000000;
  const kept = fraction >>> dropped;
  const rest = fraction & ((1 << dropped) - 1);
  const middle = 1 << (dropped - 1);
  return sign | (kept + (rest > middle || (rest === middle && (kept & 1) === 1) ? 1 : 0));
}

/** F16 bits of numbers, rounded to nearest even; what is too large becomes infinity. */
export function toF16(values: ArrayLike<number>): Uint16Array {
  const out = new Uint16Array(values.length);
  for (let i = 0; i < out.length; i++) out[i] = halfBits(values[i]!);
  return out;
}

/** The exact values of F16 bits. */
export function fromF16(bits: Uint16Array): Float32Array {
  const out = new Float32Array(bits.length);
  for (let i = 0; i < out.length; i++) {
    const half = bits[i]!;
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const sign = half & 0x8000 ? -1 : 1;
    if (exponent === 31) out[i] = fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
    else out[i] = sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
  }
  return out;
}

/** Scale and offset of element `i` in row-major order. */
function parameters(
  encoding: ScaleOffset | AxisEncoding,
  dims: Dims | undefined,
  length: number,
): (i: number) => { scale: number; offset: number } {
  if (encoding.kind === 'scaleOffset') return () => encoding;
  if (dims === undefined || elementsOf(dims) !== length || dims[encoding.axis] !== encoding.scales.length) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `${length} values in [${dims?.join(', ') ?? ''}] do not fit ${encoding.scales.length} scales on axis ${encoding.axis}.`,
    );
  }
  const inner = elementsOf(dims.slice(encoding.axis + 1));
  return (i) => {
    const channel = Math.floor(i / inner) % encoding.scales.length;
    return { scale: encoding.scales[channel]!, offset: encoding.offsets?.[channel] ?? 0 };
  };
}

function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** q = round(value / scale) − offset, half to even, saturated. `dims` are needed for scales on an axis. */
export function quantize<D extends FixedPoint>(
  values: ArrayLike<number>,
  dtype: D,
  encoding: ScaleOffset | AxisEncoding,
  dims?: Dims,
): ArrayOf[D] {
  const { lo, hi } = limitsOf(dtype);
  const at = parameters(encoding, dims, values.length);
  const out = new QNN_DTYPES[dtype].array(values.length);
  for (let i = 0; i < out.length; i++) {
    const { scale, offset } = at(i);
    out[i] = Math.min(hi, Math.max(lo, roundHalfEven(values[i]! / scale) - offset));
  }
  return out as ArrayOf[D];
}

/** (q + offset) · scale. */
export function dequantize(codes: ArrayLike<number>, encoding: ScaleOffset | AxisEncoding, dims?: Dims): Float32Array {
  const at = parameters(encoding, dims, codes.length);
  const out = new Float32Array(codes.length);
  for (let i = 0; i < out.length; i++) {
    const { scale, offset } = at(i);
    out[i] = (codes[i]! + offset) * scale;
  }
  return out;
}

/** Symmetric scales max|w| / hi per index of a dimension, for weights: `axis(dimension, …)`. */
export function channelScales(
  values: ArrayLike<number>,
  dims: Dims,
  dimension: number,
  dtype: 's8' | 's16' = 's8',
  bits?: number,
): Float32Array {
  const count = dims[dimension];
  if (count === undefined || elementsOf(dims) !== values.length) {
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${values.length} values are not [${dims.join(', ')}] with a dimension ${dimension}.`);
  }
  const hi = bits === undefined ? limitsOf(dtype).hi : 2 ** (bits - 1) - 1;
  const inner = elementsOf(dims.slice(dimension + 1));
  const largest = new Float32Array(count);
  for (let i = 0; i < values.length; i++) {
    const channel = Math.floor(i / inner) % count;
    largest[channel] = Math.max(largest[channel]!, Math.abs(values[i]!));
  }
  return largest.map((value) => value / hi || 1);
}
