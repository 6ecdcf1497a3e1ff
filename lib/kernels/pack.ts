/** From floats, codes or GGUF blocks to packed weights. */
import type { LowBitType } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { PackedHandle } from '../native/kernels-addon.js';
import { loadAddon } from '../native/loader.js';
import { type Check, checkOptions } from '../runtime/options.js';
import { formatCode } from './format.js';
import { Weight } from './weight.js';

interface Shape {
  /** Outputs. */
  readonly rows: number;
  /** Inputs. */
  readonly columns: number;
}

/** Floats [rows × columns], which are quantised: to the nearest codes under scales that make the error small. */
interface FromValues extends Shape {
  readonly format: LowBitType;
  readonly values: Float32Array;
  /** How much the error of each column counts; best E[x²] of the inputs. Absent: all alike. */
  readonly importance?: Float32Array;
}

/** Codes [rows × columns] as they are, with numbers [rows × groups of a row], which become F16 unless the format has one of each per row. */
interface FromCodes extends Shape {
  readonly format: LowBitType;
  readonly codes: Uint8Array;
  readonly scales: Float32Array;
  /** Minima of a format with `m`, zero points of one with `z`. */
  readonly offsets?: Float32Array;
}

/** Rows of a GGUF file's tensor, kept bit for bit. */
interface FromBlocks extends Shape {
  readonly format: 'q4_0' | 'q4_1' | 'q8_0';
  readonly blocks: Uint8Array;
}

export type PackOptions = FromValues | FromCodes | FromBlocks;

/** Everything that any of them may have. */
type Given = Partial<Omit<FromValues, 'format'> & Omit<FromCodes, 'format'> & Omit<FromBlocks, 'format'>> & { readonly format?: unknown };

/** Types and lengths are checked by the addon. */
const anything: Check = () => undefined;
const CHECKS: Record<keyof Given, Check> = {
  rows: anything,
  columns: anything,
  format: anything,
  values: anything,
  importance: anything,
  codes: anything,
  scales: anything,
  offsets: anything,
  blocks: anything,
};

function wrong(what: string, remedy: string): LutraError {
  return new LutraError('LUTRA_INVALID_ARGUMENT', what, remedy);
}

function packed({ format, rows = 0, columns = 0, values, importance, codes, scales, offsets, blocks }: Given): PackedHandle {
  const type = formatCode(format);
  const { kernels } = loadAddon();
  const extra = (...arrays: (Float32Array | undefined)[]) => arrays.some((array) => array !== undefined);
  if ([values, codes, blocks].filter((source) => source !== undefined).length !== 1)
    throw wrong('pack takes one source of weights.', 'Give values, or codes and scales, or blocks.');
  if (values !== undefined) {
    if (extra(scales, offsets)) throw wrong('pack takes no scales or offsets with values.', 'Leave them out, or give codes.');
    return kernels.packValues(type, rows, columns, values, importance ?? null);
  }
  if (extra(importance)) throw wrong('pack takes importance with values only.', 'Leave it out.');
  if (codes !== undefined) {
    if (scales === undefined) throw wrong('pack has codes without scales.', 'Give scales, one for each group of each row.');
    return kernels.packCodes(type, rows, columns, codes, scales, offsets ?? null);
  }
  if (extra(scales, offsets)) throw wrong('pack takes no scales or offsets with blocks, which hold theirs.', 'Leave them out.');
  return kernels.packBlocks(type, rows, columns, blocks ?? new Uint8Array());
}

/**
 * Packs a weight matrix. Throws LUTRA_INVALID_ARGUMENT for an unknown format, arrays of the wrong type or length, in shared memory or detached, for NaN and infinities, codes
 * beyond their bits, and scales that F16 does not hold.
 */
export function pack(options: PackOptions): Weight {
  checkOptions('pack', options, CHECKS);
  return Weight.ofHandle(packed(options));
}
