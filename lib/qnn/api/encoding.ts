/** Encodings: how integers stand for reals. QNN's convention: real = (q + offset) · scale, so `offset` is minus the zero point. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import type { NativeEncoding } from '../../native/qnn-addon.js';
import { type FixedPoint, limitsOf } from './dtype.js';

/** One scale and offset for all elements. */
export interface ScaleOffset {
  readonly kind: 'scaleOffset';
  readonly scale: number;
  readonly offset: number;
}

/** A scale per index of one dimension, as weights have per output channel. */
export interface AxisEncoding {
  readonly kind: 'axis';
  readonly axis: number;
  readonly scales: Float32Array;
  /** One per scale; absent: 0. */
  readonly offsets?: Int32Array;
}

/** As {@link ScaleOffset}, of which only `bits` bits are used: 4-bit values, one per byte of an `s8` tensor. */
export interface BitwidthEncoding {
  readonly kind: 'bw';
  readonly bits: number;
  readonly scale: number;
  readonly offset: number;
}

/** As {@link AxisEncoding}, of which only `bits` bits are used. */
export interface BitwidthAxisEncoding {
  readonly kind: 'bwAxis';
  readonly bits: number;
  readonly axis: number;
  readonly scales: Float32Array;
  readonly offsets?: Int32Array;
}

/** A scale per index of one dimension, times a small integer per block of the elements that share the index: real = q · scale · blockScale. */
export interface BlockwiseEncoding {
  readonly kind: 'blockwise';
  readonly axis: number;
  readonly scales: Float32Array;
  /** Significant bits of the block scales. */
  readonly bits: number;
  /** Blocks per index of the axis. */
  readonly blocks: number;
  /** [scales][blocks], each at least 1. */
  readonly blockScales: Uint8Array;
}

export type Encoding = ScaleOffset | AxisEncoding | BitwidthEncoding | BitwidthAxisEncoding | BlockwiseEncoding;
/** `none`: of a tensor that holds the values themselves. */
export type EncodingKind = Encoding['kind'] | 'none';
interface EncodingByKind {
  none: undefined;
  scaleOffset: ScaleOffset;
  axis: AxisEncoding;
  bw: BitwidthEncoding;
  bwAxis: BitwidthAxisEncoding;
  blockwise: BlockwiseEncoding;
}
export type EncodingOf<K extends EncodingKind> = EncodingByKind[K];
export type KindOf<E extends Encoding | undefined> = E extends Encoding ? E['kind'] : 'none';

export function scaleOffset(scale: number, offset = 0): ScaleOffset {
  return { kind: 'scaleOffset', scale, offset };
}

export function axis(dimension: number, scales: Float32Array | readonly number[], offsets?: Int32Array | readonly number[]): AxisEncoding {
  return { kind: 'axis', axis: dimension, scales: floats(scales), ...(offsets ? { offsets: integers(offsets) } : {}) };
}

export function bitwidth(bits: number, scale: number, offset = 0): BitwidthEncoding {
  return { kind: 'bw', bits, scale, offset };
}

export function bitwidthAxis(bits: number, dimension: number, scales: Float32Array | readonly number[]): BitwidthAxisEncoding {
  return { kind: 'bwAxis', bits, axis: dimension, scales: floats(scales) };
}

/** `blockScales`: [scales.length × blocks]. */
export function blockwise(
  dimension: number,
  scales: Float32Array | readonly number[],
  blockScales: Uint8Array,
  blocks: number,
  bits = 4,
): BlockwiseEncoding {
  return { kind: 'blockwise', axis: dimension, scales: floats(scales), bits, blocks, blockScales };
}

/**
 * The encoding under which `dtype` covers `min` … `max` and 0 is exact: symmetric (offset 0) for signed types, with an offset for unsigned
 * ones.
 */
export function rangeEncoding(dtype: FixedPoint, min: number, max: number): ScaleOffset {
  if (!Number.isFinite(min) || !Number.isFinite(max) || min > max) {
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${min} … ${max} is not a range.`);
  }
  const { lo, hi } = limitsOf(dtype);
  const [from, to] = [Math.min(min, 0), Math.max(max, 0)];
  if (lo < 0) return scaleOffset(Math.fround(Math.max(-from, to) / hi) || 1);
  const scale = Math.fround((to - from) / (hi - lo)) || 1;
  return scaleOffset(scale, Math.round(from / scale));
}

/** For the addon; numbers are checked there. Throws LUTRA_INVALID_ARGUMENT when it is no encoding at all. */
export function nativeEncoding(encoding: Encoding, what: string): NativeEncoding {
  switch (encoding?.kind) {
    case 'scaleOffset':
    case 'bw':
    case 'axis':
    case 'bwAxis':
    case 'blockwise':
      return { ...encoding };
    default:
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `The encoding of ${what} is ${inspect(encoding, { depth: 0 })}.`,
        'Use scaleOffset(), axis(), bitwidth(), bitwidthAxis() or blockwise().',
      );
  }
}

/** "scale 0.02 offset -128", "576 scales on axis 0". */
export function formatEncoding(encoding: Encoding | undefined): string {
  if (encoding === undefined) return '';
  switch (encoding.kind) {
    case 'scaleOffset':
      return ` scale ${encoding.scale} offset ${encoding.offset}`;
    case 'bw':
      return ` ${encoding.bits} bits scale ${encoding.scale} offset ${encoding.offset}`;
    case 'axis':
      return ` ${encoding.scales.length} scales on axis ${encoding.axis}`;
    case 'bwAxis':
      return ` ${encoding.bits} bits, ${encoding.scales.length} scales on axis ${encoding.axis}`;
    case 'blockwise':
      return ` ${encoding.blocks} blocks per index of axis ${encoding.axis}`;
    default:
      return encoding satisfies never;
  }
}

function floats(values: Float32Array | readonly number[]): Float32Array {
  return values instanceof Float32Array ? values : Float32Array.from(values);
}

function integers(values: Int32Array | readonly number[]): Int32Array {
  return values instanceof Int32Array ? values : Int32Array.from(values);
}
