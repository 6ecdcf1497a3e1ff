/** Builds a {@link Graph} op by op. Shapes and dtypes are inferred and checked as ops are added. */
import { CpuBuilder } from './cpu-builder.js';
import type { DType } from './dtype.js';
import type { Graph, Node, PlanConfig, Program, ProgramName, Segment, Step } from './graph.js';
import { NpuBuilder } from './npu-builder.js';
import { nodeResult } from './npu-ops.js';
import { type AnyAttrs, type CpuAttrs, type CpuOp, inferOp, type NpuAttrs, type NpuOp, type TargetOf } from './ops.js';
import { badPlan } from './schema.js';
import { cutSegments, type Item } from './segments.js';
import { type Constant, ConstantTable, type NodeSink } from './sink.js';
import { NO_QUANT, type Quant, sameDims, sameQuant, type Tensor, type TensorId, type TensorType } from './tensor.js';

export class GraphBuilder implements NodeSink {
  readonly config: PlanConfig;
  /** Ops on the CPU and on the NPU. A run of NPU ops without a CPU op between them becomes one segment. */
  readonly cpu: CpuBuilder = new CpuBuilder(this);
  readonly npu: NpuBuilder = new NpuBuilder(this);
  private readonly tensors: Tensor[] = [];
  private readonly names = new Map<string, TensorId>();
  private readonly constantTable = new ConstantTable();
  private readonly segments: Segment[] = [];
  private readonly programs: Program[] = [];
  private items: Item[] | null = null;
  private prefix = '';

  constructor(config: PlanConfig) {
    this.config = config;
  }

  /** A tensor of a model file, under its name there. Declaring it again gives the same id; another type then is an error. */
  weight(name: string, dtype: DType, dims: readonly number[], quant: Quant = NO_QUANT): TensorId {
    const known = this.names.get(name);
    if (known === undefined) return this.declare({ name, dtype, dims: [...dims], rows: 'fixed', quant, kind: 'weight', weight: name });
    const t = this.tensor(known);
    if (t.kind !== 'weight' || t.dtype !== dtype || !sameDims(t.dims, dims) || !sameQuant(t.quant, quant))
      throw badPlan(`two tensors named ${name}`);
    return known;
  }

  /**
   * A weight whose values the graph itself decides. A plan holds its name only: the values have to lie under that name in one of the files that
   * the engine is given ({@link constants}).
   */
  constant(name: string, value: Constant): TensorId {
    return this.constantTable.add(name, value, () => {
      if (this.names.has(name)) throw badPlan(`two tensors named ${name}`);
      return this.weight(name, value.dtype, value.dims, value.quant);
    });
  }

  /** What {@link constant} was given, by name. */
  constants(): { name: string; value: Constant }[] {
    return this.constantTable.entries();
  }

  tensor(id: TensorId): Tensor {
    const t = this.tensors[id];
    if (t === undefined) throw badPlan(`no tensor ${id}`);
    return t;
  }

  /** Builds one program: `body` adds its ops and returns the logits. Names of its activations begin with `prefix`. */
  program(name: ProgramName, prefix: string, body: () => TensorId): void {
    if (this.items !== null) throw badPlan(`program ${name} inside another`);
    const items: Item[] = [];
    this.items = items;
    this.prefix = prefix;
    const logits = body();
    this.items = null;
    const cut = cutSegments(items, (id) => this.tensor(id).kind === 'weight', logits, this.segments.length);
    for (const id of cut.internal) this.tensors[id] = { ...this.tensor(id), kind: 'internal', rows: 'fixed' };
    this.segments.push(...cut.segments);
    this.programs.push({ name, steps: cut.steps, logits });
  }

  /** Adds a CPU step; `names` are those of its outputs. Prefer the methods of {@link cpu}. */
  addStep<K extends CpuOp>(
    op: K,
    inputs: readonly TensorId[],
    attrs: CpuAttrs<K>,
    target: TargetOf<K>,
    names: readonly string[],
  ): TensorId[] {
    const types = inferOp(op, this.types(inputs), attrs as AnyAttrs, target, this.config, this.prefixed(names));
    const outputs = this.results(types, names);
    this.open().push({ on: 'cpu', step: { op, inputs: [...inputs], outputs, attrs } as Step });
    return outputs;
  }

  /** Adds a node of the NPU, named after its output. Prefer the methods of {@link npu}. */
  addNode<K extends NpuOp>(op: K, inputs: readonly TensorId[], attrs: NpuAttrs<K>, target: TargetOf<K>, name: string): TensorId {
    const [output] = this.addNodes(op, inputs, attrs, target, [name]);
    if (output === undefined) throw badPlan(`${op} has no output`);
    return output;
  }

  /** The same of a node with several outputs, named after the first. */
  addNodes<K extends NpuOp>(
    op: K,
    inputs: readonly TensorId[],
    attrs: NpuAttrs<K>,
    target: TargetOf<K>,
    names: readonly string[],
  ): TensorId[] {
    const types = inferOp(op, this.types(inputs), attrs as AnyAttrs, target, this.config, this.prefixed(names));
    const outputs = this.results(
      types.map((t) => nodeResult(t, this.config.chunk)),
      names,
    );
    this.open().push({ on: 'npu', node: { op, name: this.prefix + names[0], inputs: [...inputs], outputs, attrs } as Node });
    return outputs;
  }

  /** The finished graph. */
  finish(): Graph {
    if (this.items !== null || this.programs.length === 0) throw badPlan('a graph without a finished program');
    return { config: this.config, tensors: this.tensors, segments: this.segments, programs: this.programs };
  }

  private open(): Item[] {
    if (this.items === null) throw badPlan('an op outside of a program');
    return this.items;
  }

  private types(ids: readonly TensorId[]): TensorType[] {
    return ids.map((id) => this.tensor(id));
  }

  private prefixed(names: readonly string[]): string[] {
    return names.map((name) => this.prefix + name);
  }

  private results(types: readonly TensorType[], names: readonly string[]): TensorId[] {
    if (types.length !== names.length) throw badPlan(`${names.length} names for ${types.length} outputs`);
    return this.prefixed(names).flatMap((name, i) => {
      const type = types[i];
      return type === undefined ? [] : this.declare({ ...type, name, kind: 'activation', weight: null });
    });
  }

  private declare(tensor: Tensor): TensorId {
    if (this.names.has(tensor.name)) throw badPlan(`two tensors named ${tensor.name}`);
    const id = this.tensors.length as TensorId;
    this.tensors.push(tensor);
    this.names.set(tensor.name, id);
    return id;
  }
}
