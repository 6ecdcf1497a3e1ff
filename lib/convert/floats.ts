/** Half precision and bfloat16 as arrays. Little-endian machines only, like the formats. */
import { LutraError } from '../graph/errors.js';

const scratch = new DataView(new ArrayBuffer(4));

/** IEEE half of a number that is first rounded to F32; half to even, subnormals kept, overflow to infinity. */
export function toHalf(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Below the smallest normal half a step is 2^-24: scaling is exact, so one rounding decides.
    const steps = Math.abs(Math.fround(value)) * 2 ** 24;
    const floor = Math.floor(steps);
    const rest = steps - floor;
    return sign | (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0));
  }
  const rebased = magnitude - 0x38000000;
  return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
}

export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

let halfTable: Float32Array | undefined;

/** The value of every half by its bits. */
function halves(): Float32Array {
  halfTable ??= Float32Array.from({ length: 65_536 }, (_, half) => fromHalf(half));
  return halfTable;
}

/** F16 of F32 values; LUTRA_UNSUPPORTED when one is too large (or not a number). `what` names them. */
export function halvesOf(values: Float32Array, what: string): Uint16Array {
  return Uint16Array.from(values, (value) => {
    const half = toHalf(value);
    if ((half & 0x7c00) === 0x7c00) throw new LutraError('LUTRA_UNSUPPORTED', `${what} holds ${value}, which F16 cannot`);
    return half;
  });
}

/** Little-endian bytes of a float type as F32, exactly. */
export function floatsOf(type: 'F32' | 'F16' | 'BF16', bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(bytes.length / (type === 'F32' ? 4 : 2));
  switch (type) {
    case 'F32':
      new Uint8Array(out.buffer).set(bytes);
      break;
    case 'F16': {
      const table = halves();
      for (let i = 0; i < out.length; i++) out[i] = table[view.getUint16(2 * i, true)] ?? 0;
      break;
    }
    case 'BF16': {
      const words = new Uint32Array(out.buffer);
      for (let i = 0; i < out.length; i++) words[i] = view.getUint16(2 * i, true) << 16;
      break;
    }
  }
  return out;
}
