/**
 * Which types go together in each op, for the compiler only. The forms are those that Qualcomm's HTP accepts (docs/qnn.md); what is missing
 * can still be asked of a library by an untyped node. Shapes beyond the rank are the library's business.
 */
import type { DType, FixedPoint } from './dtype.js';
import type { EncodingKind } from './encoding.js';
import type { OpName } from './ops.js';
import type { Dims, Rank1, Rank2, Rank3, Rank4, Tensor } from './tensor.js';

/** Inputs and outputs of one form. */
export interface Form<I extends readonly unknown[], O extends readonly unknown[]> {
  readonly inputs: Readonly<I>;
  readonly outputs: Readonly<O>;
}

/** An activation: one scale and offset when fixed point, no encoding otherwise. */
export type Act<D extends DType, S extends Dims = Dims> = Tensor<string, D, S, D extends FixedPoint ? 'scaleOffset' : 'none'>;
/** A tensor of a type with any encoding. */
type Any<D extends DType, S extends Dims = Dims, K extends EncodingKind = EncodingKind> = Tensor<string, D, S, K>;

type Quant = 'u8' | 's8' | 'u16' | 's16';
type Float = 'f16' | 'f32';
type Index = 'uint32' | 'int32';
type Number = Quant | Float;
type NotS16 = Exclude<Number, 's16'>;
type Castable = NotS16 | Index | 'bool8';

/** A weight in an `s8` tensor: 8 bits, or fewer with a bitwidth or blockwise encoding. */
type Weight8<S extends Dims, K extends EncodingKind = 'scaleOffset' | 'axis' | 'bw' | 'bwAxis' | 'blockwise'> = Any<'s8', S, K>;
type QuantBias = Any<'s32', Rank1> | Act<'u8', Rank1> | null;

type Unary<D extends DType> = D extends DType ? Form<[x: Act<D>], [y: Act<D>]> : never;
type Binary<D extends DType> = D extends DType ? Form<[a: Act<D>, b: Act<D>], [y: Act<D>]> : never;
type Compare<D extends DType> = D extends DType ? Form<[a: Act<D>, b: Act<D>], [y: Act<'bool8'>]> : never;
type Logic = Form<[a: Act<'bool8'>, b: Act<'bool8'>], [y: Act<'bool8'>]>;
type Select<D extends DType> = D extends DType ? Form<[condition: Act<'bool8'>, a: Act<D>, b: Act<D>], [y: Act<D>]> : never;
type FourD<D extends DType> = D extends DType ? Form<[x: Act<D, Rank4>], [y: Act<D, Rank4>]> : never;
type ToMany<D extends DType> = D extends DType ? Form<[x: Act<D>], Act<D>[]> : never;
type FromMany<D extends DType> = D extends DType ? Form<Act<D>[], [y: Act<D>]> : never;
type Indexed<D extends DType> = D extends DType ? Form<[x: Act<D>, indices: Act<Index>], [y: Act<D>]> : never;
type Scatter<D extends DType> = D extends DType ? Form<[x: Act<D>, indices: Act<Index>, updates: Act<D>], [y: Act<D>]> : never;
type Argument<D extends DType> = D extends DType ? Form<[x: Act<D>], [index: Act<Index>]> : never;
type TopK<D extends DType> = D extends DType ? Form<[x: Act<D>], [values: Act<D>, indices: Act<Index>]> : never;
type Quantize<D extends DType> = D extends DType ? Form<[x: Act<Float>], [y: Act<D>]> : never;

type FullyConnected<D extends DType> = D extends 'u8' | 's8' | 'u16'
  ? Form<[x: Act<D, Rank2 | Rank3 | Rank4>, weight: Weight8<Rank2> | Act<'u8', Rank2>, bias?: QuantBias], [y: Act<D, Rank2>]>
  : D extends 's16'
    ? Form<[x: Act<'s16', Rank2 | Rank3 | Rank4>, weight: Weight8<Rank2>, bias?: Any<'s32', Rank1> | null], [y: Act<'s16', Rank2>]>
    : D extends 'f16'
      ? Form<
          [
            x: Act<'f16', Rank2 | Rank3 | Rank4>,
            weight: Weight8<Rank2, 'axis' | 'scaleOffset' | 'bw' | 'bwAxis'> | Act<'f16', Rank2>,
            bias?: Act<'f16', Rank1> | null,
          ],
          [y: Act<'f16', Rank2>]
        >
      : D extends 'f32'
        ? Form<[x: Act<'f32', Rank2 | Rank3 | Rank4>, weight: Act<'f32', Rank2>, bias?: Act<'f32', Rank1> | null], [y: Act<'f32', Rank2>]>
        : never;

/** The right side may be a weight with one scale; per-channel scales crash Qualcomm's library and are no form. */
type MatMul<D extends DType> = D extends 'u8' | 's8'
  ? Form<[a: Act<D>, b: Act<'u8'> | Act<'s8'>, bias?: QuantBias], [y: Act<D>]>
  : D extends 'u16' | 's16'
    ? Form<[a: Act<D>, b: Act<Quant>, bias?: QuantBias], [y: Act<D>]>
    : D extends 'f16' | 'f32'
      ? Form<[a: Act<D>, b: Act<D>, bias?: Act<D, Rank1> | null], [y: Act<D>]>
      : never;

type Convolution<D extends DType> = D extends Quant
  ? Form<[x: Act<D, Rank4>, filter: Weight8<Rank4> | Act<'u8', Rank4>, bias?: QuantBias], [y: Act<D, Rank4>]>
  : D extends 'f16'
    ? Form<
        [
          x: Act<'f16', Rank4>,
          filter: Weight8<Rank4, 'axis' | 'scaleOffset' | 'bw' | 'bwAxis'> | Act<'f16', Rank4>,
          bias?: Act<'f16', Rank1> | null,
        ],
        [y: Act<'f16', Rank4>]
      >
    : D extends 'f32'
      ? Form<[x: Act<'f32', Rank4>, filter: Act<'f32', Rank4>, bias?: Act<'f32', Rank1> | null], [y: Act<'f32', Rank4>]>
      : never;

/** gamma and beta in x's type; a quantised beta is `s32`. */
type Norm<D extends DType> = D extends FixedPoint
  ? Form<[x: Act<D>, gamma?: Act<'u8' | 's8' | 'u16', Rank1>, beta?: Any<'s32', Rank1> | Act<'u8' | 'u16', Rank1> | null], [y: Act<D>]>
  : D extends DType
    ? Form<[x: Act<D>, gamma?: Act<D, Rank1>, beta?: Act<D, Rank1> | null], [y: Act<D>]>
    : never;

/** Inputs and outputs of each op. The types are those that the runtime accepted for SoC 57 (lib/qnn/matrix has what was measured). */
export interface OpForms {
  Quantize: Quantize<Quant>;
  Dequantize: Form<[x: Act<Quant>], [y: Act<Float>]>;
  Convert: Form<[x: Act<Number>], [y: Act<Number>]>;
  Cast: Form<[x: Act<Castable>], [y: Act<Castable>]>;

  FullyConnected: FullyConnected<Number>;
  MatMul: MatMul<Number>;
  Conv2d: Convolution<Number>;
  DepthWiseConv2d: Convolution<NotS16>;
  TransposeConv2d: Convolution<Number>;
  PoolAvg2d: FourD<NotS16>;
  PoolMax2d: FourD<Number>;
  HadamardTransform: Unary<'u16' | 's16'>;

  RmsNorm: Norm<'u8' | 'u16' | Float>;
  LayerNorm: Norm<'u8' | 'u16' | Float>;
  L2Norm: Unary<Number>;
  Softmax: Unary<Number> | Form<[x: Act<Quant>], [y: Act<'f32'>]>;
  LogSoftmax: Unary<'u8' | 'u16' | Float>;

  ElementWiseAdd: Binary<Number | 'int32'>;
  ElementWiseSubtract: Binary<Number | 'int32'>;
  ElementWiseMultiply: Binary<Number | Index>;
  ElementWiseDivide: Binary<Number | 'int32'>;
  ElementWiseMaximum: Binary<Number | Index>;
  ElementWiseMinimum: Binary<NotS16 | Index>;
  ElementWisePower: Binary<NotS16>;
  ElementWiseSquaredDifference: Binary<Number>;
  ElementWiseFloorDiv: Binary<Number>;
  ElementWiseEqual: Compare<Number | 'int32'>;
  ElementWiseNotEqual: Compare<Number | 'int32'>;
  ElementWiseGreater: Compare<Number | 'int32'>;
  ElementWiseGreaterEqual: Compare<Number | 'int32'>;
  ElementWiseLess: Compare<Number | 'int32'>;
  ElementWiseLessEqual: Compare<Number | 'int32'>;
  ElementWiseAnd: Logic;
  ElementWiseOr: Logic;
  ElementWiseNot: Unary<'bool8'>;
  ElementWiseSelect: Select<Number | 'int32'>;
  ElementWiseAbs: Unary<NotS16 | 'int32'>;
  ElementWiseNeg: Unary<'u8' | 'u16' | Float>;
  ElementWiseExp: Unary<NotS16>;
  ElementWiseLog: Unary<NotS16>;
  ElementWiseFloor: Unary<NotS16>;
  ElementWiseCeil: Unary<NotS16>;
  ElementWiseRound: Unary<NotS16>;
  ElementWiseSign: Unary<NotS16>;
  ElementWiseSin: Unary<NotS16>;
  ElementWiseCos: Unary<NotS16>;
  ElementWiseSquareRoot: Unary<Number>;
  ElementWiseRsqrt: Unary<Number>;
  ElementWiseBinary: Binary<Number | 'int32'> | Compare<Number | 'int32'> | Logic;
  ElementWiseUnary: Unary<NotS16 | 'int32' | 'bool8'>;
  ElementWiseNeuron: Unary<Number>;
  Relu: Unary<Number>;
  Relu6: Unary<NotS16>;
  ReluMinMax: Unary<NotS16 | 'int32'>;
  Gelu: Unary<Number>;
  HardSwish: Unary<NotS16>;
  Sigmoid: Unary<Number>;
  Tanh: Unary<Number>;
  Elu: Unary<Number>;
  Prelu: Binary<Number>;

  Reshape: Unary<Number | Index | 'bool8'>;
  Transpose: Unary<Number | Index | 'bool8'>;
  ExpandDims: Unary<NotS16>;
  Squeeze: Unary<NotS16>;
  Tile: Unary<NotS16 | 'int32' | 'bool8'>;
  Pad: Unary<NotS16>;
  StridedSlice: Unary<Number | 'int32'>;
  Split: ToMany<Number | 'int32' | 's32' | 'bool8'>;
  Concat: FromMany<Number | Index | 'bool8'>;
  Pack: FromMany<NotS16>;
  UnPack: ToMany<Number>;
  Gather: Indexed<Number | Index>;
  GatherElements: Indexed<'u8' | 'u16' | Float | 'int32'>;
  GatherNd: Indexed<NotS16 | 'int32'>;
  ScatterNd: Scatter<Number | Index | 'bool8'>;
  ScatterElements: Scatter<'u8' | 'u16' | Float | 'int32'>;
  DepthToSpace: FourD<NotS16>;
  SpaceToDepth: FourD<NotS16>;
  ResizeBilinear: FourD<Number>;
  ResizeNearestNeighbor: FourD<NotS16>;

  ReduceMean: Unary<Number>;
  ReduceSum: Unary<Number | 'int32'>;
  ReduceMax: Unary<Number | 'int32'>;
  ReduceMin: Unary<NotS16 | 'int32'>;
  Argmax: Argument<NotS16 | Index>;
  Argmin: Argument<NotS16>;
  TopK: TopK<NotS16 | 'int32'>;
  CumulativeSum: Unary<'u8' | 'u16' | Float | 'int32'>;
}

/** Every op of the table has forms and the other way round: this line does not compile when one is missing. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never;
export const FORMS_ARE_COMPLETE: Same<keyof OpForms, OpName> = true;
