/**
 * What is known of the ops of package `qti.aisw` at run time: how many inputs and outputs, and which parameters. Names are QNN's own.
 * Which types go together is in `forms.ts`. Ops that are not here are reached by untyped nodes.
 */
import { NPU_OPS } from '../../graph/npu-ops.js';
import type { ParamSchema, ParamsOf } from './params.js';
import type { ShapeRule } from './shapes.js';

export interface OpShape<S extends ParamSchema = ParamSchema> {
  /** Fewest and most inputs and outputs. */
  readonly inputs: readonly [number, number];
  readonly outputs: readonly [number, number];
  readonly params: S;
  /** How the output's shape follows from the inputs', for ops with which libraries do not look closely themselves. */
  readonly shape: ShapeRule | null;
}

type Count = number | readonly [number, number];

function range(count: Count): readonly [number, number] {
  return typeof count === 'number' ? [count, count] : count;
}

function op<const S extends ParamSchema>(inputs: Count, params: S, outputs: Count = 1): OpShape<S> {
  return { inputs: range(inputs), outputs: range(outputs), params, shape: null };
}

function elementwise<const S extends ParamSchema>(inputs: number, params: S): OpShape<S> {
  return { ...op(inputs, params), shape: 'elementwise' };
}

const MANY = 1024;

/** Names of `operation` in the interface's order. */
const BINARY_OPERATIONS = [
  'add',
  'and',
  'divide',
  'equal',
  'floorDiv',
  'fmod',
  'greater',
  'greaterEqual',
  'less',
  'lessEqual',
  'maximum',
  'minimum',
  'mod',
  'multiply',
  'notEqual',
  'or',
  'power',
  'squaredDifference',
  'subtract',
  'xor',
] as const;
const UNARY_OPERATIONS = [
  'abs',
  'asin',
  'atan',
  'ceil',
  'cos',
  'exp',
  'floor',
  'log',
  'neg',
  'not',
  'reciprocal',
  'round',
  'rsqrt',
  'sign',
  'sin',
  'sqrt',
] as const;
const NEURON_OPERATIONS = ['elu', 'gelu', 'hardSigmoid', 'hardSwish', 'relu', 'reluMinMax', 'sigmoid', 'softplus', 'tanh'] as const;

const unary = elementwise(1, {});
const binary = elementwise(2, {});
const reduce = op(1, { axes: 'u32s', keep_dims: 'bool?' });
const argument = op(1, { axis: 'u32', keep_dims: 'bool?' });
const pool = { filter_size: 'u32s', stride: 'u32s', pad_amount: 'u32s', rounding_mode: ['floor', 'ceil'] } as const;
const { stride, pad_amount } = NPU_OPS.Conv2d.attrs;
const convolution = { stride, pad_amount, dilation: 'u32s?' } as const;

export const QNN_OPS = {
  // Types
  Quantize: elementwise(1, NPU_OPS.Quantize.attrs),
  Dequantize: elementwise(1, NPU_OPS.Dequantize.attrs),
  Convert: elementwise(1, { dynamic_input_data: 'bool?', dynamic_output_data: 'bool?' }),
  Cast: unary,

  // Linear algebra
  FullyConnected: op([2, 3], { ...NPU_OPS.FullyConnected.attrs, keep_dims: 'bool?' }),
  MatMul: { ...op([2, 3], { transpose_in0: 'bool?', transpose_in1: 'bool?' }), shape: 'matmul' },
  Conv2d: op([2, 3], { ...convolution, group: 'u32?' }),
  DepthWiseConv2d: op([2, 3], convolution),
  TransposeConv2d: op([2, 3], { stride, pad_amount, group: 'u32?', output_padding: 'u32s?' }),
  PoolAvg2d: op(1, { ...pool, count_pad_for_edges: 'bool?' }),
  PoolMax2d: op(1, pool),
  HadamardTransform: elementwise(1, { scale: 'f32?' }),

  // Normalisation
  RmsNorm: op([2, 3], NPU_OPS.RmsNorm.attrs),
  LayerNorm: op([1, 3], { epsilon: 'f32?', axes: 'u32s' }),
  L2Norm: elementwise(1, { axes: 'u32s?', axis: 'u32?', epsilon: 'f32?' }),
  Softmax: elementwise(1, { axis: 'u32?', beta: 'f32?' }),
  LogSoftmax: elementwise(1, { axis: 'u32', beta: 'f32?' }),

  // Elementwise
  ElementWiseAdd: binary,
  ElementWiseSubtract: binary,
  ElementWiseMultiply: binary,
  ElementWiseDivide: binary,
  ElementWiseMaximum: binary,
  ElementWiseMinimum: binary,
  ElementWisePower: binary,
  ElementWiseSquaredDifference: binary,
  ElementWiseFloorDiv: binary,
  ElementWiseEqual: binary,
  ElementWiseNotEqual: binary,
  ElementWiseGreater: binary,
  ElementWiseGreaterEqual: binary,
  ElementWiseLess: binary,
  ElementWiseLessEqual: binary,
  ElementWiseAnd: binary,
  ElementWiseOr: binary,
  ElementWiseNot: unary,
  ElementWiseSelect: elementwise(3, {}),
  ElementWiseAbs: unary,
  ElementWiseNeg: unary,
  ElementWiseExp: unary,
  ElementWiseLog: unary,
  ElementWiseFloor: unary,
  ElementWiseCeil: unary,
  ElementWiseRound: unary,
  ElementWiseSign: unary,
  ElementWiseSin: unary,
  ElementWiseCos: unary,
  ElementWiseSquareRoot: unary,
  ElementWiseRsqrt: unary,
  ElementWiseBinary: elementwise(2, { operation: BINARY_OPERATIONS }),
  ElementWiseUnary: elementwise(1, { operation: UNARY_OPERATIONS }),
  ElementWiseNeuron: elementwise(1, {
    operation: NEURON_OPERATIONS,
    alpha: 'f32?',
    beta: 'f32?',
    min_value: 'f32?',
    max_value: 'f32?',
    threshold: 'f32?',
  }),
  Relu: elementwise(1, NPU_OPS.Relu.attrs),
  Relu6: unary,
  ReluMinMax: elementwise(1, { min_value: 'f32', max_value: 'f32' }),
  Gelu: unary,
  HardSwish: unary,
  Sigmoid: elementwise(1, NPU_OPS.Sigmoid.attrs),
  Tanh: unary,
  Elu: elementwise(1, { alpha: 'f32?' }),
  Prelu: binary,

  // Data movement
  Reshape: op(1, NPU_OPS.Reshape.attrs),
  Transpose: op(1, { perm: 'u32s' }),
  ExpandDims: op(1, { axis: 'u32' }),
  Squeeze: op(1, { axes: 'u32s?' }),
  Tile: op(1, { multiples: 'u32s' }),
  Pad: op(1, { scheme: ['constant', 'mirrorSymmetric', 'mirrorReflect', 'edge'], pad_amount: 'u32s', pad_constant_value: 'f32?' }),
  StridedSlice: op(1, { ranges: 'i32s', begin_mask: 'u32?', end_mask: 'u32?', shrink_axes: 'u32?', new_axes_mask: 'u32?' }),
  Split: op(1, { axis: 'u32', split_index: 'u32s' }, [1, MANY]),
  Concat: op([1, MANY], { axis: 'u32' }),
  Pack: op([1, MANY], { axis: 'u32' }),
  UnPack: op(1, { axis: 'u32' }, [1, MANY]),
  Gather: op(2, NPU_OPS.Gather.attrs),
  GatherElements: op(2, { axis: 'u32' }),
  GatherNd: op(2, { batch_dims: 'u32?' }),
  ScatterNd: op(3, { reduction: ['none', 'add', 'multiply'] }),
  ScatterElements: op(3, { axis: 'u32', reduction: ['none', 'add', 'multiply'] }),
  DepthToSpace: op(1, { block_size: 'u32s', mode: ['dcr', 'crd'] }),
  SpaceToDepth: op(1, { block_size: 'u32s', mode: ['dcr', 'crd'] }),
  ResizeBilinear: op(1, { align_corners: 'bool?', half_pixel_centers: 'bool?' }),
  ResizeNearestNeighbor: op(1, { align_corners: 'bool?', half_pixel_centers: 'bool?' }),

  // Reductions
  ReduceMean: reduce,
  ReduceSum: reduce,
  ReduceMax: reduce,
  ReduceMin: reduce,
  Argmax: argument,
  Argmin: argument,
  TopK: op(1, { k: 'u32', largest: 'bool?' }, 2),
  CumulativeSum: elementwise(1, { axis: 'u32', exclusive: 'bool?', reverse: 'bool?' }),
} as const;

export type OpName = keyof typeof QNN_OPS;
/** Parameters of a typed op by name. */
export type OpParams<K extends OpName> = ParamsOf<(typeof QNN_OPS)[K]['params']>;

/** What is known of an op, or undefined. */
export function shapeOf(type: string): OpShape | undefined {
  return Object.hasOwn(QNN_OPS, type) ? QNN_OPS[type as OpName] : undefined;
}
