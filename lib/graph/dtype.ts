/** Element types of a plan: codes of the binary format, sizes, and which values an integer type holds. */

/**
 * The order is free; `code` is the format (docs/architecture.md, "Plan"), 0 for a type that no plan holds. `bytes` is 0 for block types, which have
 * no size per element. S32 with an encoding is fixed point, without one QNN's INT32.
 */
export const DTYPES = {
  f32: { code: 1, bytes: 4 },
  f16: { code: 2, bytes: 2 },
  u8: { code: 3, bytes: 1 },
  s8: { code: 4, bytes: 1 },
  u16: { code: 5, bytes: 2 },
  s32: { code: 6, bytes: 4 },
  u32: { code: 7, bytes: 4 },
  bool8: { code: 0, bytes: 1 },
  q4_0: { code: 16, bytes: 0 },
  q4_1: { code: 17, bytes: 0 },
  q8_0: { code: 18, bytes: 0 },
} as const;

export type DType = keyof typeof DTYPES;
export type FloatType = 'f32' | 'f16';
/** Types of a quantised activation. */
export type QuantType = 'u8' | 's8' | 'u16';
/** Types of a weight of the CPU. */
export type WeightType = 'f32' | 'f16' | 'q4_0' | 'q4_1' | 'q8_0';

const byCode = new Map<number, DType>(
  (Object.keys(DTYPES) as DType[]).filter((name) => DTYPES[name].code !== 0).map((name) => [DTYPES[name].code, name]),
);

/** The type of a code, or undefined when there is none. */
export function dtypeOfCode(code: number): DType | undefined {
  return byCode.get(code);
}

export function isFloat(dtype: DType): dtype is FloatType {
  return dtype === 'f32' || dtype === 'f16';
}

export function isQuantType(dtype: DType): dtype is QuantType {
  return dtype === 'u8' || dtype === 's8' || dtype === 'u16';
}

export function isWeightType(dtype: DType): dtype is WeightType {
  return isFloat(dtype) || isBlockType(dtype);
}

/** Types whose columns come in blocks of 32 that share a scale. */
export function isBlockType(dtype: DType): dtype is 'q4_0' | 'q4_1' | 'q8_0' {
  return dtype === 'q4_0' || dtype === 'q4_1' || dtype === 'q8_0';
}

/** Smallest and largest stored value, bits and signedness of a quantised activation. */
export function quantLimits(dtype: QuantType): { lo: number; hi: number; bits: 8 | 16; signed: boolean } {
  switch (dtype) {
    case 'u8':
      return { lo: 0, hi: 255, bits: 8, signed: false };
    case 's8':
      return { lo: -128, hi: 127, bits: 8, signed: true };
    case 'u16':
      return { lo: 0, hi: 65535, bits: 16, signed: false };
  }
}
