/**
 * A graph of the NPU on its own: inputs and outputs of any shape and type, no CPU steps around it. What a decoder that keeps attention and its KV
 * cache on the NPU is built of, and what runs through the QNN interface directly.
 */
import type { Node } from './graph.js';
import { NpuBuilder } from './npu-builder.js';
import { type AnyAttrs, inferOp, type NpuAttrs, type NpuOp, type TargetOf } from './ops.js';
import { badPlan, check } from './schema.js';
import { type Constant, ConstantTable, type NodeSink } from './sink.js';
import { formatType, type TensorId, type TensorType } from './tensor.js';

export interface NpuTensor extends TensorType {
  readonly name: string;
  readonly role: 'input' | 'output' | 'internal' | 'constant';
  /** Values of a constant. */
  readonly data?: Constant['data'];
}

/** Nodes in an order in which each comes after those that it reads from. */
export interface NpuGraph {
  readonly tensors: readonly NpuTensor[];
  readonly nodes: readonly Node[];
  readonly inputs: readonly TensorId[];
  readonly outputs: readonly TensorId[];
}

/** Rows of no chunk: every shape is exact. */
const ENV = { chunk: 0 };

export class NpuGraphBuilder implements NodeSink {
  readonly npu: NpuBuilder = new NpuBuilder(this);
  private readonly tensors: NpuTensor[] = [];
  private readonly names = new Set<string>();
  private readonly nodes: Node[] = [];
  private readonly constants = new ConstantTable();

  input(name: string, type: Omit<TensorType, 'rows'>): TensorId {
    const { dtype, dims, quant } = type;
    check(dims.length > 0 && dims.every((d) => Number.isInteger(d) && d > 0), () => `input ${name} of shape [${dims.join(', ')}]`);
    return this.declare({ name, dtype, dims: [...dims], quant, rows: 'fixed', role: 'input' });
  }

  constant(name: string, value: Constant): TensorId {
    const { dtype, dims, quant, data } = value;
    return this.constants.add(name, value, () =>
      this.declare({ name, dtype, dims: [...dims], quant, rows: 'fixed', role: 'constant', data }),
    );
  }

  tensor(id: TensorId): NpuTensor {
    const t = this.tensors[id];
    if (t === undefined) throw badPlan(`no tensor ${id}`);
    return t;
  }

  addNodes<K extends NpuOp>(
    op: K,
    inputs: readonly TensorId[],
    attrs: NpuAttrs<K>,
    target: TargetOf<K>,
    names: readonly string[],
  ): TensorId[] {
    const types = inferOp(
      op,
      inputs.map((id) => this.tensor(id)),
      attrs as AnyAttrs,
      target,
      ENV,
      names,
    );
    check(types.length === names.length, () => `${names.length} names for ${types.length} outputs of ${op}`);
    const outputs = types.map((type, i) => this.declare({ ...type, rows: 'fixed', name: names[i] ?? '', role: 'internal' }));
    this.nodes.push({ op, name: names[0], inputs: [...inputs], outputs, attrs } as Node);
    return outputs;
  }

  /** The finished graph with these results, in this order. What nobody reads is refused: QNN has no place for it. */
  finish(outputs: readonly TensorId[]): NpuGraph {
    const made = new Set(this.nodes.flatMap((node) => node.outputs));
    for (const id of outputs) {
      check(made.has(id), () => `output ${this.tensor(id).name} ${formatType(this.tensor(id))} is made by no node`);
      this.tensors[id] = { ...this.tensor(id), role: 'output' };
    }
    check(outputs.length > 0 && new Set(outputs).size === outputs.length, () => `${outputs.length} outputs, some twice or none`);
    const read = new Set(this.nodes.flatMap((node) => node.inputs));
    const scales = new Set(this.tensors.flatMap(({ quant }) => (quant.kind === 'axis' ? [quant.scales] : [])));
    this.tensors.forEach((t, i) => {
      const id = i as TensorId;
      check(read.has(id) || scales.has(id) || t.role === 'output', () => `nothing reads ${t.name}`);
    });
    const inputs = this.tensors.flatMap((t, i) => (t.role === 'input' ? [i as TensorId] : []));
    return { tensors: this.tensors, nodes: this.nodes, inputs, outputs };
  }

  private declare(tensor: NpuTensor): TensorId {
    if (tensor.name === '' || this.names.has(tensor.name)) throw badPlan(`two tensors named ${tensor.name || 'nothing'}`);
    this.names.add(tensor.name);
    return (this.tensors.push(tensor) - 1) as TensorId;
  }
}
