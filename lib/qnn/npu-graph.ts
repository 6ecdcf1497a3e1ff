/** Graphs of lib/graph through the QNN interface: every tensor and node as it is, in the form of an untyped node. */
import type { Node } from '../graph/graph.js';
import type { NpuGraph, NpuTensor } from '../graph/npu-graph.js';
import { type AnyAttrs, attrSchema } from '../graph/ops.js';
import { badPlan } from '../graph/schema.js';
import type { TensorId } from '../graph/tensor.js';
import type { GraphBuilder } from './api/builder.js';
import type { DType } from './api/dtype.js';
import { axis, type Encoding, scaleOffset } from './api/encoding.js';
import type { TaggedParam } from './api/params.js';
import type { Tensor, TensorSpec } from './api/tensor.js';

/** The interface's name of a type: what has no encoding holds the values themselves. */
export function qnnType({ dtype, quant }: Pick<NpuTensor, 'dtype' | 'quant'>): DType {
  switch (dtype) {
    case 'f32':
    case 'f16':
    case 'bool8':
    case 'u8':
    case 's8':
    case 'u16':
      return dtype;
    case 's32':
      return quant.kind === 'none' ? 'int32' : 's32';
    case 'u32':
      return 'uint32';
    default:
      throw badPlan(`a tensor of ${dtype} on the NPU`);
  }
}

function encodingOf(graph: NpuGraph, { name, quant }: NpuTensor): Encoding | undefined {
  switch (quant.kind) {
    case 'none':
      return undefined;
    case 'scale':
      return scaleOffset(quant.scale, quant.offset);
    case 'axis': {
      const scales = graph.tensors[quant.scales]?.data;
      if (!(scales instanceof Float32Array)) throw badPlan(`the scales of ${name} are not known`);
      return axis(quant.axis, scales);
    }
  }
}

function paramsOf(node: Node): Record<string, TaggedParam> {
  const attrs: AnyAttrs = node.attrs;
  return Object.fromEntries(attrSchema(node.op).map(([name, type]) => [name, { [type]: attrs[name] } as unknown as TaggedParam]));
}

/**
 * Adds all tensors and nodes of `graph` to an empty builder; inputs, constants and outputs keep their names. Finalize the builder and execute with
 * typed arrays by name. Throws LUTRA_BAD_PLAN, and what the builder throws: LUTRA_QNN_NODE when the library refuses a node.
 */
export function addNpuGraph(builder: GraphBuilder, graph: NpuGraph): void {
  const used = new Set(graph.nodes.flatMap((node) => [...node.inputs, ...node.outputs]));
  const tensors = new Map<TensorId, Tensor>();
  graph.tensors.forEach((t, i) => {
    const id = i as TensorId;
    // Scales of other constants are tensors here but encodings there.
    if (!used.has(id)) return;
    const spec = { dtype: qnnType(t), dims: t.dims, encoding: encodingOf(graph, t) } as TensorSpec;
    tensors.set(id, add(builder, t, spec));
  });
  const find = (id: TensorId): Tensor => {
    const found = tensors.get(id);
    if (found === undefined) throw badPlan(`no tensor ${id}`);
    return found;
  };
  for (const node of graph.nodes) {
    builder.node({
      name: node.name,
      type: node.op,
      inputs: node.inputs.map(find),
      outputs: node.outputs.map(find),
      params: paramsOf(node),
    });
  }
}

function add(builder: GraphBuilder, { name, role, data }: NpuTensor, spec: TensorSpec): Tensor {
  switch (role) {
    case 'input':
    case 'output':
    case 'internal':
      return builder[role](name, spec);
    case 'constant':
      if (data === undefined) throw badPlan(`constant ${name} has no values`);
      return builder.constant(name, { ...spec, data } as TensorSpec & { data: never });
  }
}
