/** All composite ops by name, and how they are added to a graph. */
import { NpuBuilder } from '../npu-builder.js';
import { badPlan } from '../schema.js';
import type { NodeSink } from '../sink.js';
import { formatType, sameDims, sameQuant, type TensorId, type TensorType } from '../tensor.js';
import { ACTIVATION } from './activation.js';
import { ATTENTION } from './attention.js';
import type { CompositeOp } from './composite.js';
import { ELEMENTWISE } from './elementwise.js';
import { LAYOUT } from './layout.js';
import { LINEAR } from './linear.js';
import { NORM } from './norm.js';
import { QUANTIZE } from './quantize.js';
import { ROPE } from './rope.js';

export const COMPOSITE_OPS = { ...ELEMENTWISE, ...ACTIVATION, ...NORM, ...LINEAR, ...LAYOUT, ...QUANTIZE, ...ROPE, ...ATTENTION } as const;

export type CompositeName = keyof typeof COMPOSITE_OPS;
export const COMPOSITE_NAMES = Object.keys(COMPOSITE_OPS) as CompositeName[];
export type CompositeAttrs<K extends CompositeName> = (typeof COMPOSITE_OPS)[K] extends CompositeOp<infer A> ? A : never;

/** An op with the type of its attributes forgotten; safe behind {@link addOp}, whose signature ties name and attributes. */
interface ErasedOp {
  readonly infer: (inputs: readonly TensorType[], attrs: never) => TensorType[];
  readonly lower: (b: NpuBuilder, inputs: readonly TensorId[], attrs: never, name: string) => TensorId[];
}

export function isCompositeOp(name: string): name is CompositeName {
  return Object.hasOwn(COMPOSITE_OPS, name);
}

/** Types of the results. Throws LUTRA_BAD_PLAN. */
export function inferComposite<K extends CompositeName>(op: K, inputs: readonly TensorType[], attrs: CompositeAttrs<K>): TensorType[] {
  const def: ErasedOp = COMPOSITE_OPS[op];
  return def.infer(inputs, attrs as never);
}

/** Infers, then adds the standard nodes of the op to `sink`. Returns its results. Throws LUTRA_BAD_PLAN with the op and `name`. */
export function addOp<K extends CompositeName>(
  sink: NodeSink,
  op: K,
  inputs: readonly TensorId[],
  attrs: CompositeAttrs<K>,
  name: string,
): TensorId[] {
  const def: ErasedOp = COMPOSITE_OPS[op];
  try {
    const types = def.infer(
      inputs.map((id) => sink.tensor(id)),
      attrs as never,
    );
    const outputs = def.lower(new NpuBuilder(sink), inputs, attrs as never, name);
    checkResults(
      types,
      outputs.map((id) => sink.tensor(id)),
    );
    return outputs;
  } catch (error) {
    if (error instanceof Error) error.message = `${op} ${name}: ${error.message}`;
    throw error;
  }
}

/** What was inferred is what the nodes give. */
function checkResults(expected: readonly TensorType[], found: readonly TensorType[]): void {
  const same =
    expected.length === found.length &&
    expected.every((t, i) => {
      const f = found[i];
      return f !== undefined && t.dtype === f.dtype && sameDims(t.dims, f.dims) && sameQuant(t.quant, f.quant);
    });
  const list = (types: readonly TensorType[]): string => types.map((t) => formatType(t)).join('; ');
  if (!same) throw badPlan(`the nodes give ${list(found)} instead of ${list(expected)}`);
}
