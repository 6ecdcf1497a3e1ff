/** Where the parts of a model run, in words for people and fields for programs. */
import type { EngineInfo } from '../native/addon.js';
import type { CompiledChoice } from './compiled.js';

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
  /** Graphs that were compiled ahead of time: which file is used, or the field that keeps it from being used and why; null when there are none. */
  compiled: { file: string | null; field: string | null; why: string } | null;
}

function compiledOf(choice: CompiledChoice, context: EngineInfo['context']): Placement['compiled'] {
  switch (choice.kind) {
    case 'none':
      return null;
    case 'mismatch':
      return { file: null, field: choice.field, why: choice.why };
    case 'use':
      return context === 'loaded'
        ? { file: choice.file, field: null, why: 'made ahead of time for this library and SoC' }
        : { file: null, field: 'binary', why: 'the library did not take it' };
  }
}

/** @param info of an opened engine @param why its NPU was taken @param compiled what there was ahead of time */
export function placementOf(info: EngineInfo, why: string, compiled: CompiledChoice): Placement {
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
    compiled: compiledOf(compiled, info.context),
  };
}
