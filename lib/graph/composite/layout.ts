/** View, Transpose, MergeOutput, SplitInput: data moves, type and encoding stay. */
import { sameType } from '../npu/checks.js';
import { SHAPE_OPS } from '../npu/shape-ops.js';
import type { NpuBuilder } from '../npu-builder.js';
import { vector } from '../npu-builder.js';
import { arg, arity, check } from '../schema.js';
import { elements, formatType, sameDims, type TensorId, type TensorType } from '../tensor.js';
import { composite, type NoAttrs, only, operand } from './composite.js';

function view(x: TensorType, dims: readonly number[]): TensorType[] {
  return SHAPE_OPS.Reshape.infer([x], {}, { dims }, { chunk: 0 });
}

/** [1, n], as x or by a node. */
function flat(b: NpuBuilder, x: TensorId, name: string): TensorId {
  const { dims } = b.tensor(x);
  const line = [1, elements(dims)];
  return sameDims(dims, line) ? x : b.reshape(x, line, name);
}

/** [1, Σ n] of the parts one after the other. */
function merged(parts: readonly TensorType[]): TensorType {
  const first = arg(parts, 0);
  for (const t of parts) sameType(first, t, 'MergeOutput');
  return { ...first, rows: 'fixed', dims: [1, parts.reduce((n, t) => n + elements(t.dims), 0)] };
}

export interface SplitInputAttrs {
  /** Shapes of the parts, in the order in which they lie. */
  readonly parts: readonly (readonly number[])[];
}

export const LAYOUT = {
  /** Same elements in the same order, other dimensions. */
  View: composite<{ readonly dims: readonly number[] }>(
    (inputs, { dims }) => view(only(inputs), dims),
    (b, inputs, { dims }, name) => inputs.map((x) => b.reshape(x, dims, name)),
  ),

  /** Dimension i of the result is dimension perm[i] of the input. */
  Transpose: composite<{ readonly perm: readonly number[] }>(
    (inputs, { perm }) => SHAPE_OPS.Transpose.infer([only(inputs)], { perm: vector(perm) }, null, { chunk: 0 }),
    (b, inputs, { perm }, name) => inputs.map((x) => b.transpose(x, perm, name)),
  ),

  /** Tensors of one type and encoding, each row major, one after the other: [1, Σ n]. One buffer for all results of a graph. */
  MergeOutput: composite<NoAttrs>(
    (inputs) => {
      arity(inputs, 1, 64);
      for (const t of inputs) only([t]);
      return [merged(inputs)];
    },
    (b, inputs, _, name) => {
      const first = operand(inputs, 0);
      if (inputs.length === 1) return [b.reshape(first, merged([b.tensor(first)]).dims, name)];
      const lines = inputs.map((x, i) => flat(b, x, `${name}.part${i}`));
      return [b.concat(lines, 1, name)];
    },
  ),

  /** The reverse: a tensor of any shape cut into parts, named `name.0`, `name.1`, … */
  SplitInput: composite<SplitInputAttrs>(
    (inputs, { parts }) => {
      const x = only(inputs);
      const sizes = parts.map(elements);
      check(parts.length > 0 && parts.length <= 64, () => `${parts.length} parts`);
      check(sizes.reduce((n, size) => n + size, 0) === elements(x.dims), () => `${formatType(x)} into parts of ${sizes.join(', ')}`);
      return parts.flatMap((dims, i) => view({ ...x, rows: 'fixed', dims: [sizes[i] ?? 0] }, dims));
    },
    (b, inputs, { parts }, name) => {
      const x = operand(inputs, 0);
      const [whole] = parts;
      if (parts.length === 1 && whole !== undefined) return [b.reshape(x, whole, `${name}.0`)];
      const sizes = parts.map(elements);
      const cuts = sizes.slice(0, -1).map((_, i) => sizes.slice(0, i + 1).reduce((n, size) => n + size, 0));
      const isLine = parts.map((dims, i) => sameDims(dims, [1, sizes[i] ?? 0]));
      const lines = b.split(
        flat(b, x, `${name}.line`),
        1,
        cuts,
        isLine.map((line, i) => (line ? `${name}.${i}` : `${name}.part${i}`)),
      );
      return lines.map((line, i) => (isLine[i] ? line : b.reshape(line, parts[i] ?? [], `${name}.${i}`)));
    },
  ),
} as const;
