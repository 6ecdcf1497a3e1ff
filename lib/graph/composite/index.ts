/** What the rest of lutra uses of the composite ops. */
export { HIDDEN, type KvUpdateAttrs } from './attention.js';
export type { ScaleAttrs } from './elementwise.js';
export type { SplitInputAttrs } from './layout.js';
export type { MatMulAttrs } from './linear.js';
export type { NormAttrs } from './norm.js';
export {
  addOp,
  COMPOSITE_NAMES,
  COMPOSITE_OPS,
  type CompositeAttrs,
  type CompositeName,
  inferComposite,
  isCompositeOp,
} from './registry.js';
export { type RopeAttrs, ropeTables } from './rope.js';
