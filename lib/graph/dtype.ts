/** Element types of a plan: codes of the binary format, sizes, and which values an integer type holds. */

/**
 * The order is free; `code` is the format (docs/architecture.md, "Plan"), 0 for a type that no plan holds. `bytes` is 0 for block types, which have
 * no size per element. S32 with an encoding is fixed point, without one QNN's INT32.
 */
const PLAIN = {
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

const BITS = [1, 2, 3, 4] as const;
const GROUPS = ['g32', 'g64', 'g128', 'row'] as const;
const OFFSETS = ['', 'm', 'z'] as const;

/**
 * Low-bit weights: bits of a code, columns that share a scale (or the whole row), and what stands beside the scale: nothing, a minimum
 * (`m`), an integer zero point (`z`). `native/kernels/lowbit/format.h` computes the same codes.
 */
export type LowBitType = `w${(typeof BITS)[number]}${(typeof GROUPS)[number]}${(typeof OFFSETS)[number]}`;

/** Parts of a low-bit type; `group` 0 is the whole row. */
export interface LowBitFormat {
  readonly bits: 1 | 2 | 3 | 4;
  readonly group: 0 | 32 | 64 | 128;
  readonly offset: 'none' | 'minimum' | 'zero';
}

const FIRST_LOW_BIT = 32;
const OFFSET_KINDS = ['none', 'minimum', 'zero'] as const;
const GROUP_SIZES = [32, 64, 128, 0] as const;

const LOW_BIT: ReadonlyMap<LowBitType, { code: number; format: LowBitFormat }> = new Map(
  OFFSETS.flatMap((offset, o) =>
    GROUPS.flatMap((group, g) =>
      BITS.map((bits) => {
        const format = { bits, group: GROUP_SIZES[g] ?? 0, offset: OFFSET_KINDS[o] ?? 'none' } as const;
        return [`w${bits}${group}${offset}`, { code: FIRST_LOW_BIT + bits - 1 + 4 * g + 16 * o, format }] as const;
      }),
    ),
  ),
);

export type DType = keyof typeof PLAIN | LowBitType;

export const DTYPES: Readonly<Record<DType, { readonly code: number; readonly bytes: number }>> = {
  ...PLAIN,
  ...(Object.fromEntries([...LOW_BIT].map(([name, { code }]) => [name, { code, bytes: 0 }])) as Record<
    LowBitType,
    { code: number; bytes: number }
  >),
};

/** Parts of a low-bit type; undefined for other types. */
export function lowBitFormat(dtype: DType): LowBitFormat | undefined {
  return LOW_BIT.get(dtype as LowBitType)?.format;
}

export type FloatType = 'f32' | 'f16';
/** Types of a quantised activation. */
export type QuantType = 'u8' | 's8' | 'u16';
/** Types of a weight of the CPU. */
export type WeightType = FloatType | BlockType;
/** Types of a weight in the packed layout. */
export type BlockType = 'q4_0' | 'q4_1' | 'q8_0' | LowBitType;

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

/** Types whose columns come in groups that share a scale. */
export function isBlockType(dtype: DType): dtype is BlockType {
  return needsWholeBlocks(dtype) || LOW_BIT.has(dtype as LowBitType);
}

/** The block types of ggml, whose columns must be a multiple of 32. */
export function needsWholeBlocks(dtype: DType): dtype is 'q4_0' | 'q4_1' | 'q8_0' {
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
