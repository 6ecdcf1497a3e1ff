/** Every value that a prompt makes on its way, op by op, and whether the plan with its larger graphs makes the same. For debugging. */
import type { Graph, Node, Program, Step, Tensor, TensorId } from '../graph/index.js';
import { type LoadOptions, loadModel, type Model } from './model.js';
import type { Session } from './session.js';

/** One value: what an op wrote for the last chunk of the prompt. */
export interface TracedValue {
  tensor: string;
  op: string;
  where: 'cpu' | 'npu';
  /** As the plan holds it; the figures below are in reals. */
  dtype: string;
  rows: number;
  cols: number;
  min: number;
  max: number;
  rms: number;
  /** Largest difference to the normal plan's value; null where the plan keeps it inside a graph. */
  difference: number | null;
}

export interface Trace {
  program: Program['name'];
  tokens: number;
  values: TracedValue[];
}

type Op = Step | Node;

/** Ops of a program in order, those inside segments too. */
function opsOf(graph: Graph, program: Program): Op[] {
  return program.steps.flatMap((step): readonly Op[] =>
    step.op === 'segment' ? (graph.segments[step.attrs.segment]?.nodes ?? []) : [step],
  );
}

/** A value without the rows past the prompt's end, which a tensor of fixed shape keeps. */
function peekRows(session: Session, tensor: Tensor, rows: number): Float32Array {
  const cols = tensor.dims.at(-1) ?? 1;
  const values = session.peek(tensor.name);
  return tensor.rows === 'fixed' ? values.subarray(0, rows * cols) : values;
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  // Not equal and not comparable (NaN): infinitely different.
  return a.reduce((most, v, i) => {
    const difference = v === b[i] ? 0 : Math.abs(v - (b[i] ?? Number.NaN));
    return Number.isNaN(difference) ? Number.POSITIVE_INFINITY : Math.max(most, difference);
  }, 0);
}

function figures(values: Float32Array): Pick<TracedValue, 'min' | 'max' | 'rms'> {
  return {
    min: values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    max: values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
    rms: Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length),
  };
}

/** Runs a prompt, text as it is, and hands over the session and what ran. */
async function withPrompt<T>(
  model: Model,
  prompt: string,
  use: (session: Session, program: Program, ops: Op[], rows: number, tokens: number) => T,
): Promise<T> {
  try {
    const session = await model.createSession();
    const tokens = session.encode(prompt);
    await session.prefill(tokens);
    const { graph } = model;
    const name = model.mode === 'npu' && tokens.length > 1 ? 'npu' : 'cpu';
    const program = graph.programs.find((p) => p.name === name) as Program;
    const rows = ((tokens.length - 1) % graph.config.chunk) + 1;
    return use(session, program, opsOf(graph, program), rows, tokens.length);
  } finally {
    await model.dispose();
  }
}

/** Runs a prompt twice, first as it always runs, then op by op. Errors of {@link loadModel} and of `Session.prefill`. */
export async function trace(directory: string, prompt: string, options: LoadOptions = {}): Promise<Trace> {
  const outputs = (graph: Graph, op: Op): Tensor[] => op.outputs.map((id: TensorId) => graph.tensors[id] as Tensor);

  const normal = await loadModel(directory, { ...options, keepActivations: true });
  const plan = await withPrompt(normal, prompt, (session, _, ops, rows) => {
    const kept = ops.flatMap((op) => outputs(normal.graph, op)).filter((t) => t.kind === 'activation');
    return new Map(kept.map((t) => [t.name, peekRows(session, t, rows)]));
  });

  const eager = await loadModel(directory, { ...options, eager: true });
  return withPrompt(eager, prompt, (session, program, ops, rows, tokens) => ({
    program: program.name,
    tokens,
    values: ops.flatMap((op) =>
      outputs(eager.graph, op).map((t): TracedValue => {
        const values = peekRows(session, t, rows);
        const cols = t.dims.at(-1) ?? 1;
        const other = plan.get(t.name);
        return {
          tensor: t.name,
          op: op.op,
          where: 'name' in op ? 'npu' : 'cpu',
          dtype: t.dtype,
          rows: values.length / cols,
          cols,
          ...figures(values),
          difference: other === undefined ? null : largestDifference(values, other),
        };
      }),
    ),
  }));
}
