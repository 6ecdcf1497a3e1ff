/** Nodes that move data: type and encoding stay. */
import { arg, arity, badPlan, check, checkType, defineOp, dim } from '../schema.js';
import { elements, formatType, type TensorType } from '../tensor.js';
import { ACTIVATIONS, activation, checkAxis, INDICES, sameType, vectorOf } from './checks.js';

const MOVABLE = [...ACTIVATIONS, 'u32', 's32', 'bool8'] as const;

function movable(inputs: readonly TensorType[], i: number, what: string): TensorType {
  return activation(arg(inputs, i), what, MOVABLE);
}

/** x with dimension `axis` replaced. */
function withDim(x: TensorType, axis: number, length: number): TensorType {
  return { ...x, rows: 'fixed', dims: x.dims.map((d, i) => (i === axis ? length : d)) };
}

export const SHAPE_OPS = {
  Reshape: defineOp({}, 'shape', (inputs, _, { dims }) => {
    arity(inputs, 1);
    const x = movable(inputs, 0, 'Reshape input');
    check(dims.length > 0 && dims.every((d) => Number.isInteger(d) && d > 0), () => `Reshape to [${dims.join(', ')}]`);
    check(elements(dims) === elements(x.dims), () => `Reshape of ${formatType(x)} to [${dims.join(', ')}]`);
    return [{ ...x, dims: [...dims] }];
  }),

  /** Dimension i of the result is dimension perm[i] of x. */
  Transpose: defineOp({ perm: 'u32s' }, 'inferred', (inputs, { perm }) => {
    arity(inputs, 1);
    const x = movable(inputs, 0, 'Transpose input');
    const order = vectorOf(perm, 'perm');
    check(
      [...order].sort((a, b) => a - b).join() === [...x.dims.keys()].join(),
      () => `Transpose of ${formatType(x)} by [${order.join(', ')}]`,
    );
    return [{ ...x, rows: 'fixed', dims: order.map((from) => dim(x, from)) }];
  }),

  Concat: defineOp({ axis: 'u32' }, 'inferred', (inputs, { axis }) => {
    arity(inputs, 2, 64);
    const x = movable(inputs, 0, 'Concat input');
    checkAxis(axis, x, 'Concat');
    for (const t of inputs) {
      sameType(x, t, 'Concat');
      check(
        t.dims.length === x.dims.length && t.dims.every((d, i) => i === axis || d === x.dims[i]),
        () => `Concat of ${formatType(x)} and ${formatType(t)} on axis ${axis}`,
      );
    }
    return [
      withDim(
        x,
        axis,
        inputs.reduce((n, t) => n + dim(t, axis), 0),
      ),
    ];
  }),

  /** Cuts before each index of `split_index`. */
  Split: defineOp({ axis: 'u32', split_index: 'u32s' }, 'inferred', (inputs, { axis, split_index }) => {
    arity(inputs, 1);
    const x = movable(inputs, 0, 'Split input');
    check(x.dtype !== 'u32', () => 'HTP does not split u32');
    checkAxis(axis, x, 'Split');
    const cuts = [0, ...vectorOf(split_index, 'split_index'), dim(x, axis)];
    return cuts.slice(1).map((end, i) => {
      const begin = cuts[i] ?? 0;
      check(end > begin, () => `Split of ${formatType(x)} at ${split_index.values.join(', ')}`);
      return withDim(x, axis, end - begin);
    });
  }),

  /** Per dimension begin, end and stride. */
  StridedSlice: defineOp({ ranges: 'i32s' }, 'inferred', (inputs, { ranges }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'StridedSlice input', [...ACTIVATIONS, 's32']);
    check(ranges.dims.join() === `${x.dims.length},3`, () => `ranges of [${ranges.dims.join(', ')}] for ${formatType(x)}`);
    const dims = x.dims.map((d, i) => {
      const [begin = 0, end = 0, stride = 0] = ranges.values.slice(3 * i, 3 * i + 3);
      check(begin >= 0 && end > begin && end <= d && stride > 0, () => `StridedSlice ${begin}…${end} by ${stride} of ${formatType(x)}`);
      return Math.ceil((end - begin) / stride);
    });
    return [{ ...x, rows: 'fixed', dims }];
  }),

  /** x, indices (integers, any shape) → x with dimension `axis` replaced by the indices' shape. */
  Gather: defineOp({ axis: 'i32' }, 'inferred', (inputs, { axis }) => {
    arity(inputs, 2);
    // HTP accepts s8 and gives values off by 128 when the indices are no constant.
    const x = activation(arg(inputs, 0), 'Gather input', ['f32', 'f16', 'u8', 'u16', 's32', 'u32']);
    const indices = arg(inputs, 1);
    checkType(indices, 'Gather indices', INDICES);
    if (!Number.isInteger(axis) || axis < 0 || axis >= x.dims.length) throw badPlan(`Gather of ${formatType(x)} on axis ${axis}`);
    const dims = [...x.dims.slice(0, axis), ...indices.dims, ...x.dims.slice(axis + 1)];
    return [{ ...x, dims }];
  }),

  /** x with rows replaced: x[indices[i]] = updates[i], the last one where indices repeat. indices [.., 1] are rows of x. */
  ScatterNd: defineOp({ reduction: 'u32' }, 'inferred', (inputs, { reduction }) => {
    arity(inputs, 3);
    const x = activation(arg(inputs, 0), 'ScatterNd input', [...ACTIVATIONS, 's32', 'u32']);
    const indices = activation(arg(inputs, 1), 'ScatterNd indices', INDICES);
    const updates = arg(inputs, 2);
    check(reduction === 0, () => `ScatterNd with reduction ${reduction}; 0 is expected`);
    check(dim(indices, -1) === 1, () => `ScatterNd indices ${formatType(indices)}; the last dimension is to be 1`);
    sameType(x, updates, 'ScatterNd');
    const expected = [...indices.dims.slice(0, -1), ...x.dims.slice(1)];
    check(expected.join() === updates.dims.join(), () => `ScatterNd updates ${formatType(updates)} instead of [${expected.join(', ')}]`);
    return [{ ...x, rows: 'fixed' }];
  }),
} as const;
