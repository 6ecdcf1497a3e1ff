/** Element types of QNN tensors: their numbers in the interface, their sizes and the typed arrays that hold them. */
import { LutraError } from '../../graph/errors.js';
import type { TypedArray } from '../../native/qnn-addon.js';

/**
 * `u8` … `s32`: fixed point, which needs an encoding. `uint8` … `int64`, `f16` …, `bool8`: the values themselves.
 * F16 is held as bits; `toF16` and `fromF16` convert.
 */
export interface ArrayOf {
  u8: Uint8Array;
  s8: Int8Array;
  u16: Uint16Array;
  s16: Int16Array;
  u32: Uint32Array;
  s32: Int32Array;
  uint8: Uint8Array;
  int8: Int8Array;
  uint16: Uint16Array;
  int16: Int16Array;
  uint32: Uint32Array;
  int32: Int32Array;
  uint64: BigUint64Array;
  int64: BigInt64Array;
  f16: Uint16Array;
  f32: Float32Array;
  f64: Float64Array;
  bool8: Uint8Array;
}

export type DType = keyof ArrayOf;
export type FixedPoint = 'u8' | 's8' | 'u16' | 's16' | 'u32' | 's32';
export type PlainType = Exclude<DType, FixedPoint>;

/** The array of a type, as a constructor. */
interface ArrayType<A extends TypedArray> {
  readonly name: string;
  readonly BYTES_PER_ELEMENT: number;
  new (length: number): A;
  new (buffer: ArrayBuffer): A;
}

type DTypeTable = { readonly [D in DType]: { readonly code: number; readonly array: ArrayType<ArrayOf[D]> } };

export const QNN_DTYPES: DTypeTable = {
  u8: { code: 0x0408, array: Uint8Array },
  s8: { code: 0x0308, array: Int8Array },
  u16: { code: 0x0416, array: Uint16Array },
  s16: { code: 0x0316, array: Int16Array },
  u32: { code: 0x0432, array: Uint32Array },
  s32: { code: 0x0332, array: Int32Array },
  uint8: { code: 0x0108, array: Uint8Array },
  int8: { code: 0x0008, array: Int8Array },
  uint16: { code: 0x0116, array: Uint16Array },
  int16: { code: 0x0016, array: Int16Array },
  uint32: { code: 0x0132, array: Uint32Array },
  int32: { code: 0x0032, array: Int32Array },
  uint64: { code: 0x0164, array: BigUint64Array },
  int64: { code: 0x0064, array: BigInt64Array },
  f16: { code: 0x0216, array: Uint16Array },
  f32: { code: 0x0232, array: Float32Array },
  f64: { code: 0x0264, array: Float64Array },
  bool8: { code: 0x0508, array: Uint8Array },
};

const byCode = new Map<number, DType>((Object.keys(QNN_DTYPES) as DType[]).map((name) => [QNN_DTYPES[name].code, name]));

/** The type of a number of the interface, or undefined for one that lutra has no arrays for. */
export function dtypeOfCode(code: number): DType | undefined {
  return byCode.get(code);
}

export function isDType(value: unknown): value is DType {
  return typeof value === 'string' && Object.hasOwn(QNN_DTYPES, value);
}

export function isFixedPoint(dtype: DType): dtype is FixedPoint {
  return dtype === 'u8' || dtype === 's8' || dtype === 'u16' || dtype === 's16' || dtype === 'u32' || dtype === 's32';
}

/** Smallest and largest stored value of a fixed-point type. Throws LUTRA_INVALID_ARGUMENT for another one. */
export function limitsOf(dtype: FixedPoint): { lo: number; hi: number } {
  if (!isDType(dtype) || !isFixedPoint(dtype))
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${String(dtype)} is not a fixed-point type.`);
  const bits = 8 * QNN_DTYPES[dtype].array.BYTES_PER_ELEMENT;
  return dtype.startsWith('s') ? { lo: -(2 ** (bits - 1)), hi: 2 ** (bits - 1) - 1 } : { lo: 0, hi: 2 ** bits - 1 };
}

/** Throws LUTRA_INVALID_ARGUMENT unless `value` is an array of the type that holds `dtype`, `length` long. */
export function checkArray(value: unknown, dtype: DType, length: number, what: string): asserts value is ArrayOf[DType] {
  const { array } = QNN_DTYPES[dtype];
  if (!(value instanceof array)) {
    const got = ArrayBuffer.isView(value) ? value.constructor.name : value === null ? 'null' : typeof value;
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what} is ${got}; ${dtype} is held by ${array.name}.`);
  }
  if (value.length !== length) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what} has ${value.length} elements, expected ${length}.`);
}

/** Throws LUTRA_INVALID_ARGUMENT unless `value` is a Uint8Array. */
export function checkBytes(value: unknown): Uint8Array {
  // A detached array is empty, and nothing may be made of it.
  if (value instanceof Uint8Array) return value.length > 0 ? value : new Uint8Array();
  throw new LutraError('LUTRA_INVALID_ARGUMENT', 'The context binary is not a Uint8Array.');
}
