/**
 * Nodes of an NPU segment: QNN ops of package `qti.aisw` in the forms that Qualcomm's HTP accepts. Keys and attribute names are QNN's own.
 * Shapes are static; `rows` of what inference returns means nothing here (see `nodeResult`).
 */
import { isFloat, isQuantType } from './dtype.js';
import { type Attrs, arg, arity, badPlan, check, checkType, defineOp, dim, type Targets } from './schema.js';
import { elements, formatType, NO_QUANT, type TensorType } from './tensor.js';

const FLOATS = ['f32', 'f16'] as const;
const QUANTS = ['u8', 's8', 'u16'] as const;
const ACTIVATIONS = [...FLOATS, ...QUANTS] as const;

/** Quantised tensors carry scale and offset, floats carry nothing. */
function activation(t: TensorType, what: string, allowed: readonly TensorType['dtype'][] = ACTIVATIONS, rank?: number): TensorType {
  checkType(t, what, allowed, rank);
  check(t.quant.kind === (isQuantType(t.dtype) ? 'scale' : 'none'), () => `${what} ${formatType(t)} has the wrong kind of encoding`);
  return t;
}

/** [.., K] × weight → [.., N] with the encoding the caller asked for; HTP wants input and output of one type. */
function linearOutput(x: TensorType, w: TensorType, axes: { input: number; output: number }, target: Targets['encoding']): TensorType[] {
  check(
    w.dtype === 's8' && w.quant.kind === 'axis' && w.quant.axis === axes.output,
    () => `weight ${formatType(w)} is not s8 with scales on axis ${axes.output}`,
  );
  check(dim(w, axes.input) === dim(x, -1), () => `weight ${formatType(w)} for ${formatType(x)}`);
  const y: TensorType = { dtype: target.dtype, rows: x.rows, dims: [...x.dims.slice(0, -1), dim(w, axes.output)], quant: target.quant };
  activation(y, 'linear output');
  check(x.dtype === y.dtype, () => `linear from ${x.dtype} to ${y.dtype}; HTP has input and output of one type`);
  return [y];
}

function bias(inputs: readonly TensorType[], outputs: number): void {
  const b = inputs[2];
  if (b === undefined) return;
  checkType(b, 'bias', ['s32', 'f16'], 1);
  check(dim(b, 0) === outputs, () => `bias ${formatType(b)} for ${outputs} outputs`);
}

/** Elementwise with broadcasting of length-1 dimensions, floats only: between linears everything is F16. */
function binary(inputs: readonly TensorType[]): TensorType[] {
  arity(inputs, 2);
  const a = activation(arg(inputs, 0), 'left', FLOATS);
  const b = activation(arg(inputs, 1), 'right', FLOATS);
  check(a.dtype === b.dtype && a.dims.length === b.dims.length, () => `${formatType(a)} against ${formatType(b)}`);
  const dims = a.dims.map((d, i) => {
    const e = dim(b, i);
    check(d === e || d === 1 || e === 1, () => `${formatType(a)} against ${formatType(b)}`);
    return Math.max(d, e);
  });
  return [{ dtype: a.dtype, rows: 'fixed', dims, quant: NO_QUANT }];
}

function unary(inputs: readonly TensorType[]): TensorType[] {
  arity(inputs, 1);
  return [activation(arg(inputs, 0), 'input', FLOATS)];
}

function isU32s(t: { dims: readonly number[]; values: readonly number[] }, dims: readonly number[], values: readonly number[]): boolean {
  return (
    t.dims.length === dims.length &&
    t.dims.every((d, i) => d === dims[i]) &&
    t.values.length === values.length &&
    t.values.every((v, i) => v === values[i])
  );
}

export const NPU_OPS = {
  Quantize: defineOp({}, 'encoding', (inputs, _, { dtype, quant }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'Quantize input', FLOATS);
    return [activation({ ...x, dtype, quant }, 'Quantize output', QUANTS)];
  }),

  Dequantize: defineOp({}, 'float', (inputs, _, { dtype }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'Dequantize input', QUANTS);
    return [{ ...x, dtype, quant: NO_QUANT }];
  }),

  /** Between widths of quantised types, or between float types. */
  Convert: defineOp({}, 'encoding', (inputs, _, { dtype, quant }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'Convert input');
    const y = activation({ ...x, dtype, quant }, 'Convert output');
    check(isFloat(x.dtype) === isFloat(y.dtype), () => `Convert from ${x.dtype} to ${y.dtype}`);
    return [y];
  }),

  /** x [M, K], weight S8 [N, K] with scales on axis 0 [, bias [N]] → [M, N]. */
  FullyConnected: defineOp({}, 'encoding', (inputs, _, target) => {
    arity(inputs, 2, 3);
    const x = activation(arg(inputs, 0), 'FullyConnected input', ['u8', 's8', 'u16', 'f16'], 2);
    const w = arg(inputs, 1);
    checkType(w, 'FullyConnected weight', ['s8'], 2);
    bias(inputs, dim(w, 0));
    return linearOutput(x, w, { input: 1, output: 0 }, target);
  }),

  /** 1×1 only: x [1, 1, M, K], weight S8 [1, 1, K, N] with scales on axis 3 → [1, 1, M, N]. */
  Conv2d: defineOp({ stride: 'u32s', pad_amount: 'u32s' }, 'encoding', (inputs, a, target) => {
    arity(inputs, 2, 3);
    const x = activation(arg(inputs, 0), 'Conv2d input', ['u8', 's8', 'u16'], 4);
    const w = arg(inputs, 1);
    checkType(w, 'Conv2d filter', ['s8'], 4);
    check(dim(w, 0) === 1 && dim(w, 1) === 1, () => `Conv2d filter ${formatType(w)} is not 1×1`);
    check(isU32s(a.stride, [2], [1, 1]) && isU32s(a.pad_amount, [2, 2], [0, 0, 0, 0]), () => 'Conv2d is 1×1 with stride 1 and no padding');
    bias(inputs, dim(w, 3));
    return linearOutput(x, w, { input: 2, output: 3 }, target);
  }),

  /** x, gamma, beta (zeros: HTP wants one) over the last axis. */
  RmsNorm: defineOp({ epsilon: 'f32', axes: 'u32s' }, 'inferred', (inputs, a) => {
    arity(inputs, 3);
    const x = activation(arg(inputs, 0), 'RmsNorm input', FLOATS);
    for (const [i, what] of [
      [1, 'gamma'],
      [2, 'beta'],
    ] as const) {
      const t = arg(inputs, i);
      checkType(t, what, [x.dtype], 1);
      check(dim(t, 0) === dim(x, -1), () => `${what} ${formatType(t)} for ${formatType(x)}`);
    }
    check(isU32s(a.axes, [1], [x.dims.length - 1]), () => 'RmsNorm is over the last axis');
    return [x];
  }),

  ElementWiseAdd: defineOp({}, 'inferred', binary),
  ElementWiseMultiply: defineOp({}, 'inferred', binary),
  Sigmoid: defineOp({}, 'inferred', unary),
  Relu: defineOp({}, 'inferred', unary),

  Reshape: defineOp({}, 'shape', (inputs, _, { dims }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'Reshape input');
    check(elements(dims) === elements(x.dims), () => `Reshape of ${formatType(x)} to [${dims.join(', ')}]`);
    return [{ ...x, dims: [...dims] }];
  }),

  /** x, indices (integers, any shape) → x with dimension `axis` replaced by the indices' shape. */
  Gather: defineOp({ axis: 'i32' }, 'inferred', (inputs, { axis }) => {
    arity(inputs, 2);
    const x = activation(arg(inputs, 0), 'Gather input');
    const indices = arg(inputs, 1);
    checkType(indices, 'Gather indices', ['u32', 's32']);
    if (!Number.isInteger(axis) || axis < 0 || axis >= x.dims.length) throw badPlan(`Gather of ${formatType(x)} on axis ${axis}`);
    const dims = [...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)];
    return [{ ...x, dims }];
  }),
} as const;

/**
 * A node's output as a tensor of the graph: a matrix of `chunk` rows is a chunk tensor, which CPU steps may read (the NPU computes all rows,
 * only the valid ones count); anything else is of fixed shape and stays inside its segment.
 */
export function nodeResult(type: TensorType, chunk: number): TensorType {
  return { ...type, rows: type.dims.length === 2 && type.dims[0] === chunk ? 'chunk' : 'fixed' };
}

export type NpuOp = keyof typeof NPU_OPS;
export const NPU_OP_NAMES = Object.keys(NPU_OPS) as NpuOp[];
export type NpuAttrs<K extends NpuOp> = Attrs<(typeof NPU_OPS)[K]['attrs']>;
