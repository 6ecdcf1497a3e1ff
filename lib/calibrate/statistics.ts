/**
 * What an `observe` step counted, and percentiles of it.
 *
 * A site is [count, min, max, sum of squares, then 7680 magnitude bins, then of every column the sum of squares, the minimum, the maximum, and the row of its largest magnitude]. The bin of a value is
 * the exponent and the upper seven mantissa bits of |x| as a 32-bit float, counted from 2^-30 on: 128 bins an octave over 60 octaves, each at most 1/128 wide relative to its value.
 */
import { LutraError } from '../graph/errors.js';

export const BINS = 7680;
/** Numbers of a site before those of its columns, and numbers of a column. */
export const SITE_VALUES = 4 + BINS;
export const COLUMN_VALUES = 4;
/** Bits above the bin number: the bin of |x| is (bits >> 16) − FIRST_BIN. */
const FIRST_BIN = 97 << 7;

const word = new DataView(new ArrayBuffer(4));

/** Smallest magnitude that falls into a bin; bin 0 begins at zero. */
export function binStart(bin: number): number {
  if (bin === 0) return 0;
  word.setUint32(0, (bin + FIRST_BIN) << 16);
  return word.getFloat32(0);
}

/** Bin of a magnitude. */
export function binOf(value: number): number {
  word.setFloat32(0, Math.abs(value));
  return Math.min(Math.max((word.getUint32(0) >>> 16) - FIRST_BIN, 0), BINS - 1);
}

/** Statistics of one tensor over a whole calibration text. */
export class SiteStatistics {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly meanSquare: number;
  /** Values by magnitude. */
  readonly bins: Float64Array;
  /** Of every column: sum of squares, smallest and largest value, largest magnitude, and the row (from 0, in the order of the text) that had it first. */
  readonly squares: Float64Array;
  readonly minima: Float64Array;
  readonly maxima: Float64Array;
  readonly peaks: Float64Array;
  readonly peakRows: Float64Array;

  /** `values`: one entry of the engine's `observations()`. `what` names the tensor in errors (LUTRA_INTERNAL). */
  constructor(values: Float64Array, what: string) {
    const [count = 0, min = 0, max = 0, squares = 0] = values;
    if (values.length < SITE_VALUES || !(count > 0)) throw new LutraError('LUTRA_INTERNAL', `${what}: nothing was observed`);
    if (!Number.isFinite(min) || !Number.isFinite(max) || !Number.isFinite(squares)) {
      throw new LutraError(
        'LUTRA_BAD_FILE',
        `${what}: the model computes values that are not finite`,
        'The weights are damaged: download or export the file again.',
      );
    }
    this.count = count;
    this.min = min;
    this.max = max;
    this.meanSquare = squares / count;
    this.bins = values.subarray(4, SITE_VALUES);
    const columns = (values.length - SITE_VALUES) / COLUMN_VALUES;
    const ofColumns = (i: number) => values.subarray(SITE_VALUES + i * columns, SITE_VALUES + (i + 1) * columns);
    this.squares = ofColumns(0);
    this.minima = ofColumns(1);
    this.maxima = ofColumns(2);
    this.peakRows = ofColumns(3);
    this.peaks = this.minima.map((low, i) => Math.max(-low, this.maxima[i] ?? 0));
  }

  /** Mean square of every column, none of them 0: how much an error in a weight of that column matters. */
  columnMoments(): Float32Array {
    const rows = this.count / this.squares.length;
    const least = Math.max(this.meanSquare * 1e-4, 1e-30);
    return Float32Array.from(this.squares, (squares) => Math.max(squares / rows, least));
  }

  /** Largest magnitude. */
  get largest(): number {
    return Math.max(Math.abs(this.min), Math.abs(this.max));
  }

  /** The magnitude that a share `p` (0 … 1) of the values does not exceed; values lie evenly within a bin. */
  percentile(p: number): number {
    const wanted = p * this.count;
    let below = 0;
    for (let bin = 0; bin < BINS; bin++) {
      const here = this.bins[bin] ?? 0;
      if (below + here >= wanted && here > 0) {
        const start = binStart(bin);
        const end = bin + 1 < BINS ? binStart(bin + 1) : this.largest;
        return Math.min(start + ((wanted - below) / here) * (end - start), this.largest);
      }
      below += here;
    }
    return this.largest;
  }

  /** Mean square of what is cut off outside [low, high]. The histogram has magnitudes only: those that either sign can have count half for each. */
  clippingError(low: number, high: number): number {
    let sum = 0;
    for (let bin = binOf(Math.min(-low, high)); bin < BINS; bin++) {
      const here = this.bins[bin] ?? 0;
      if (here === 0) continue;
      const magnitude = bin + 1 < BINS ? (binStart(bin) + binStart(bin + 1)) / 2 : this.largest;
      const negative = magnitude > -this.min ? 0 : magnitude > this.max ? 1 : 0.5;
      sum += here * (negative * Math.max(magnitude + low, 0) ** 2 + (1 - negative) * Math.max(magnitude - high, 0) ** 2);
    }
    return sum / this.count;
  }

  /** How many values exceed a magnitude, to the resolution of a bin. */
  countAbove(magnitude: number): number {
    const bin = binOf(magnitude);
    const start = binStart(bin);
    const end = bin + 1 < BINS ? binStart(bin + 1) : Math.max(this.largest, start);
    const share = end > start ? Math.min(Math.max((end - magnitude) / (end - start), 0), 1) : 0;
    let above = (this.bins[bin] ?? 0) * share;
    for (let i = bin + 1; i < BINS; i++) above += this.bins[i] ?? 0;
    return above;
  }
}
