/** Whether a graph that did not come from the builder could have: types, order of definition, kinds and segments. */
import { isBlockType, isQuantType } from './dtype.js';
import type { Graph, Node, Program, Step } from './graph.js';
import { nodeResult } from './npu-ops.js';
import { inferOp, targetFrom, targetKind } from './ops.js';
import { badPlan, check } from './schema.js';
import { cutSegments, type Item } from './segments.js';
import { formatType, sameDims, sameQuant, type Tensor, type TensorId, type TensorType } from './tensor.js';

class Validator {
  private readonly graph: Graph;
  /** Activations written so far in the program under test, and by any program at all. */
  private written = new Set<TensorId>();
  private readonly made = new Set<TensorId>();

  constructor(graph: Graph) {
    this.graph = graph;
  }

  run(): void {
    const { tensors, programs, config } = this.graph;
    for (const field of ['vocab', 'hidden', 'layers', 'heads', 'kvHeads', 'headDim', 'maxContext', 'chunk'] as const) {
      check(Number.isInteger(config[field]) && config[field] > 0, () => `config: ${field} is ${config[field]}`);
    }
    check(new Set(tensors.map((t) => t.name)).size === tensors.length, () => 'two tensors share a name');
    for (const t of tensors) this.tensor(t);
    check(programs.length > 0 && new Set(programs.map((p) => p.name)).size === programs.length, () => 'no program, or two of one name');
    let segments = 0;
    for (const program of programs) segments += this.program(program, segments);
    check(segments === this.graph.segments.length, () => `${this.graph.segments.length - segments} segments that no program runs`);
  }

  private get(id: TensorId): Tensor {
    const t = this.graph.tensors[id];
    if (t === undefined) throw badPlan(`no tensor ${id}`);
    return t;
  }

  private tensor(t: Tensor): void {
    const say = (what: string) => () => `${t.name} ${formatType(t)}: ${what}`;
    const { quant, kind } = t;
    check((kind === 'weight') === (t.weight !== null), say('a weight has a name in a file, nothing else has'));
    check(kind === 'weight' || !isBlockType(t.dtype), say('a block type that is no weight'));
    check(kind === 'activation' || t.rows === 'fixed', say('only activations have rows'));
    check(t.rows === 'fixed' || t.dims[0] === this.graph.config.chunk, say('rows are not the chunk'));
    if (kind !== 'weight') check(quant.kind === (isQuantType(t.dtype) ? 'scale' : 'none'), say('wrong kind of encoding'));
    if (quant.kind === 'scale') check(quant.scale > 0 && Number.isFinite(quant.scale), say('bad scale'));
    if (quant.kind === 'axis') {
      const scales = this.get(quant.scales);
      const fits = scales.kind === 'weight' && scales.dtype === 'f32' && scales.dims.length === 1 && scales.dims[0] === t.dims[quant.axis];
      check(fits, say(`${scales.name} does not fit as scales`));
    }
  }

  /** Returns the number of segments of the program. */
  private program(program: Program, firstSegment: number): number {
    this.written = new Set();
    const items: Item[] = [];
    for (const step of program.steps) {
      if (step.op !== 'segment') {
        this.op(step);
        items.push({ on: 'cpu', step });
        continue;
      }
      const segment = this.graph.segments[step.attrs.segment];
      if (segment === undefined) throw badPlan(`no segment ${step.attrs.segment}`);
      for (const node of segment.nodes) {
        this.op(node);
        items.push({ on: 'npu', node });
      }
    }
    const logits = this.get(program.logits);
    const { vocab } = this.graph.config;
    check(
      this.written.has(program.logits) && logits.dtype === 'f32' && logits.rows === 'logits' && logits.dims[1] === vocab,
      () => `program ${program.name}: logits are ${formatType(logits)}`,
    );
    const cut = cutSegments(items, (id) => this.get(id).kind === 'weight', program.logits, firstSegment);
    const found = this.graph.segments.slice(firstSegment, firstSegment + cut.segments.length);
    check(
      JSON.stringify(found) === JSON.stringify(cut.segments),
      () => `program ${program.name}: segments are not its maximal runs of NPU ops`,
    );
    check(
      JSON.stringify(program.steps) === JSON.stringify(cut.steps),
      () => `program ${program.name}: segment steps do not fit their segments`,
    );
    for (const id of this.written) {
      const t = this.get(id);
      check(
        (t.kind === 'internal') === cut.internal.has(id),
        () => `${t.name} is ${t.kind} but ${cut.internal.has(id) ? 'stays in' : 'leaves'} its segment`,
      );
    }
    return cut.segments.length;
  }

  private op(op: Step | Node): void {
    const isNode = 'name' in op;
    for (const id of op.inputs) {
      const t = this.get(id);
      check(t.kind === 'weight' || this.written.has(id), () => `${op.op} reads ${t.name} before it is written`);
      check(isNode || t.kind !== 'internal', () => `${op.op} reads ${t.name}, which lives inside a segment`);
    }
    const outputs = op.outputs.map((id) => this.get(id));
    const types = inferOp(
      op.op,
      op.inputs.map((id) => this.get(id)),
      op.attrs,
      targetFrom(targetKind(op.op), outputs[0]),
      this.graph.config,
      outputs.map((t) => t.name),
    );
    check(types.length === outputs.length, () => `${op.op} with ${outputs.length} outputs instead of ${types.length}`);
    outputs.forEach((t, i) => {
      const type = isNode ? nodeResult(types[i] ?? t, this.graph.config.chunk) : (types[i] ?? t);
      const expected: TensorType = t.kind === 'internal' ? { ...type, rows: 'fixed' } : type;
      const same =
        t.dtype === expected.dtype && t.rows === expected.rows && sameDims(t.dims, expected.dims) && sameQuant(t.quant, expected.quant);
      check(same && t.kind !== 'weight', () => `${op.op} ${t.name} is ${formatType(t)} instead of ${formatType(expected)}`);
    });
    for (const id of op.outputs) {
      check(!this.made.has(id), () => `${this.get(id).name} is written twice`);
      this.made.add(id);
      this.written.add(id);
    }
  }
}

/** Throws LutraError LUTRA_BAD_PLAN when tables do not fit together. */
export function validateGraph(graph: Graph): void {
  new Validator(graph).run();
}
