/** Nodes that change the type of a tensor and nothing else. */
import { isFloat } from '../dtype.js';
import { arg, arity, check, defineOp } from '../schema.js';
import { NO_QUANT } from '../tensor.js';
import { activation, FLOATS, QUANTS, single } from './checks.js';

export const CONVERT_OPS = {
  Quantize: defineOp({}, 'encoding', (inputs, _, { dtype, quant }) => {
    const x = single(inputs, 'Quantize input', FLOATS);
    return [activation({ ...x, dtype, quant }, 'Quantize output', QUANTS)];
  }),

  Dequantize: defineOp({}, 'float', (inputs, _, { dtype }) => {
    const x = single(inputs, 'Dequantize input', QUANTS);
    return [{ ...x, dtype, quant: NO_QUANT }];
  }),

  /** Between widths of quantised types, or between float types. */
  Convert: defineOp({}, 'encoding', (inputs, _, { dtype, quant }) => {
    arity(inputs, 1);
    const x = activation(arg(inputs, 0), 'Convert input');
    const y = activation({ ...x, dtype, quant }, 'Convert output');
    check(isFloat(x.dtype) === isFloat(y.dtype), () => `Convert from ${x.dtype} to ${y.dtype}`);
    return [y];
  }),
} as const;
