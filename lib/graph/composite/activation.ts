/** SiLU, ReLU, GELU, QuickGELU, SuperSiLU. */
import type { Encoding } from '../cpu-builder.js';
import { activation, QUANTS } from '../npu/checks.js';
import type { NpuBuilder } from '../npu-builder.js';
import { arg, arity, check } from '../schema.js';
import { formatType, sameDims, type TensorId } from '../tensor.js';
import { checkEncoding, composite, FLOAT_INPUT, type NoAttrs, only, operand, sameKind, type To } from './composite.js';
import { timesConstant } from './elementwise.js';

/** x · sigmoid(x). */
function silu(b: NpuBuilder, x: TensorId, name: string): TensorId {
  return b.multiply(x, b.sigmoid(x, `${name}.sigmoid`), name);
}

/** Slope of the sigmoid that stands for the normal distribution. */
const QUICK_GELU = 1.702;

export const ACTIVATION = {
  /** Floats. */
  SiLU: composite<NoAttrs>(
    (inputs) => [only(inputs, FLOAT_INPUT)],
    (b, inputs, _, name) => inputs.map((x) => silu(b, x, name)),
  ),

  /** The encoding of a quantised input is kept. */
  ReLU: composite<NoAttrs>(
    (inputs) => [only(inputs)],
    (b, inputs, _, name) => inputs.map((x) => b.relu(x, name)),
  ),

  /** x · Φ(x). */
  GELU: composite<To>(
    (inputs, attrs) => {
      const x = only(inputs);
      return [{ ...x, ...sameKind(x, attrs) }];
    },
    (b, inputs, { to }, name) => inputs.map((x) => b.gelu(x, name, to ?? b.tensor(x))),
  ),

  /** x · sigmoid(1.702 x); floats. */
  QuickGELU: composite<NoAttrs>(
    (inputs) => [only(inputs, FLOAT_INPUT)],
    (b, inputs, _, name) =>
      inputs.map((x) => b.multiply(x, b.sigmoid(timesConstant(b, x, QUICK_GELU, `${name}.slope`), `${name}.sigmoid`), name)),
  ),

  /** silu(gate) · up, each quantised by its own step, requantised. In between everything is F16, so that only the result is rounded to `to`. */
  SuperSiLU: composite<{ readonly to: Encoding }>(
    (inputs, { to }) => {
      arity(inputs, 2);
      const gate = activation(arg(inputs, 0), 'gate', QUANTS);
      const up = activation(arg(inputs, 1), 'up', QUANTS);
      check(sameDims(gate.dims, up.dims), () => `gate ${formatType(gate)} and up ${formatType(up)}`);
      checkEncoding(to);
      return [{ ...gate, ...to }];
    },
    (b, inputs, { to }, name) => {
      const gate = b.dequantize(operand(inputs, 0), 'f16', `${name}.gate`);
      const up = b.dequantize(operand(inputs, 1), 'f16', `${name}.up`);
      const product = b.multiply(silu(b, gate, `${name}.silu`), up, `${name}.product`);
      return [b.quantize(product, to, name)];
    },
  ),
} as const;
