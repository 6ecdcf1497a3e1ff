/** Names of weight formats and their codes. */
import { type BlockType, DTYPES, type DType, dtypeOfCode, isBlockType } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import { nearest, show } from '../runtime/options.js';

/**
 * `w` bits (1 to 4), `g32`, `g64`, `g128` columns that share a scale or `row` for one of the whole row, then `m` for a minimum or `z` for a zero
 * point beside the scale: `w2g64m`. Or a block type of GGUF files: `q4_0`, `q4_1`, `q8_0`.
 */
export type Format = BlockType;

const FORMATS = (Object.keys(DTYPES) as DType[]).filter(isBlockType);

export function isFormat(value: unknown): value is Format {
  return typeof value === 'string' && (FORMATS as readonly string[]).includes(value);
}

/** Throws LUTRA_INVALID_ARGUMENT when there is no such format. */
export function formatCode(format: unknown): number {
  if (isFormat(format)) return DTYPES[format].code;
  const meant = typeof format === 'string' ? nearest(format, FORMATS) : undefined;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `There is no weight format ${show(format)}${meant ? `; did you mean '${meant}'?` : '.'}`,
    'Formats: w1 to w4, then g32, g64, g128 or row, then nothing, m or z (w2g64m); q4_0, q4_1, q8_0.',
  );
}

/** Of a code that the addon gave. */
export function formatOfCode(code: number): Format {
  const format = dtypeOfCode(code);
  if (isFormat(format)) return format;
  throw new LutraError('LUTRA_INTERNAL', `The addon names a weight format ${code}.`);
}
