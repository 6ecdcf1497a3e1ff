/** The QNN interface from TypeScript: `import { qnn } from 'lutra'`. docs/qnn-api.md explains it. */
export {
  type FinalizeOptions,
  GraphBuilder,
  type IoOf,
  type TypedNode,
  type UntypedNode,
} from './builder.js';
export { Context, type GraphOptions } from './context.js';
export {
  Backend,
  type BinaryInfo,
  Device,
  Library,
  type LibraryInfo,
  LOG_LEVELS,
  type LogLevel,
  PowerVote,
  Profile,
  type ProfileEvent,
} from './device.js';
export type { ArrayOf, DType, FixedPoint, PlainType } from './dtype.js';
export {
  type AxisEncoding,
  axis,
  type BitwidthAxisEncoding,
  type BitwidthEncoding,
  type BlockwiseEncoding,
  bitwidth,
  bitwidthAxis,
  blockwise,
  type Encoding,
  type EncodingKind,
  rangeEncoding,
  type ScaleOffset,
  scaleOffset,
} from './encoding.js';
export type { Act, Form, OpForms } from './forms.js';
export { type ArraysOf, type ExecuteOptions, Graph, type IoTypes } from './graph.js';
export { type OpName, type OpParams, QNN_OPS as OPS } from './ops.js';
export type { NumberTensor, TaggedParam } from './params.js';
export type { GraphSignature, TensorSignature } from './signature.js';
export { type Dims, type Rank1, type Rank2, type Rank3, type Rank4, type Rank5, type Role, Tensor, type TensorSpec } from './tensor.js';
export { channelScales, dequantize, fromF16, quantize, toF16 } from './values.js';
