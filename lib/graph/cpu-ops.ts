/** CPU steps of a plan: the one source of truth for their codes, attributes, shapes and types (docs/architecture.md, "Plan"). */
import { isWeightType, needsWholeBlocks } from './dtype.js';
import { type Attrs, arg, arity, check, checkType, defineOp, dim } from './schema.js';
import { formatType, NO_QUANT, type TensorType } from './tensor.js';

/** Rows of the matrix of a rotate step at most. */
export const MAX_ROTATION_MATRIX = 256;

const F32 = ['f32'] as const;
const FLOATS = ['f32', 'f16'] as const;
const QUANTS = ['u8', 's8', 'u16'] as const;

/** An activation [rows, cols]: F32 unless said. */
function rowsOf(t: TensorType, what: string, allowed: readonly TensorType['dtype'][] = F32): TensorType {
  checkType(t, what, allowed, 2);
  check(t.rows !== 'fixed', () => `${what} is ${formatType(t)}; a tensor of rows is expected`);
  return t;
}

function vector(t: TensorType, what: string, length: number): void {
  checkType(t, what, F32, 1);
  check(dim(t, 0) === length, () => `${what} is ${formatType(t)}; ${length} elements are expected`);
}

function weightMatrix(t: TensorType, what: string): TensorType {
  check(isWeightType(t.dtype) && t.dims.length === 2, () => `${what} is ${formatType(t)}; a matrix of a weight type is expected`);
  check(t.rows === 'fixed', () => `${what} ${formatType(t)} is not a weight`);
  check(!needsWholeBlocks(t.dtype) || dim(t, 1) % 32 === 0, () => `${what} is ${formatType(t)}; columns must be a multiple of 32`);
  return t;
}

function sameShape(a: TensorType, b: TensorType, what: string): void {
  check(
    a.rows === b.rows && dim(a, 0) === dim(b, 0) && dim(a, 1) === dim(b, 1),
    () => `${what}: ${formatType(a)} against ${formatType(b)}`,
  );
}

/** F32 with the rows of `x`. */
function f32Rows(x: TensorType, cols = dim(x, 1)): TensorType {
  return { dtype: 'f32', rows: x.rows, dims: [dim(x, 0), cols], quant: NO_QUANT };
}

function elementwise(inputs: readonly TensorType[]): TensorType[] {
  arity(inputs, 2);
  const a = rowsOf(arg(inputs, 0), 'left');
  sameShape(a, rowsOf(arg(inputs, 1), 'right'), 'shapes differ');
  return [f32Rows(a)];
}

function headsOf(t: TensorType, what: string, heads: number, headDim: number): void {
  check(heads > 0 && headDim > 0 && headDim % 2 === 0, () => `${heads} heads of ${headDim}`);
  check(dim(t, 1) === heads * headDim, () => `${what} ${formatType(t)} is not ${heads} heads of ${headDim}`);
}

const shadowAttrs = {
  hasBase: 'bool',
  hasQuantizedOutput: 'bool',
  xScale: 'f64',
  xOffset: 'f64',
  xBits: 'u32',
  xSigned: 'bool',
  hasHot: 'bool',
} as const;

/** Its weight has the Conv2d layout, so that row k (all outputs of input channel k) is contiguous. */
function inferShadow(inputs: readonly TensorType[], a: Attrs<typeof shadowAttrs>, target: { readonly dtype: 'f32' | 'f16' }): TensorType[] {
  arity(inputs, 2 + Number(a.hasBase) + Number(a.hasQuantizedOutput) + Number(a.hasHot));
  check(a.hasBase || a.hasQuantizedOutput, () => 'shadow with neither base nor quantised output');
  const x = rowsOf(arg(inputs, 0), 'shadow input', FLOATS);
  const w = arg(inputs, 1);
  checkType(w, 'shadow weight', ['s8'], 4);
  check(
    dim(w, 0) === 1 && dim(w, 1) === 1 && w.quant.kind === 'axis' && w.quant.axis === 3,
    () => `shadow weight ${formatType(w)} is not [1, 1, in, out] with scales on axis 3`,
  );
  check(dim(x, 1) === dim(w, 2), () => `shadow input ${formatType(x)} for a weight of ${dim(w, 2)} inputs`);
  check(a.xBits === 8, () => `shadow of a ${a.xBits}-bit input; only 8-bit inputs clip`);
  check(a.xScale > 0 && Number.isInteger(a.xOffset), () => `shadow with scale ${a.xScale} and offset ${a.xOffset}`);
  const y: TensorType = { ...f32Rows(x, dim(w, 3)), dtype: target.dtype };
  if (a.hasBase) sameShape(rowsOf(arg(inputs, 2), 'shadow base', FLOATS), y, 'shadow base has another shape');
  if (a.hasQuantizedOutput) {
    const yq = rowsOf(arg(inputs, a.hasBase ? 3 : 2), 'quantised output', ['u8', 's8']);
    check(yq.quant.kind === 'scale', () => `quantised output ${formatType(yq)} has no encoding`);
    sameShape(yq, y, 'quantised output has another shape');
  }
  if (a.hasHot) {
    const hot = arg(inputs, inputs.length - 1);
    checkType(hot, 'hot channels', ['u32'], 1);
    check(dim(hot, 0) <= dim(x, 1), () => `hot channels are ${formatType(hot)} for ${formatType(x)}`);
  }
  return [y];
}

/** Ops in code order: the code of an op is its place here. Attributes in encoded order. */
export const CPU_OPS = {
  /** Runs segment `segment`. Its inputs and outputs are those of the segment (segments.ts), so it infers nothing. */
  segment: defineOp({ segment: 'u32' }, 'inferred', () => []),

  embed: defineOp({}, 'float', (inputs, _, { dtype }, { chunk }) => {
    arity(inputs, 1);
    return [{ dtype, rows: 'chunk', dims: [chunk, dim(weightMatrix(arg(inputs, 0), 'embedding'), 1)], quant: NO_QUANT }];
  }),

  /** A gain shorter than the rows norms each piece of its length: the heads of q and k. */
  rms_norm: defineOp({ eps: 'f64' }, 'inferred', (inputs, { eps }) => {
    arity(inputs, 2);
    const x = rowsOf(arg(inputs, 0), 'rms_norm input');
    const gain = arg(inputs, 1);
    vector(gain, 'gain', dim(gain, 0));
    check(dim(x, 1) % dim(gain, 0) === 0, () => `gain ${formatType(gain)} does not divide the columns of ${formatType(x)}`);
    check(eps > 0, () => `eps ${eps}`);
    return [f32Rows(x)];
  }),

  linear: defineOp({ exact: 'bool' }, 'inferred', (inputs) => {
    arity(inputs, 2, 9);
    const x = rowsOf(arg(inputs, 0), 'linear input');
    return inputs.slice(1).map((w, i) => {
      check(dim(weightMatrix(w, `weight ${i}`), 1) === dim(x, 1), () => `weight ${i} ${formatType(w)} against ${formatType(x)}`);
      return f32Rows(x, dim(w, 0));
    });
  }),

  /** `levels`: cosines and sines are rounded to multiples of 1/levels; 0: they are not. */
  rope: defineOp({ heads: 'u32', headDim: 'u32', theta: 'f64', interleaved: 'bool', levels: 'u32' }, 'inferred', (inputs, a) => {
    arity(inputs, 1, 2);
    const x = rowsOf(arg(inputs, 0), 'rope input');
    headsOf(x, 'rope input', a.heads, a.headDim);
    check(a.theta > 0, () => `theta ${a.theta}`);
    if (inputs.length === 2) vector(arg(inputs, 1), 'rope factors', a.headDim / 2);
    return [f32Rows(x)];
  }),

  kv_append: defineOp({ layer: 'u32' }, 'inferred', (inputs) => {
    arity(inputs, 2);
    sameShape(rowsOf(arg(inputs, 0), 'keys'), rowsOf(arg(inputs, 1), 'values'), 'keys and values differ');
    return [];
  }),

  attention: defineOp({ layer: 'u32', heads: 'u32', kvHeads: 'u32', headDim: 'u32', scale: 'f64' }, 'inferred', (inputs, a) => {
    arity(inputs, 1);
    const q = rowsOf(arg(inputs, 0), 'queries');
    headsOf(q, 'queries', a.heads, a.headDim);
    check(a.kvHeads > 0 && a.heads % a.kvHeads === 0, () => `${a.heads} heads for ${a.kvHeads} KV heads`);
    return [f32Rows(q)];
  }),

  silu_mul: defineOp({}, 'inferred', elementwise),

  add: defineOp({}, 'inferred', elementwise),

  convert: defineOp({}, 'float', (inputs, _, { dtype }) => {
    arity(inputs, 1);
    const x = rowsOf(arg(inputs, 0), 'convert input', FLOATS);
    check(x.dtype !== dtype, () => `convert from ${dtype} to itself`);
    return [{ ...f32Rows(x), dtype }];
  }),

  quantize: defineOp({}, 'encoding', (inputs, _, { dtype, quant }) => {
    arity(inputs, 1);
    const x = rowsOf(arg(inputs, 0), 'quantize input', FLOATS);
    const y: TensorType = { ...f32Rows(x), dtype, quant };
    rowsOf(y, 'quantize output', QUANTS);
    check(quant.kind === 'scale', () => `quantize output ${formatType(y)} has no encoding`);
    return [y];
  }),

  dequantize: defineOp({}, 'float', (inputs, _, { dtype }) => {
    arity(inputs, 1);
    const x = rowsOf(arg(inputs, 0), 'dequantize input', QUANTS);
    check(x.quant.kind === 'scale', () => `dequantize input ${formatType(x)} has no encoding`);
    return [{ ...f32Rows(x), dtype }];
  }),

  shadow: defineOp(shadowAttrs, 'float', inferShadow),

  select_rows: defineOp({}, 'inferred', (inputs) => {
    arity(inputs, 1);
    const x = rowsOf(arg(inputs, 0), 'select_rows input', FLOATS);
    check(x.rows === 'chunk', () => `select_rows of ${formatType(x)}`);
    return [{ ...f32Rows(x), rows: 'logits' }];
  }),

  bias_add: defineOp({}, 'inferred', (inputs) => {
    arity(inputs, 2);
    const x = rowsOf(arg(inputs, 0), 'bias_add input');
    vector(arg(inputs, 1), 'bias', dim(x, 1));
    return [f32Rows(x)];
  }),

  observe: defineOp({ site: 'u32' }, 'inferred', (inputs) => {
    arity(inputs, 1);
    rowsOf(arg(inputs, 0), 'observed tensor');
    return [];
  }),

  /** y[r, c] = x[r, order[c]]. */
  permute: defineOp({}, 'inferred', (inputs) => {
    arity(inputs, 2);
    const x = rowsOf(arg(inputs, 0), 'permute input');
    const order = arg(inputs, 1);
    checkType(order, 'order', ['u32'], 1);
    check(dim(order, 0) === dim(x, 1), () => `order is ${formatType(order)} for ${formatType(x)}`);
    return [f32Rows(x)];
  }),

  relu_mul: defineOp({}, 'inferred', elementwise),

  /** y = (x ∘ diagonal) · (H ⊗ matrix) with the normalised Hadamard matrix H; `inverse`: y = (x · (H ⊗ matrix)ᵀ) ∘ diagonal. */
  rotate: defineOp({ inverse: 'bool' }, 'inferred', (inputs) => {
    arity(inputs, 3);
    const x = rowsOf(arg(inputs, 0), 'rotate input');
    vector(arg(inputs, 1), 'diagonal', dim(x, 1));
    const matrix = arg(inputs, 2);
    checkType(matrix, 'rotation matrix', F32, 2);
    const times = dim(x, 1) / dim(matrix, 0);
    check(
      matrix.rows === 'fixed' &&
        dim(matrix, 0) === dim(matrix, 1) &&
        dim(matrix, 0) <= MAX_ROTATION_MATRIX &&
        Number.isInteger(Math.log2(times)),
      () => `rotation matrix ${formatType(matrix)} for ${formatType(x)}`,
    );
    return [f32Rows(x)];
  }),

  /** y[r] = table[p], p the position of row r in the cache: what earlier steps would have computed. */
  stored_rows: defineOp({}, 'inferred', (inputs, _, __, { chunk }) => {
    arity(inputs, 1);
    const table = arg(inputs, 0);
    checkType(table, 'table', F32, 2);
    check(table.rows === 'fixed' && dim(table, 0) >= chunk, () => `table ${formatType(table)} for chunks of ${chunk}`);
    return [{ dtype: 'f32', rows: 'chunk', dims: [chunk, dim(table, 1)], quant: NO_QUANT }];
  }),

  /** y = 1 where x lies outside of an 8-bit range, 0 elsewhere. */
  clipped: defineOp({ xScale: 'f64', xOffset: 'f64', xSigned: 'bool' }, 'inferred', (inputs, a) => {
    arity(inputs, 1);
    check(a.xScale > 0 && Number.isInteger(a.xOffset), () => `a range with scale ${a.xScale} and offset ${a.xOffset}`);
    return [f32Rows(rowsOf(arg(inputs, 0), 'clipped input'))];
  }),
} as const;

export type CpuOp = keyof typeof CPU_OPS;
/** Names in code order. */
export const CPU_OP_NAMES = Object.keys(CPU_OPS) as CpuOp[];
export type CpuAttrs<K extends CpuOp> = Attrs<(typeof CPU_OPS)[K]['attrs']>;
