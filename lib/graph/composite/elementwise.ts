/** Add, Mul, Scale. */
import { type FloatType, isFloat } from '../dtype.js';
import { activation, broadcast } from '../npu/checks.js';
import type { LinearTarget, NpuBuilder } from '../npu-builder.js';
import { arg, arity, check } from '../schema.js';
import { floatConstant } from '../sink.js';
import { formatType, type TensorId, type TensorType } from '../tensor.js';
import { checkFinite, composite, FLOAT_INPUT, onesBut, only, operand, sameKind, type To } from './composite.js';

/** Both sides of one type; a quantised result has an encoding of its own. */
function binary(node: (b: NpuBuilder, left: TensorId, right: TensorId, to: LinearTarget, name: string) => TensorId) {
  return composite<To>(
    (inputs, attrs) => {
      arity(inputs, 2);
      const left = activation(arg(inputs, 0), 'left');
      const right = activation(arg(inputs, 1), 'right', [left.dtype]);
      return [{ ...sameKind(left, attrs), dims: broadcast(left, right), rows: 'fixed' }];
    },
    (b, inputs, { to }, name) => {
      const left = operand(inputs, 0);
      return [node(b, left, operand(inputs, 1), to ?? b.tensor(left), name)];
    },
  );
}

export interface ScaleAttrs {
  readonly scale: number;
  /** Default 0. */
  readonly bias?: number;
  /** x · scale + bias; otherwise (x + bias) · scale. Default true. */
  readonly biasAfterScale?: boolean;
}

/** A constant of one element in every dimension. */
function scalar(b: NpuBuilder, x: TensorType, value: number, name: string): TensorId {
  const rank = x.dims.length;
  return b.constant(name, floatConstant(x.dtype as FloatType, onesBut(rank, {}), [value]));
}

export const ELEMENTWISE = {
  Add: binary((b, left, right, to, name) => b.add(left, right, name, to)),
  Mul: binary((b, left, right, to, name) => b.multiply(left, right, name, to)),

  /** Floats; a step that does nothing is left out unless nothing would be left. */
  Scale: composite<ScaleAttrs>(
    (inputs, { scale, bias = 0 }) => {
      checkFinite(scale, 'scale');
      checkFinite(bias, 'bias');
      return [only(inputs, FLOAT_INPUT)];
    },
    (b, inputs, { scale, bias = 0, biasAfterScale = true }, name) =>
      inputs.map((x) => {
        const type = b.tensor(x);
        const multiply = (t: TensorId, as: string): TensorId => b.multiply(t, scalar(b, type, scale, `${name}.factor`), as);
        const add = (t: TensorId, as: string): TensorId => b.add(t, scalar(b, type, bias, `${name}.summand`), as);
        if (bias === 0) return multiply(x, name);
        if (scale === 1) return add(x, name);
        return biasAfterScale ? add(multiply(x, `${name}.scaled`), name) : multiply(add(x, `${name}.moved`), name);
      }),
  ),
} as const;

/** For families that multiply by a number. */
export function timesConstant(b: NpuBuilder, x: TensorId, factor: number, name: string): TensorId {
  const type = b.tensor(x);
  check(isFloat(type.dtype), () => `a factor for ${formatType(type)}`);
  return b.multiply(x, scalar(b, type, factor, `${name}.factor`), name);
}
