/** Half precision and bfloat16 as arrays. Little-endian machines only, like the formats. */
import { LutraError } from '../graph/errors.js';
import { fromHalf, toHalf } from '../graph/half.js';

export { fromHalf, toHalf };

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

/** Index of the first value that is infinite or not a number; −1: none is. */
export function notFinite(values: Float32Array): number {
  return values.findIndex((value) => value - value !== 0);
}

/** The same for the bits of halves. */
export function notFiniteHalf(halves: Uint16Array): number {
  return halves.findIndex((half) => (half & 0x7c00) === 0x7c00);
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
