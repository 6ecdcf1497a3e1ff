/** What the doctor says: facts are in the report, findings are what somebody should know or do. */

/** `fatal`: lutra does not work here. `error`: the NPU cannot be used. `warning`: something is slower or weaker than it could be. `note`: good to know. */
export type Level = 'fatal' | 'error' | 'warning' | 'note';

export interface Finding {
  /** Stable, for programs: "skel-missing", "npu-14001". */
  id: string;
  level: Level;
  /** What was seen. */
  what: string;
  /** Why that is so. */
  cause: string;
  /** What to do about it; empty for notes. */
  remedy: string;
}

/** 0: nothing is wrong. 1: lutra works without the NPU. 2: lutra does not work. */
export function exitCodeFor(findings: readonly Finding[]): 0 | 1 | 2 {
  if (findings.some(({ level }) => level === 'fatal')) return 2;
  return findings.some(({ level }) => level === 'error') ? 1 : 0;
}
