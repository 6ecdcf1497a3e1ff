/** Quantize, Dequantize. Half to even; real = (q + offset) · scale. */
import type { Encoding } from '../cpu-builder.js';
import { type FloatType, isFloat } from '../dtype.js';
import { QUANTS } from '../npu/checks.js';
import { check } from '../schema.js';
import { NO_QUANT } from '../tensor.js';
import { checkEncoding, composite, FLOAT_INPUT, only } from './composite.js';

export const QUANTIZE = {
  Quantize: composite<{ readonly to: Encoding }>(
    (inputs, { to }) => {
      checkEncoding(to);
      return [{ ...only(inputs, FLOAT_INPUT), dtype: to.dtype, quant: to.quant }];
    },
    (b, inputs, { to }, name) => inputs.map((x) => b.quantize(x, to, name)),
  ),

  /** By the encoding that the input carries; factors such as 1/√d belong to the op that needs them (RoPE's `scale`). */
  Dequantize: composite<{ readonly to: FloatType }>(
    (inputs, { to }) => {
      check(isFloat(to), () => `Dequantize to ${to}`);
      return [{ ...only(inputs, QUANTS), dtype: to, quant: NO_QUANT }];
    },
    (b, inputs, { to }, name) => inputs.map((x) => b.dequantize(x, to, name)),
  ),
} as const;
