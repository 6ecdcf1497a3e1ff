/** CausalMask, KVMask, KVUpdate: attention that stays on the NPU. */
import type { FloatType } from '../dtype.js';
import { HALF_MAX } from '../half.js';
import { activation, sameType } from '../npu/checks.js';
import { arg, arity, check, checkType, dim } from '../schema.js';
import { floatConstant, indexConstant } from '../sink.js';
import { elements, formatType, type TensorType } from '../tensor.js';
import { checkCount, composite, FLOAT_INPUT, onesBut, operand } from './composite.js';

/** What a hidden score becomes: the lowest finite half, since HTP computes F32 as F16. Softmax gives it exactly 0. */
export const HIDDEN = -HALF_MAX;

/** Scores [.., queries, keys]. */
function scores(inputs: readonly TensorType[]): TensorType {
  const x = activation(arg(inputs, 0), 'scores', FLOAT_INPUT);
  check(x.dims.length >= 2, () => `scores ${formatType(x)}`);
  return { ...x, rows: 'fixed' };
}

function checkPositions(t: TensorType, count: number, what: string): void {
  checkType(t, 'positions', ['s32'], 1);
  check(dim(t, 0) === count, () => `positions ${formatType(t)} for ${count} ${what}`);
}

export interface KvUpdateAttrs {
  /** Dimension of the cache that counts positions: 1 in [heads, positions, d], 0 in [positions, heads, d]. */
  readonly axis: number;
}

export const ATTENTION = {
  /**
   * Hides keys after the query's own, by positions that the graph knows: query i sees the keys 0 … past + i. `past`: keys before the first query;
   * when absent, as many as make the last query see the last key.
   */
  CausalMask: composite<{ readonly past?: number }>(
    (inputs, { past }) => {
      arity(inputs, 1);
      const x = scores(inputs);
      if (past !== undefined) checkCount(past, 'past');
      check(past !== undefined || dim(x, -1) >= dim(x, -2), () => `scores ${formatType(x)} have fewer keys than queries`);
      return [x];
    },
    (b, inputs, { past }, name) =>
      inputs.map((x) => {
        const type = b.tensor(x);
        const [queries, keys] = [dim(type, -2), dim(type, -1)];
        const before = past ?? keys - queries;
        // The smaller of score and mask: exact for what is seen, whatever the score.
        const mask = Float32Array.from({ length: queries * keys }, (_, i) =>
          i % keys <= before + Math.floor(i / keys) ? HALF_MAX : HIDDEN,
        );
        const rank = type.dims.length;
        const shape = onesBut(rank, { [rank - 2]: queries, [rank - 1]: keys });
        const constant = b.constant(
          `causal.${type.dtype}.${shape.join('x')}.${before}`,
          floatConstant(type.dtype as FloatType, shape, mask),
        );
        return b.minimum(x, constant, name);
      }),
  ),

  /** The same by positions that come at run time: query i sees the keys 0 … positions[i]. Inputs: scores, positions S32 [queries]. */
  KVMask: composite<Readonly<Record<never, never>>>(
    (inputs) => {
      arity(inputs, 2);
      const x = scores(inputs);
      checkPositions(arg(inputs, 1), dim(x, -2), 'queries');
      return [x];
    },
    (b, inputs, _, name) => {
      const [x, positions] = [operand(inputs, 0), operand(inputs, 1)];
      const type = b.tensor(x);
      const rank = type.dims.length;
      const [queries, keys] = [dim(type, -2), dim(type, -1)];
      const each = b.reshape(positions, onesBut(rank, { [rank - 2]: queries }), `${name}.positions`);
      const keyShape = onesBut(rank, { [rank - 1]: keys });
      const key = b.constant(
        `count.${keyShape.join('x')}`,
        indexConstant(
          's32',
          keyShape,
          Array.from({ length: keys }, (__, i) => i),
        ),
      );
      const ones = onesBut(rank, {});
      const hidden = b.constant(`hidden.${type.dtype}.${rank}`, floatConstant(type.dtype as FloatType, ones, [HIDDEN]));
      return [b.select(b.lessEqual(key, each, `${name}.visible`), x, hidden, name)];
    },
  ),

  /**
   * The cache with the keys or values of new tokens in it. Inputs: cache, update (the same shape with as many positions as tokens), positions S32 [tokens] below
   * the cache's length; where positions repeat, the last wins. Positions outside of the cache are the caller's fault and undefined.
   */
  KVUpdate: composite<KvUpdateAttrs>(
    (inputs, { axis }) => {
      arity(inputs, 3);
      const cache = activation(arg(inputs, 0), 'cache');
      const update = arg(inputs, 1);
      sameType(cache, update, 'KVUpdate');
      checkCount(axis, 'axis');
      check(axis < cache.dims.length - 1, () => `KVUpdate of ${formatType(cache)} on axis ${axis}`);
      const fits =
        update.dims.length === cache.dims.length && update.dims.every((d, i) => (i === axis ? d <= dim(cache, i) : d === cache.dims[i]));
      check(fits, () => `KVUpdate of ${formatType(cache)} with ${formatType(update)} on axis ${axis}`);
      checkPositions(arg(inputs, 2), dim(update, axis), 'tokens');
      return [{ ...cache, rows: 'fixed' }];
    },
    (b, inputs, { axis }, name) => {
      const [cache, update, positions] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
      const { dims } = b.tensor(cache);
      const length = dims[axis] ?? 0;
      const tokens = dim(b.tensor(update), axis);
      const lanes = elements(dims.slice(0, axis));
      const width = elements(dims.slice(axis + 1));
      // Rows of the cache viewed as a matrix: lane · length + position.
      let rows = positions;
      if (lanes > 1) {
        const first = indexConstant(
          's32',
          [lanes, 1],
          Array.from({ length: lanes }, (_, i) => i * length),
        );
        const line = b.reshape(positions, [1, tokens], `${name}.line`);
        rows = b.add(b.constant(`lanes.${lanes}.${length}`, first), line, `${name}.rows`);
      }
      const indices = b.reshape(rows, [lanes * tokens, 1], `${name}.indices`);
      const table = b.reshape(cache, [lanes * length, width], `${name}.cache`);
      const updates = b.reshape(update, [lanes * tokens, width], `${name}.update`);
      return [b.reshape(b.scatterRows(table, indices, updates, `${name}.written`), dims, name)];
    },
  ),
} as const;
