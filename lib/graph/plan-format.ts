/**
 * Binary layout of a plan (docs/architecture.md, "Plan"). native/plan/format.h says the same; a test compares the two through the addon.
 * Little endian; sections 8-byte aligned in this order; offsets in bytes from the start of the file; counts in records.
 */
import { crc32 } from 'node:zlib';

export const PLAN_MAGIC = 0x504c554c;
export const PLAN_VERSION = 2;

/** Sections in file order with bytes per record. */
export const SECTIONS = {
  config: 8,
  strings: 1,
  tensors: 18 * 4,
  segments: 8 * 4,
  nodes: 8 * 4,
  steps: 6 * 4,
  programs: 4 * 4,
  operands: 4,
  attrs: 8,
} as const;

export type Section = keyof typeof SECTIONS;
export const SECTION_NAMES = Object.keys(SECTIONS) as Section[];

/** u32 words of a record. */
export const RECORD_WORDS = { tensors: 18, segments: 8, nodes: 8, steps: 6, programs: 4 } as const;

/** magic, version, file size, section count, checksum, then {offset, count} per section. */
export const SECTION_TABLE_AT = 5 * 4;
export const HEADER_BYTES = SECTION_TABLE_AT + 2 * SECTION_NAMES.length * 4;
const CHECKSUM_AT = 4 * 4;

/** CRC-32 of a plan, its checksum taken as zero. */
export function planChecksum(plan: Uint8Array): number {
  return crc32(plan.subarray(CHECKSUM_AT + 4), crc32(new Uint8Array(4), crc32(plan.subarray(0, CHECKSUM_AT))));
}

/** The checksum that a plan carries. */
export function storedChecksum(plan: Uint8Array): number {
  return new DataView(plan.buffer, plan.byteOffset).getUint32(CHECKSUM_AT, true);
}

/** Writes the checksum of a plan into its header. */
export function sealPlan(plan: Uint8Array): Uint8Array {
  new DataView(plan.buffer, plan.byteOffset).setUint32(CHECKSUM_AT, planChecksum(plan), true);
  return plan;
}

/** "No tensor" and "no string". */
export const NONE = 0xffffffff;

/** f64 values of the section `config`, in order. */
export const CONFIG_FIELDS = ['vocab', 'hidden', 'layers', 'heads', 'kvHeads', 'headDim', 'maxContext', 'chunk', 'kvType'] as const;

/** Words of a tensor record, in order. */
export const TENSOR_FIELDS = [
  'name',
  'dtype',
  'kind',
  'rowsKind',
  'rank',
  'dim0',
  'dim1',
  'dim2',
  'dim3',
  'quantKind',
  'scale',
  'offset',
  'axis',
  'axisScales',
  'weight',
  'rows',
  'cols',
  'reserved',
] as const;

export const TENSOR_KIND_CODES = { activation: 0, internal: 1, weight: 2 } as const;
export const ROWS_KIND_CODES = { fixed: 0, chunk: 1, logits: 2 } as const;
export const QUANT_KIND_CODES = { none: 0, scale: 1, axis: 2 } as const;
export const KV_TYPE_CODES = { f16: 0, f32: 1, int8: 2 } as const;

/** Types of a node's attribute. `u32s` is written as code 3 when it is a tensor of one element, else as code 4 {name, 4, rank, dims…, values…}. */
export const ATTR_CODES = { f32: 0, u32: 1, bool: 2, u32One: 3, u32Tensor: 4, i32: 5 } as const;
