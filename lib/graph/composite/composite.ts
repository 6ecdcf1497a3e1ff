/**
 * Ops of decoders that are no single QNN op, or one with rules of its own: typed attributes, inference of shape and type, and a lowering to standard nodes
 * (package `qti.aisw`) in the forms that HTP accepts. Together they cover the ops of the mllm QNN backend.
 *
 * One file per family; the registry joins the families. A new op is an entry in its family, its meaning in tests/reference/composite.ts, and its cases.
 */
import type { Encoding } from '../cpu-builder.js';
import { type DType, isFloat, isQuantType } from '../dtype.js';
import { ACTIVATIONS, activation } from '../npu/checks.js';
import type { LinearTarget, NpuBuilder } from '../npu-builder.js';
import { arg, arity, badPlan, check } from '../schema.js';
import { formatType, type TensorId, type TensorType } from '../tensor.js';

export interface CompositeOp<A extends object> {
  /** Types of the outputs; `rows` means nothing. Throws LUTRA_BAD_PLAN when inputs and attributes do not fit together. */
  readonly infer: (inputs: readonly TensorType[], attrs: A) => TensorType[];
  /** Adds the nodes; called after `infer` has passed. Results are named `name`, or by it; everything on the way begins with `name`. */
  readonly lower: (b: NpuBuilder, inputs: readonly TensorId[], attrs: A, name: string) => TensorId[];
}

/** Writes an op down with the type of its attributes. */
export function composite<A extends object>(infer: CompositeOp<A>['infer'], lower: CompositeOp<A>['lower']): CompositeOp<A> {
  return { infer, lower };
}

/** Input `i` of an op that is lowered; `infer` has counted them. */
export function operand(inputs: readonly TensorId[], i: number): TensorId {
  const id = inputs[i];
  if (id === undefined) throw badPlan(`input ${i} is missing`);
  return id;
}

/** Attributes of an op that has none. */
export type NoAttrs = Readonly<Record<never, never>>;

/** Attribute of ops whose result may be quantised: its encoding. */
export interface To {
  readonly to?: Encoding;
}

export const FLOAT_INPUT = ['f32', 'f16'] as const;

/** The input of an op with one input, of an allowed type. */
export function only(inputs: readonly TensorType[], allowed: readonly DType[] = ACTIVATIONS): TensorType {
  arity(inputs, 1);
  return activation(arg(inputs, 0), 'input', allowed);
}

/** What an op on one type writes: a float as it came, a quantised tensor in the encoding `to`, which it then needs. */
export function sameKind(x: TensorType, { to }: To): LinearTarget {
  if (isFloat(x.dtype)) {
    check(to === undefined, () => `an encoding for the result of ${formatType(x)}, which is not quantised`);
    return { dtype: x.dtype, quant: x.quant };
  }
  check(to !== undefined, () => `the result of ${formatType(x)} needs an encoding`);
  checkEncoding(to);
  check(to.dtype === x.dtype, () => `a result of ${to.dtype} for ${formatType(x)}; HTP has input and output of one type`);
  return to;
}

/** A usable static encoding: a step that is a positive F32. Steps are taken as they are, never rounded to decimals. */
export function checkEncoding(to: Encoding): void {
  const { dtype, quant } = to;
  check(isQuantType(dtype) && quant.kind === 'scale', () => `an encoding of ${dtype} by ${quant.kind}`);
  if (quant.kind !== 'scale') return;
  check(Number.isFinite(quant.scale) && quant.scale > 0 && Math.fround(quant.scale) === quant.scale, () => `a scale of ${quant.scale}`);
  check(Number.isInteger(quant.offset) && Math.abs(quant.offset) <= 65_535, () => `an offset of ${quant.offset}`);
}

/** x, quantised to `to` when there is one. */
export function quantized(x: TensorType, { to }: To): TensorType {
  if (to === undefined) return x;
  checkEncoding(to);
  return { ...x, dtype: to.dtype, quant: to.quant };
}

/** Runs `make` under a name of its own when its result is to be quantised, and quantises it. */
export function thenQuantize(b: NpuBuilder, { to }: To, name: string, make: (name: string) => TensorId): TensorId {
  return to === undefined ? make(name) : b.quantize(make(`${name}.float`), to, name);
}

/** `length` ones with dimension `axis` replaced. */
export function onesBut(rank: number, dims: Readonly<Record<number, number>>): number[] {
  return Array.from({ length: rank }, (_, i) => dims[i] ?? 1);
}

export function checkFinite(value: number, what: string): void {
  check(Number.isFinite(value), () => `${what} is ${value}`);
}

/** Whole number of at least `least`. */
export function checkCount(value: number, what: string, least = 0): void {
  check(Number.isInteger(value) && value >= least, () => `${what} is ${value}`);
}
