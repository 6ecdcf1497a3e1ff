/** One op at a time: the same graph with every NPU node as a segment of its own, so that every value can be looked at. */
import type { Graph, Program, Segment, Step } from './graph.js';
import { nodeResult } from './npu-ops.js';
import { badPlan } from './schema.js';
import type { Tensor, TensorId } from './tensor.js';

/**
 * Same nodes, same steps, same order; what was internal to a segment becomes an activation. Encoded, it is a plan like any other, but not one that
 * {@link validateGraph} passes: its segments are the shortest runs of NPU ops, not the longest. Throws LUTRA_BAD_PLAN.
 */
export function eagerGraph(graph: Graph): Graph {
  const { config } = graph;
  const tensors = graph.tensors.map(
    (t): Tensor => (t.kind === 'internal' ? { ...t, ...nodeResult(t, config.chunk), kind: 'activation' } : t),
  );
  const isWeight = (id: TensorId): boolean => tensors[id]?.kind === 'weight';
  const segments: Segment[] = [];

  const split = (step: Step): Step[] => {
    if (step.op !== 'segment') return [step];
    const segment = graph.segments[step.attrs.segment];
    if (segment === undefined) throw badPlan(`no segment ${step.attrs.segment}`);
    return segment.nodes.map((node) => {
      const inputs = [...new Set(node.inputs)].filter((id) => !isWeight(id));
      const index = segments.push({ name: `seg${segments.length}`, nodes: [node], inputs, outputs: node.outputs }) - 1;
      return { op: 'segment', inputs, outputs: node.outputs, attrs: { segment: index } };
    });
  };
  const programs = graph.programs.map((program): Program => ({ ...program, steps: program.steps.flatMap(split) }));
  return { config, tensors, segments, programs };
}
