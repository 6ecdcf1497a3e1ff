/** Where the parts of a model run, in words for people and fields for programs. */
import type { EngineInfo } from '../native/addon.js';

export interface Placement {
  /** Identity of the NPU library, or null. */
  npu: string | null;
  /** Why this library and no other, or why none: "option npu", "LUTRA_QNN_LIBRARY names it", "instead of /l.so: The QNN library … is quarantined: …". */
  why: string;
  /** Graphs of the prompt path and the nodes in them, by where they run. */
  segments: { where: string; why: string; graphs: number; nodes: number }[];
  /** Who computes which part. */
  parts: { part: string; where: string }[];
  /** How the graphs came about. */
  context: EngineInfo['context'];
}

/** @param info of an opened engine @param why its NPU was taken */
export function placementOf(info: EngineInfo, why: string): Placement {
  const segments = new Map<string, Placement['segments'][number]>();
  for (const { where, nodes } of info.segments) {
    const group = segments.get(where) ?? { where, why, graphs: 0, nodes: 0 };
    group.graphs++;
    group.nodes += nodes;
    segments.set(where, group);
  }
  const cpu = `CPU (${info.kernels})`;
  const linears = info.segments.length > 0 ? [...segments.keys()].join(', ') : cpu;
  return {
    npu: info.backend ? `${info.backend.name} ${info.backend.buildId}` : null,
    why,
    segments: [...segments.values()],
    parts: [
      { part: 'prefill linears, norms, activations', where: linears },
      { part: 'prefill attention, KV cache, lm_head', where: cpu },
      { part: 'decode', where: cpu },
    ],
    context: info.context,
  };
}
