/**
 * What the compiler refuses of the typed QNN API, and what it takes. Nothing here runs: `npm run typecheck` fails when a line that must not compile does, and when one that must
 * does not.
 */
import { qnn } from '../../lib/index.js';

declare const g: qnn.GraphBuilder;

const per = qnn.scaleOffset(0.02, -128);
const weights = qnn.axis(0, new Float32Array(4).fill(0.01));

const u8 = g.input('u8', { dtype: 'u8', dims: [2, 8], encoding: per });
const s8 = g.input('s8', { dtype: 's8', dims: [2, 8], encoding: per });
const u16 = g.input('u16', { dtype: 'u16', dims: [2, 8], encoding: per });
const f16 = g.input('f16', { dtype: 'f16', dims: [2, 8] });
const f32 = g.input('f32', { dtype: 'f32', dims: [2, 8] });
const i32 = g.input('i32', { dtype: 'int32', dims: [2, 8] });
const image = g.input('image', { dtype: 'u8', dims: [1, 4, 4, 8], encoding: per });
const bool = g.internal('bool', { dtype: 'bool8', dims: [2, 8] });
const w = g.constant('w', { dtype: 's8', dims: [4, 8], encoding: weights, data: new Int8Array(32) });
const wOne = g.constant('wOne', { dtype: 's8', dims: [8, 4], encoding: per, data: new Int8Array(32) });
const wChannel = g.constant('wChannel', { dtype: 's8', dims: [8, 4], encoding: weights, data: new Int8Array(32) });
const gamma = g.constant('gamma', { dtype: 'f16', dims: [8], data: new Uint16Array(8) });
const y8 = g.output('y8', { dtype: 'u8', dims: [2, 4], encoding: per });
const y16 = g.output('y16', { dtype: 'u16', dims: [2, 4], encoding: per });
const yf = g.output('yf', { dtype: 'f16', dims: [2, 4] });
const same8 = g.output('same8', u8);
const sameF = g.output('sameF', f16);
const wide = g.output('wide', { dtype: 'u8', dims: [1, 2, 4], encoding: per });

/** What is right compiles. */
export function accepted(): void {
  g.op('FullyConnected', { inputs: [u8, w], outputs: [y8] });
  g.op('FullyConnected', { inputs: [f16, w], outputs: [yf] });
  g.op('MatMul', { inputs: [u8, wOne], outputs: [y8], params: { transpose_in1: false } });
  g.op('RmsNorm', { inputs: [f16, gamma], outputs: [sameF], params: { epsilon: 1e-5, axes: [1] } });
  g.op('ElementWiseAdd', { inputs: [u8, u8], outputs: [same8] });
  g.op('ElementWiseLess', { inputs: [i32, i32], outputs: [bool] });
  g.op('ElementWiseSelect', { inputs: [bool, f16, f16], outputs: [sameF] });
  g.op('Quantize', { inputs: [f16], outputs: [same8] });
  g.op('Softmax', { inputs: [f16], outputs: [sameF], params: { axis: 1, beta: 1 } });
  g.node({ type: 'FullyConnected', inputs: [u16, f32], outputs: [y8] });
}

/** Types and encodings of tensors. */
export function tensors(): void {
  // @ts-expect-error a fixed-point type needs an encoding
  g.input('a', { dtype: 'u8', dims: [1] });
  // @ts-expect-error a float has none
  g.input('b', { dtype: 'f16', dims: [1], encoding: per });
  // @ts-expect-error no such type
  g.input('c', { dtype: 'float16', dims: [1] });
  // @ts-expect-error a dimension is a number
  g.input('d', { dtype: 'f16', dims: ['8'] });
  // @ts-expect-error F16 data is Uint16Array
  g.constant('e', { dtype: 'f16', dims: [1], data: new Float32Array(1) });
  // @ts-expect-error S8 data is Int8Array
  g.constant('f', { dtype: 's8', dims: [1], encoding: per, data: new Uint8Array(1) });
  // @ts-expect-error a constant has data
  g.constant('g', { dtype: 'f32', dims: [1] });
  // @ts-expect-error INT32 data is Int32Array
  g.constant('h', { dtype: 'int32', dims: [1], data: new Uint32Array(1) });
  // @ts-expect-error an encoding is made by scaleOffset, axis and the like
  g.input('i', { dtype: 'u8', dims: [1], encoding: { scale: 1, offset: 0 } });
}

/** Types and encodings of nodes. */
export function dtypes(): void {
  // @ts-expect-error 8-bit inputs give 8-bit outputs
  g.op('FullyConnected', { inputs: [u8, w], outputs: [y16] });
  // @ts-expect-error 16-bit inputs give 16-bit outputs
  g.op('FullyConnected', { inputs: [u16, w], outputs: [y8] });
  // @ts-expect-error F16 inputs give F16 outputs
  g.op('FullyConnected', { inputs: [f16, w], outputs: [y8] });
  // @ts-expect-error S8 weights want no F32 activations
  g.op('FullyConnected', { inputs: [f32, w], outputs: [yf] });
  // @ts-expect-error a scale per channel crashes a MatMul
  g.op('MatMul', { inputs: [u8, wChannel], outputs: [y8] });
  // @ts-expect-error one type on both sides
  g.op('ElementWiseAdd', { inputs: [u8, f16], outputs: [same8] });
  // @ts-expect-error U8 and S8 are two types
  g.op('ElementWiseMultiply', { inputs: [u8, s8], outputs: [same8] });
  // @ts-expect-error the result has the type of the operands
  g.op('ElementWiseSubtract', { inputs: [f16, f16], outputs: [same8] });
  // @ts-expect-error a comparison gives BOOL8
  g.op('ElementWiseLess', { inputs: [f16, f16], outputs: [sameF] });
  // @ts-expect-error the condition is BOOL8
  g.op('ElementWiseSelect', { inputs: [f16, f16, f16], outputs: [sameF] });
  // @ts-expect-error Quantize takes a float
  g.op('Quantize', { inputs: [u8], outputs: [same8] });
  // @ts-expect-error Quantize gives fixed point
  g.op('Quantize', { inputs: [f16], outputs: [sameF] });
  // @ts-expect-error Dequantize takes fixed point
  g.op('Dequantize', { inputs: [f16], outputs: [sameF] });
  // @ts-expect-error gamma has the type of x
  g.op('RmsNorm', { inputs: [f32, gamma], outputs: [sameF], params: { epsilon: 1e-5, axes: [1] } });
  // @ts-expect-error Sigmoid of an integer
  g.op('Sigmoid', { inputs: [i32], outputs: [sameF] });
  // @ts-expect-error indices are whole numbers
  g.op('Gather', { inputs: [f16, f16], outputs: [sameF], params: { axis: 0 } });
  // @ts-expect-error And is of BOOL8
  g.op('ElementWiseAnd', { inputs: [u8, u8], outputs: [same8] });
}

/** Ranks. */
export function ranks(): void {
  // @ts-expect-error FullyConnected gives rank 2
  g.op('FullyConnected', { inputs: [u8, w], outputs: [wide] });
  // @ts-expect-error its weight is a matrix
  g.op('FullyConnected', { inputs: [u8, gamma], outputs: [y8] });
  // @ts-expect-error Conv2d takes images
  g.op('Conv2d', { inputs: [u8, w], outputs: [y8], params: { stride: [1, 1], pad_amount: [0, 0, 0, 0] } });
  // @ts-expect-error and gives images
  g.op('PoolAvg2d', { inputs: [image], outputs: [y8], params: { filter_size: [2, 2], stride: [2, 2], pad_amount: [0, 0, 0, 0] } });
  // @ts-expect-error gamma is a vector
  g.op('RmsNorm', { inputs: [f16, f16], outputs: [sameF], params: { epsilon: 1e-5, axes: [1] } });
}

/** Arity, names and parameters. */
export function nodes(): void {
  // @ts-expect-error no such op
  g.op('FullyConected', { inputs: [u8, w], outputs: [y8] });
  // @ts-expect-error a weight is missing
  g.op('FullyConnected', { inputs: [u8], outputs: [y8] });
  // @ts-expect-error one input too many
  g.op('Sigmoid', { inputs: [f16, f16], outputs: [sameF] });
  // @ts-expect-error no output
  g.op('Sigmoid', { inputs: [f16], outputs: [] });
  // @ts-expect-error axes are missing
  g.op('RmsNorm', { inputs: [f16, gamma], outputs: [sameF], params: { epsilon: 1e-5 } });
  // @ts-expect-error no such parameter
  g.op('Softmax', { inputs: [f16], outputs: [sameF], params: { dim: 1 } });
  // @ts-expect-error a number is expected
  g.op('Softmax', { inputs: [f16], outputs: [sameF], params: { axis: '1' } });
  // @ts-expect-error a name is no tensor
  g.op('Sigmoid', { inputs: ['f16'], outputs: [sameF] });
}

declare const context: qnn.Context;

/** Inputs and outputs of an execution. */
export function executions(): void {
  const builder = context.createGraph('silu');
  const x = builder.input('x', { dtype: 'f16', dims: [2, 8] });
  const y = builder.output('y', x);
  const graph = builder.finalize({ inputs: [x], outputs: [y] });
  const { y: found } = graph.execute({ x: new Uint16Array(16) });
  found satisfies Uint16Array;
  // @ts-expect-error F16 is Uint16Array
  graph.execute({ x: new Float32Array(16) });
  // @ts-expect-error no such input
  graph.execute({ z: new Uint16Array(16) });
  // @ts-expect-error the input is missing
  graph.execute({});
  // @ts-expect-error no such output
  graph.execute({ x: new Uint16Array(16) }).z;
  // @ts-expect-error no such output either
  graph.execute({ x: new Uint16Array(16) }, { outputs: { z: new Uint16Array(16) } });
}
