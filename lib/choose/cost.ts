/** What a linear costs the NPU by its precision, relative to w8a8: estimates until a device has been timed. A table, so that timings of a device can take its place. */
import type { LinearSpec, Precision } from '../graph/spec.js';

export const PRECISION_COST: Readonly<Record<Precision, number>> = { w8a8: 1, w8a8s: 1.1, w8a16: 2, w8f16: 4 };

/** Whether the activations have 8 bits. */
export function isInt8({ precision }: Pick<LinearSpec, 'precision'>): boolean {
  return precision === 'w8a8' || precision === 'w8a8s';
}
