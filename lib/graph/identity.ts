/** What the NPU's graphs of a plan are, without the rest of it: the same for every context size and KV type. */
import type { Graph } from './graph.js';
import type { TensorId } from './tensor.js';

/**
 * Bytes that are equal for plans whose segments are built from the same nodes, tensors and weights' names. Contents of weights are not in it. Tensors are numbered by first use, so that
 * what else is in the plan does not show.
 */
export function segmentsIdentity(graph: Graph): Uint8Array {
  const numbers = new Map<TensorId, number>();
  const tensors: object[] = [];
  const numberOf = (id: TensorId): number => {
    const known = numbers.get(id);
    if (known !== undefined) return known;
    const tensor = graph.tensors[id];
    const number = numbers.size;
    numbers.set(id, number);
    const quant = tensor?.quant.kind === 'axis' ? { ...tensor.quant, scales: numberOf(tensor.quant.scales) } : tensor?.quant;
    tensors[number] = { ...tensor, quant };
    return number;
  };
  const segments = graph.segments.map(({ name, nodes, inputs, outputs }) => ({
    name,
    inputs: inputs.map(numberOf),
    outputs: outputs.map(numberOf),
    nodes: nodes.map((node) => ({ ...node, inputs: node.inputs.map(numberOf), outputs: node.outputs.map(numberOf) })),
  }));
  return Buffer.from(JSON.stringify({ chunk: graph.config.chunk, segments, tensors }));
}
