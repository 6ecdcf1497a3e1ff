/**
 * From statistics to a static encoding, in QNN's convention: real = (q + offset) · scale.
 */
import type { QuantRange } from '../graph/spec.js';
import type { SiteStatistics } from './statistics.js';

/** How a range is chosen. Data of a recipe. */
export interface RangeRule {
  dtype: QuantRange['dtype'];
  /** Share of the values that the range must hold by magnitude; absent: all, from minimum to maximum. */
  share?: number;
  /** The range is made this many times wider (default 1): what was not seen while calibrating would saturate. */
  margin?: number;
  /** Values below this need not be told apart: silu(−8) is −0.003. */
  floor?: number;
}

/** A tensor that is zero throughout still needs a step. */
const SMALLEST_STEP = 1e-8;

const STEPS: Readonly<Record<'u8' | 'u16', number>> = { u8: 255, u16: 65_535 };

/** An unsigned encoding of [low, high], widened to hold zero exactly. */
export function unsignedRange(dtype: 'u8' | 'u16', low: number, high: number): QuantRange {
  const lo = Math.min(low, 0);
  const hi = Math.max(high, 0);
  const scale = Math.max((hi - lo) / STEPS[dtype], SMALLEST_STEP);
  // Adding zero turns −0 into 0, which JSON cannot tell apart.
  return { dtype, scale: Math.fround(scale), offset: Math.max(Math.round(lo / scale), -STEPS[dtype]) + 0 };
}

/** A symmetric signed encoding of [−magnitude, magnitude]. */
export function signedRange(magnitude: number): QuantRange {
  return { dtype: 's8', scale: Math.fround(Math.max(magnitude / 127, SMALLEST_STEP)), offset: 0 };
}

/** The encoding that a rule gives a tensor. */
export function chooseRange(statistics: SiteStatistics, rule: RangeRule): QuantRange {
  const margin = rule.margin ?? 1;
  const limit = rule.share === undefined ? statistics.largest : statistics.percentile(rule.share);
  if (rule.dtype === 's8') return signedRange(limit * margin);
  const low = Math.max(statistics.min, -limit) * margin;
  const high = Math.min(statistics.max, limit) * margin;
  return unsignedRange(rule.dtype, Math.max(low, rule.floor ?? Number.NEGATIVE_INFINITY), high);
}
