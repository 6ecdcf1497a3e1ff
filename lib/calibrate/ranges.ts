/**
 * From statistics to a static encoding, in QNN's convention: real = (q + offset) · scale.
 */
import { quantLimits } from '../graph/dtype.js';
import { fromHalf, toHalf } from '../graph/half.js';
import type { QuantRange } from '../graph/spec.js';
import type { SiteStatistics } from './statistics.js';

/** How a range is chosen. Data of a recipe. */
export interface RangeRule {
  dtype: QuantRange['dtype'];
  /** Share of the values that the range must hold by magnitude; absent: all, from minimum to maximum. */
  share?: number;
  /** Of the range from minimum to maximum and smaller ones, the one with the least mean square error: a few values clip, the steps of all get finer. */
  leastError?: boolean;
  /** The range is made this many times wider (default 1): what was not seen while calibrating would saturate. */
  margin?: number;
  /**
   * A range for each column, by a factor that the scales of the weight are divided by: its largest magnitude times `margin`, at least `least` of the largest of all.
   */
  channels?: { margin: number; least: number };
  /** Values below this need not be told apart: silu(−8) is −0.003. */
  floor?: number;
}

/** A tensor that is zero throughout still needs a step. */
const SMALLEST_STEP = 1e-8;

/** Of a channel: what F16 holds with all its digits. */
const SMALLEST_FACTOR = 2 ** -14;
const LARGEST_FACTOR = 65_504;

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

/** How much smaller ranges become from one that is tried to the next, and how many are tried: down to 1/64. */
const SHRINK = 2 ** -0.1;
const SHRINKS = 60;

/** The range [low, high] · r with the least mean square error in unsigned 8 bits. */
function leastErrorRange(statistics: SiteStatistics): { min: number; max: number } {
  const { min, max } = statistics;
  let best = { min, max };
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0, r = 1; i < SHRINKS; i++, r *= SHRINK) {
    const [low, high] = [Math.min(min * r, 0), Math.max(max * r, 0)];
    const step = (high - low) / STEPS.u8;
    const error = (step * step) / 12 + statistics.clippingError(low, high);
    if (error < least) {
      least = error;
      best = { min: low, max: high };
    }
  }
  return best;
}

/** The encoding that a rule gives a tensor. */
export function chooseRange(statistics: SiteStatistics, rule: RangeRule): QuantRange {
  const margin = rule.margin ?? 1;
  const limit = rule.share === undefined ? statistics.largest : statistics.percentile(rule.share);
  if (rule.dtype === 's8') return signedRange(limit * margin);
  const { min, max } = rule.leastError ? leastErrorRange(statistics) : statistics;
  const low = Math.max(min, -limit) * margin;
  const high = Math.min(max, limit) * margin;
  return unsignedRange(rule.dtype, Math.max(low, rule.floor ?? Number.NEGATIVE_INFINITY), high);
}

/** The range of a tensor whose columns were divided by their factors. */
export const UNIT_RANGE: QuantRange = { dtype: 'u8', scale: Math.fround(1 / 127), offset: -128 };

/** Whether a range cuts off some of what was seen: more than half a step outside. What the rule says need not be told apart does not count. */
export function cutsOff(statistics: SiteStatistics, range: QuantRange, rule: RangeRule): boolean {
  const { lo, hi } = quantLimits(range.dtype);
  const low = (lo + range.offset - 0.5) * range.scale;
  const high = (hi + range.offset + 0.5) * range.scale;
  return Math.max(statistics.min, rule.floor ?? Number.NEGATIVE_INFINITY) < low || statistics.max > high;
}

/** Factors of the columns, each as F16 has it; null: the rule has one range for all. */
export function channelFactors(statistics: SiteStatistics, rule: RangeRule): Float32Array | null {
  if (rule.channels === undefined) return null;
  const { margin, least } = rule.channels;
  const floor = Math.max(statistics.largest * least, SMALLEST_FACTOR);
  return Float32Array.from(statistics.peaks, (peak) => fromHalf(toHalf(Math.min(Math.max(peak * margin, floor), LARGEST_FACTOR))));
}
