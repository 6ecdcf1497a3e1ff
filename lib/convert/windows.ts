/** Which parts of the calibration text are for what. */
import { LutraError } from '../graph/errors.js';

/** Windows that ranges are taken from, unless said otherwise. */
const RANGE_WINDOWS = 16;
const WINDOW_TOKENS = 256;
/** Windows behind them that combinations of precisions are measured on; a shorter text gives a third of itself. */
const CHOICE_WINDOWS = 8;
/** Candidates alone are measured on this many pieces, each half a window long: their effects add up, so that errors of measurement even out. */
const PIECES = 2;

export interface TextWindows {
  /** How many windows, from the beginning of the text, ranges are taken from. */
  ranges: number;
  /** Tokens of a window. */
  tokens: number;
  /** Windows that no range is taken from. */
  apart(): { alone: number[][]; together: number[][] };
}

/** `choosing`: whether something is chosen by what it does to text that ranges do not know. Throws LUTRA_INVALID_ARGUMENT when there is too little for that. */
export function textWindows(
  text: readonly number[],
  wanted: { calibrationWindows?: number; calibrationWindowTokens?: number },
  maxContext: number,
  choosing: boolean,
): TextWindows {
  const size = wanted.calibrationWindowTokens ?? Math.min(WINDOW_TOKENS, maxContext);
  const asked = wanted.calibrationWindows ?? RANGE_WINDOWS;
  if (!choosing) return { ranges: asked, tokens: size, apart: () => ({ alone: [], together: [] }) };
  const all = Math.floor(text.length / size);
  if (all < 2) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The calibration text has ${text.length} tokens; choosing precisions needs at least ${2 * size}, for ranges and to measure what they do`,
      'Give a longer text, or the precisions.',
    );
  }
  const behind = Math.min(CHOICE_WINDOWS, Math.max(1, Math.floor(all / 3)));
  const ranges = Math.min(asked, all - behind);
  const window = (i: number, length: number): number[] => text.slice((ranges + i) * size, (ranges + i) * size + length);
  return {
    ranges,
    tokens: size,
    apart: () => ({
      // From the ends of what is measured together, so that they are not of one page.
      alone: Array.from({ length: Math.min(PIECES, behind) }, (_, i) =>
        window(i === 0 ? 0 : behind - 1, Math.max(2, Math.floor(size / 2))),
      ),
      together: Array.from({ length: behind }, (_, i) => window(i, size)),
    }),
  };
}
