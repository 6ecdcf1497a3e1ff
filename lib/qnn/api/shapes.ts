/**
 * Shapes of outputs where a library would go wrong without a word: Qualcomm's accepts some elementwise nodes with too small an output and then
 * writes beyond it, and crashes when it validates a MatMul with an output of one dimension.
 */
import { LutraError } from '../../graph/errors.js';
import type { Dims, Tensor } from './tensor.js';

/** elementwise: the inputs' shapes, broadcast against each other. matmul: as many dimensions as the input with most, at least 2. */
export type ShapeRule = 'elementwise' | 'matmul';

/** Shapes aligned at the last dimension; lengths of 1 stretch. Null when they do not go together. */
function broadcast(shapes: readonly Dims[]): number[] | null {
  const rank = Math.max(...shapes.map((dims) => dims.length));
  const out: number[] = [];
  for (let i = 1; i <= rank; i++) {
    const lengths = shapes.map((dims) => dims.at(-i) ?? 1).filter((length) => length !== 1);
    if (lengths.some((length) => length !== lengths[0])) return null;
    out.unshift(lengths[0] ?? 1);
  }
  return out;
}

function fits(rule: ShapeRule, inputs: readonly Dims[], output: Dims): boolean {
  switch (rule) {
    case 'elementwise': {
      const dims = broadcast(inputs);
      return dims !== null && dims.length === output.length && dims.every((length, i) => length === output[i]);
    }
    case 'matmul': {
      const ranks = inputs.slice(0, 2).map((dims) => dims.length);
      return ranks.every((rank) => rank >= 2) && output.length === Math.max(...ranks);
    }
    default:
      return rule satisfies never;
  }
}

/** Throws LUTRA_INVALID_ARGUMENT when the output does not have the shape that the inputs give it. */
export function checkShapes(type: string, rule: ShapeRule, inputs: readonly Tensor[], outputs: readonly Tensor[]): void {
  const shapes = inputs.flatMap((tensor) => (tensor == null ? [] : [tensor.dims]));
  if (outputs.every(({ dims }) => fits(rule, shapes, dims))) return;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `${type} from ${inputs.join('; ')} to ${outputs.join('; ')}: the shapes do not go together.`,
  );
}
