/** RMSNorm, LayerNorm, Softmax: over the last axis. */
import type { FloatType } from '../dtype.js';
import { activation } from '../npu/checks.js';
import { isRows } from '../npu/norm-ops.js';
import type { NpuBuilder } from '../npu-builder.js';
import { arg, arity, check, checkType, dim } from '../schema.js';
import { floatConstant } from '../sink.js';
import { elements, formatType, type TensorId, type TensorType } from '../tensor.js';
import { composite, FLOAT_INPUT, only, operand, quantized, sameKind, type To, thenQuantize } from './composite.js';

export interface NormAttrs extends To {
  readonly epsilon: number;
}

/** x and `vectors` more inputs as long as its last dimension, of its type. `to` quantises the result. */
function inferNorm(inputs: readonly TensorType[], attrs: NormAttrs, most: number): TensorType[] {
  arity(inputs, 2, most);
  const x = activation(arg(inputs, 0), 'input', FLOAT_INPUT);
  const { epsilon } = attrs;
  check(Number.isFinite(epsilon) && Math.fround(epsilon) > 0, () => `epsilon is ${epsilon}`);
  inputs.slice(1).forEach((t, i) => {
    const what = i === 0 ? 'gamma' : 'beta';
    checkType(t, what, [x.dtype], 1);
    check(dim(t, 0) === dim(x, -1), () => `${what} ${formatType(t)} for ${formatType(x)}`);
  });
  return [quantized(x, attrs)];
}

/** Zeros for a beta that is not there. They are shared by all norms of a length. */
function zeros(b: NpuBuilder, x: TensorId): TensorId {
  const t = b.tensor(x);
  const n = dim(t, -1);
  return b.constant(`zeros.${t.dtype}.${n}`, floatConstant(t.dtype as FloatType, [n], new Float32Array(n)));
}

/** As a matrix of rows where x is more than that: see NPU_OPS.RmsNorm. */
function rmsNorm(b: NpuBuilder, x: TensorId, gamma: TensorId, epsilon: number, name: string): TensorId {
  const t = b.tensor(x);
  if (isRows(t)) return b.rmsNorm(x, gamma, zeros(b, x), epsilon, name);
  const rows = b.reshape(x, [elements(t.dims) / dim(t, -1), dim(t, -1)], `${name}.rows`);
  return b.reshape(b.rmsNorm(rows, gamma, zeros(b, x), epsilon, `${name}.norm`), t.dims, name);
}

export const NORM = {
  /** x / sqrt(mean(x²) + epsilon) · gamma. */
  RMSNorm: composite<NormAttrs>(
    (inputs, attrs) => inferNorm(inputs, attrs, 2),
    (b, inputs, attrs, name) => {
      const [x, gamma] = [operand(inputs, 0), operand(inputs, 1)];
      return [thenQuantize(b, attrs, name, (as) => rmsNorm(b, x, gamma, attrs.epsilon, as))];
    },
  ),

  /** (x − mean) / sqrt(variance + epsilon) · gamma [+ beta]. */
  LayerNorm: composite<NormAttrs>(
    (inputs, attrs) => inferNorm(inputs, attrs, 3),
    (b, inputs, attrs, name) => {
      const [x, gamma, beta] = [operand(inputs, 0), operand(inputs, 1), inputs[2]];
      return [thenQuantize(b, attrs, name, (as) => b.layerNorm(x, gamma, beta ?? zeros(b, x), attrs.epsilon, as))];
    },
  ),

  /** exp(beta · x) over its sum. Quantised: the encoding that HTP gives (u8 offset 0, s8 offset 128). */
  Softmax: composite<To & { readonly beta?: number }>(
    (inputs, { beta = 1, to }) => {
      const x = only(inputs);
      check(Number.isFinite(beta) && beta > 0, () => `beta is ${beta}`);
      return [{ ...x, ...sameKind(x, { to }) }];
    },
    (b, inputs, { beta = 1, to }, name) => inputs.map((x) => b.softmax(x, beta, name, to ?? b.tensor(x))),
  ),
} as const;
