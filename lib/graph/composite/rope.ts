/** RoPE, IRoPE: rotary position embedding of heads as long as the last dimension. */
import { type FloatType, isFloat } from '../dtype.js';
import { activation, QUANTS } from '../npu/checks.js';
import type { NpuBuilder } from '../npu-builder.js';
import { arg, arity, badPlan, check, checkType, dim } from '../schema.js';
import { floatConstant, indexConstant } from '../sink.js';
import { formatType, NO_QUANT, type TensorId, type TensorType } from '../tensor.js';
import { checkCount, composite, FLOAT_INPUT, onesBut, operand } from './composite.js';

export interface RopeAttrs {
  readonly theta: number;
  /** Positions 0 … maxPosition − 1 are in the tables. */
  readonly maxPosition: number;
  /** Pairs (2i, 2i + 1) instead of (i, i + d/2). Default false. */
  readonly interleaved?: boolean;
  /** Divisors of the d/2 frequencies (Llama 3). */
  readonly factors?: readonly number[];
  /** Multiplies the result: 1/√d for queries. It is folded into the tables. Default 1. */
  readonly scale?: number;
  /** Dimension that counts tokens: the last but one when absent, as in [heads, tokens, d]; 1 in [1, tokens, heads, d]. */
  readonly tokenAxis?: number;
  /** Position of the first token when positions are no input. Default 0. */
  readonly start?: number;
}

/** For x of any type; the result is like x. Inputs: x [, positions S32 [tokens]]. */
function inferRope(inputs: readonly TensorType[], x: TensorType, a: RopeAttrs): TensorType {
  arity(inputs, 1, 2);
  check(x.dims.length >= 2, () => `RoPE of ${formatType(x)}`);
  const d = dim(x, -1);
  const axis = tokenAxis(x, a);
  const tokens = dim(x, axis);
  const { theta, factors, scale = 1, start = 0 } = a;
  check(d % 2 === 0, () => `RoPE of heads of ${d}`);
  check(Number.isInteger(axis) && axis >= 0 && axis < x.dims.length - 1, () => `RoPE of ${formatType(x)} with tokens on axis ${axis}`);
  check(Number.isFinite(theta) && theta > 0, () => `theta is ${theta}`);
  check(Number.isFinite(scale) && scale !== 0, () => `scale is ${scale}`);
  checkCount(a.maxPosition, 'maxPosition', 1);
  checkCount(start, 'start');
  check(
    factors === undefined || (factors.length === d / 2 && factors.every((f) => f > 0)),
    () => `${factors?.length} factors for ${d / 2} frequencies`,
  );
  if (inputs.length === 2) {
    const positions = arg(inputs, 1);
    checkType(positions, 'positions', ['s32'], 1);
    check(dim(positions, 0) === tokens, () => `positions ${formatType(positions)} for ${tokens} tokens`);
  } else {
    check(start + tokens <= a.maxPosition, () => `tokens ${start} … ${start + tokens - 1} of ${a.maxPosition} positions`);
  }
  return x;
}

function tokenAxis(x: TensorType, a: RopeAttrs): number {
  return a.tokenAxis ?? x.dims.length - 2;
}

/** cos and sin of `count` positions from `start` on for x · cos + swap(x) · sin, where swap exchanges the two elements of a pair. [count × d], times `scale`. */
export function ropeTables(a: RopeAttrs, d: number, start: number, count: number): { cos: Float64Array; sin: Float64Array } {
  const cos = new Float64Array(count * d);
  const sin = new Float64Array(count * d);
  const scale = a.scale ?? 1;
  for (let i = 0; i < d / 2; i++) {
    const frequency = a.theta ** ((-2 * i) / d) / (a.factors?.[i] ?? 1);
    const [first, second] = a.interleaved ? [2 * i, 2 * i + 1] : [i, i + d / 2];
    for (let p = 0; p < count; p++) {
      const angle = (start + p) * frequency;
      cos[p * d + first] = cos[p * d + second] = Math.cos(angle) * scale;
      sin[p * d + first] = -Math.sin(angle) * scale;
      sin[p * d + second] = Math.sin(angle) * scale;
    }
  }
  return { cos, sin };
}

/** Short name of a list (FNV-1a). Two lists of one name would be found out: the tables differ. */
function hash(values: readonly number[]): string {
  const code = [...values.join()].reduce((h, c) => Math.imul(h ^ c.charCodeAt(0), 0x01000193) >>> 0, 0x811c9dc5);
  return code.toString(16).padStart(8, '0');
}

/** Names tables by all that decides their values, so that layers share them. */
function tableName(a: RopeAttrs, dtype: FloatType, d: number): string {
  const factors = a.factors === undefined ? '' : `.by${hash(a.factors)}`;
  return `rope.${dtype}.${d}.${a.theta}.${a.interleaved ? 'pairs' : 'halves'}${factors}.${a.scale ?? 1}`;
}

/** One table for the tokens of x, in a shape that stretches over x. */
function tableFor(
  b: NpuBuilder,
  which: 'cos' | 'sin',
  x: TensorType,
  positions: TensorId | undefined,
  a: RopeAttrs,
  name: string,
): TensorId {
  const d = dim(x, -1);
  const axis = tokenAxis(x, a);
  const dtype = x.dtype as FloatType;
  const shape = onesBut(x.dims.length, { [axis]: dim(x, axis), [x.dims.length - 1]: d });
  const table = tableName(a, dtype, d);
  if (positions === undefined) {
    const start = a.start ?? 0;
    const values = ropeTables(a, d, start, dim(x, axis))[which];
    return b.constant(`${table}.${which}.${start}.${shape.join('x')}`, floatConstant(dtype, shape, values));
  }
  const values = b.constant(
    `${table}.${which}.${a.maxPosition}`,
    floatConstant(dtype, [a.maxPosition, d], ropeTables(a, d, 0, a.maxPosition)[which]),
  );
  const rows = b.gather(values, positions, 0, `${name}.${which}.rows`);
  return b.reshape(rows, shape, `${name}.${which}`);
}

/** x with the elements of every pair exchanged. */
function swapped(b: NpuBuilder, x: TensorId, interleaved: boolean, name: string): TensorId {
  const { dims } = b.tensor(x);
  const axis = dims.length - 1;
  const d = dims[axis] ?? 0;
  if (interleaved) {
    const order = b.constant(
      `rope.swap.${d}`,
      indexConstant(
        'u32',
        [d],
        Array.from({ length: d }, (_, i) => i ^ 1),
      ),
    );
    return b.gather(x, order, axis, name);
  }
  const [low, high] = b.split(x, axis, [d / 2], [`${name}.low`, `${name}.high`]);
  if (low === undefined || high === undefined) throw badPlan(`${name} has no halves`);
  return b.concat([high, low], axis, name);
}

function lowerRope(b: NpuBuilder, x: TensorId, positions: TensorId | undefined, a: RopeAttrs, name: string): TensorId {
  const type = b.tensor(x);
  const straight = b.multiply(x, tableFor(b, 'cos', type, positions, a, name), `${name}.straight`);
  const crossed = b.multiply(
    swapped(b, x, a.interleaved ?? false, `${name}.swap`),
    tableFor(b, 'sin', type, positions, a, name),
    `${name}.crossed`,
  );
  return b.add(straight, crossed, name);
}

export const ROPE = {
  /** x float. */
  RoPE: composite<RopeAttrs>(
    (inputs, attrs) => [inferRope(inputs, activation(arg(inputs, 0), 'input', FLOAT_INPUT), attrs)],
    (b, inputs, attrs, name) => [lowerRope(b, operand(inputs, 0), inputs[1], attrs, name)],
  ),

  /** x quantised, the result a float: what a linear gives, rotated. */
  IRoPE: composite<RopeAttrs & { readonly to: FloatType }>(
    (inputs, attrs) => {
      const x = activation(arg(inputs, 0), 'input', QUANTS);
      check(isFloat(attrs.to), () => `IRoPE to ${attrs.to}`);
      return [inferRope(inputs, { ...x, dtype: attrs.to, quant: NO_QUANT }, attrs)];
    },
    (b, inputs, attrs, name) => [lowerRope(b, b.dequantize(operand(inputs, 0), attrs.to, `${name}.real`), inputs[1], attrs, name)],
  ),
} as const;
