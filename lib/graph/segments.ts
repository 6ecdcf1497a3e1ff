/** Cuts a program into CPU steps and NPU segments: a segment is a maximal run of NPU ops. */
import type { Node, Segment, Step } from './graph.js';
import { badPlan } from './schema.js';
import type { TensorId } from './tensor.js';

/** One op of a program before cutting. */
export type Item = { readonly on: 'cpu'; readonly step: Step } | { readonly on: 'npu'; readonly node: Node };

export interface Cut {
  readonly steps: Step[];
  readonly segments: Segment[];
  /** Results of nodes that never leave their segment. */
  readonly internal: Set<TensorId>;
}

/**
 * Runs in, steps and segments out; segments are numbered from `first` and named `seg<number>`.
 * A result of a node is an output of its segment when anything outside reads it, `logits` included. Throws LUTRA_BAD_PLAN when nothing reads it.
 */
export function cutSegments(items: readonly Item[], isWeight: (id: TensorId) => boolean, logits: TensorId, first: number): Cut {
  const cut: Cut = { steps: [], segments: [], internal: new Set() };
  const runs = splitRuns(items);
  const readers = new Map<TensorId, Set<number>>([[logits, new Set([-1])]]);
  runs.forEach((run, r) => {
    for (const item of run) {
      for (const id of (item.on === 'cpu' ? item.step : item.node).inputs) {
        const set = readers.get(id) ?? new Set();
        readers.set(id, set.add(r));
      }
    }
  });
  runs.forEach((run, r) => {
    const nodes = run.flatMap((item) => (item.on === 'npu' ? [item.node] : []));
    cut.steps.push(...run.flatMap((item) => (item.on === 'cpu' ? [item.step] : [])));
    if (nodes.length === 0) return;
    const made = new Set(nodes.flatMap((node) => node.outputs));
    const inputs = new Set(nodes.flatMap((node) => node.inputs).filter((id) => !made.has(id) && !isWeight(id)));
    const outputs = [...made].filter((id) => [...readersOf(id)].some((reader) => reader !== r));
    for (const id of made) if (!outputs.includes(id)) cut.internal.add(id);
    const segment: Segment = { name: `seg${first + cut.segments.length}`, nodes, inputs: [...inputs], outputs };
    cut.steps.push({ op: 'segment', inputs: segment.inputs, outputs: segment.outputs, attrs: { segment: first + cut.segments.length } });
    cut.segments.push(segment);
  });
  return cut;

  function readersOf(id: TensorId): Set<number> {
    const set = readers.get(id);
    if (set === undefined) throw badPlan(`nothing reads result ${id} of an NPU node`);
    return set;
  }
}

/** Maximal runs of items of the same side. */
function splitRuns(items: readonly Item[]): Item[][] {
  const runs: Item[][] = [];
  for (const item of items) {
    const last = runs.at(-1);
    if (last !== undefined && last[0]?.on === item.on) last.push(item);
    else runs.push([item]);
  }
  return runs;
}
