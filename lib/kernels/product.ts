/** Products with packed weights. */
import { loadAddon } from '../native/loader.js';
import { type Check, checkOptions, integer, text } from '../runtime/options.js';
import { Weight } from './weight.js';

export interface GemvOptions {
  /** Rows of x; absent: as many as it has. */
  readonly n?: number;
  /** Where the product is written, [n × rows]; absent: a new array. */
  readonly y?: Float32Array;
  /** A name of `list()`; absent: what is chosen for format and n. */
  readonly kernel?: string;
  /** Default 1: the calling thread. */
  readonly threads?: number;
}

const CHECKS: Record<keyof GemvOptions, Check> = {
  n: integer(1, 2 ** 32 - 1),
  y: (value) => (value instanceof Float32Array ? undefined : 'a Float32Array'),
  kernel: text,
  threads: integer(1, 256),
};

/**
 * y = x · Wᵀ: x holds n rows of `weight.columns` activations, y n rows of `weight.rows` outputs. Activations are rounded to 8 bits, with a scale per 32 of them;
 * what is multiplied is added without loss. Throws LUTRA_INVALID_ARGUMENT, LUTRA_UNSUPPORTED (the processor cannot run that kernel), LUTRA_DISPOSED, all before anything is computed.
 */
export function gemv(weight: Weight, x: Float32Array, options: GemvOptions = {}): Float32Array {
  checkOptions('gemv', options, CHECKS);
  const { n = null, y = null, kernel = null, threads = 1 } = options;
  return loadAddon().kernels.gemv(Weight.handleOf(weight), x, n, y, kernel, threads);
}

/** The weight's values, [rows × columns]. Throws LUTRA_DISPOSED. */
export function dequantize(weight: Weight): Float32Array {
  return loadAddon().kernels.dequantize(Weight.handleOf(weight));
}
