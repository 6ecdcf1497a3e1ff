/**
 * The 22 ops of the mllm QNN backend, and masking and cache update for attention on the NPU, on QNN libraries: every case against float64 within the bounds of
 * its kind.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { COMPOSITE_NAMES } from '../../lib/graph/composite/index.js';
import { breach, distance } from '../reference/bounds.js';
import { CASES } from '../reference/composite-cases.js';
import { randomCases } from '../reference/composite-random.js';
import { Runner } from './npu-graph.js';

/** LUTRA_RANDOM_CASES: how many random cases of every op; LUTRA_SEED: other ones. */
const RANDOM = randomCases(Number(process.env.LUTRA_SEED ?? 1), Number(process.env.LUTRA_RANDOM_CASES ?? 6));
const ALL_CASES = [...CASES, ...RANDOM];

describe.each(['qualcomm', 'host'] as const)('on %s', (library) => {
  const runner = new Runner(library);
  const ran = new Set<string>();

  for (const { op, label, bound, make } of ALL_CASES) {
    it(`${op} ${label}`, () => {
      const { graph, stored, expected } = make();
      const results = runner.run(graph, stored);
      graph.outputs.forEach((id, i) => {
        const far = distance(graph.tensors[id]!, results[i]!, expected[i]!);
        expect(breach(far, bound)).toBeNull();
        expect(Array.from(results[i]!).some((value) => value !== 0)).toBe(true);
      });
      ran.add(op);
    });
  }

  afterAll(() => {
    console.log(`${library}: ${ran.size} of ${COMPOSITE_NAMES.length} ops in ${ALL_CASES.length} cases`);
    expect(ran).toEqual(new Set(COMPOSITE_NAMES));
  });
});
