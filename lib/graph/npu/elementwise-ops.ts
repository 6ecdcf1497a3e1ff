/** Nodes that work element by element. A dimension of length 1 stretches to that of the other side; ranks are equal. */
import { arg, arity, check, defineOp, type Targets } from '../schema.js';
import { formatType, NO_QUANT, type TensorType } from '../tensor.js';
import { ACTIVATIONS, activation, broadcast, encoded, FLOATS, sameType, single } from './checks.js';

/** Left, right and result of one type; quantised ones have an encoding each. INT32 where HTP has it. */
function binary(inputs: readonly TensorType[], _: object, target: Targets['encoding']): TensorType[] {
  arity(inputs, 2);
  const allowed = [...ACTIVATIONS, 's32'] as const;
  const a = activation(arg(inputs, 0), 'left', allowed);
  const b = activation(arg(inputs, 1), 'right', allowed);
  check(a.dtype === b.dtype, () => `${formatType(a)} against ${formatType(b)}`);
  return [encoded(a, broadcast(a, b), target, 'result')];
}

/** One encoding for all: what is chosen from is not computed with. */
function choice(inputs: readonly TensorType[], _: object, target: Targets['encoding']): TensorType[] {
  const results = binary(inputs, _, target);
  for (const y of results) for (const t of inputs) sameType(t, y, 'choice');
  return results;
}

export const ELEMENTWISE_OPS = {
  ElementWiseAdd: defineOp({}, 'encoding', binary),
  ElementWiseSubtract: defineOp({}, 'encoding', binary),
  ElementWiseMultiply: defineOp({}, 'encoding', binary),
  ElementWiseDivide: defineOp({}, 'encoding', binary),
  ElementWiseMinimum: defineOp({}, 'encoding', choice),
  ElementWiseMaximum: defineOp({}, 'encoding', choice),

  /** 1 where left ≤ right. F32 is left out: HTP compares it as F16. */
  ElementWiseLessEqual: defineOp({}, 'inferred', (inputs) => {
    arity(inputs, 2);
    const a = activation(arg(inputs, 0), 'left', ['s32', 'f16']);
    const b = activation(arg(inputs, 1), 'right', [a.dtype]);
    return [{ dtype: 'bool8', rows: 'fixed', dims: broadcast(a, b), quant: NO_QUANT }];
  }),

  /** condition ? a : b. */
  ElementWiseSelect: defineOp({}, 'inferred', (inputs) => {
    arity(inputs, 3);
    const condition = activation(arg(inputs, 0), 'condition', ['bool8']);
    const a = activation(arg(inputs, 1), 'left', [...ACTIVATIONS, 's32']);
    const b = activation(arg(inputs, 2), 'right', [a.dtype]);
    sameType(a, b, 'choice');
    return [{ ...a, dims: broadcast({ ...a, dims: broadcast(a, b) }, condition) }];
  }),

  Sigmoid: defineOp({}, 'inferred', (inputs) => [single(inputs, 'input', FLOATS)]),
  /** The encoding of a quantised input is kept. */
  Relu: defineOp({}, 'inferred', (inputs) => [single(inputs, 'input')]),

  Gelu: defineOp({}, 'encoding', (inputs, _, target) => {
    const x = single(inputs, 'input');
    return [{ ...encoded(x, x.dims, target, 'result'), rows: x.rows }];
  }),
} as const;
