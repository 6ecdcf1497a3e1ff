/** Packed weights. */
import { LutraError } from '../graph/errors.js';
import type { PackedHandle } from '../native/kernels-addon.js';
import { loadAddon } from '../native/loader.js';
import { show } from '../runtime/options.js';
import { type Format, formatOfCode } from './format.js';

/** A weight matrix in the layout that the kernels read, in memory outside of JavaScript's heap. Made by `pack` or {@link Weight.fromBytes}. */
export class Weight {
  readonly format: Format;
  readonly rows: number;
  readonly columns: number;
  /** Of the packed data. */
  readonly byteLength: number;
  readonly #handle: PackedHandle;

  private constructor(handle: PackedHandle) {
    const { type, rows, columns, byteLength } = loadAddon().kernels.describe(handle);
    this.#handle = handle;
    this.format = formatOfCode(type);
    this.rows = rows;
    this.columns = columns;
    this.byteLength = byteLength;
  }

  /** Reads what {@link Weight.toBytes} wrote. Throws LUTRA_BAD_FILE when the bytes are damaged, cut off, of another version, or none of its. */
  static fromBytes(bytes: Uint8Array): Weight {
    return new Weight(loadAddon().kernels.fromBytes(bytes));
  }

  /** Of a handle that the addon made. */
  static ofHandle(handle: PackedHandle): Weight {
    return new Weight(handle);
  }

  /** The handle for the addon. Throws LUTRA_INVALID_ARGUMENT when `value` is no packed weight. */
  static handleOf(value: unknown): PackedHandle {
    if (typeof value === 'object' && value !== null && #handle in value) return value.#handle;
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${show(value)} is no packed weight.`, 'Make one: kernels.pack(…).');
  }

  /** Format, shape and packed data with version and checksum, for a file. */
  toBytes(): Uint8Array {
    return loadAddon().kernels.toBytes(this.#handle);
  }

  /** Frees the memory; later uses throw LUTRA_DISPOSED. What was not disposed of is freed by the garbage collector. Idempotent. */
  dispose(): void {
    loadAddon().kernels.dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
