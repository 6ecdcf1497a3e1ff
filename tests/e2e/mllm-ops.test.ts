/**
 * The 22 ops of the mllm QNN backend, and masking and cache update for attention on the NPU, on QNN libraries: every case against float64 within the bounds of
 * its kind.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { COMPOSITE_NAMES } from '../../lib/graph/composite/index.js';
import { LutraError } from '../../lib/graph/errors.js';
import { breach, distance } from '../reference/bounds.js';
import { CASES } from '../reference/composite-cases.js';
import { randomCases } from '../reference/composite-random.js';
import { type LibraryName, Runner } from './npu-graph.js';

/** Libraries of which some nodes may be missing still: their cases are skipped and counted. */
const GROWING: ReadonlySet<LibraryName> = new Set(['host']);

/** LUTRA_RANDOM_CASES: how many random cases of every op; LUTRA_SEED: other ones. */
const RANDOM = randomCases(Number(process.env.LUTRA_SEED ?? 1), Number(process.env.LUTRA_RANDOM_CASES ?? 6));
const ALL_CASES = [...CASES, ...RANDOM];

describe.each(['qualcomm', 'host'] as const)('on %s', (library) => {
  const runner = new Runner(library);
  const ran = new Set<string>();
  const refused = new Map<string, string>();

  for (const { op, label, bound, make } of ALL_CASES) {
    it(`${op} ${label}`, (context) => {
      const { graph, stored, expected } = make();
      const missing = graph.nodes.find((node) => !runner.operations.has(node.op));
      if (GROWING.has(library) && missing !== undefined) {
        refused.set(`${op} ${label}`, `no ${missing.op}`);
        context.skip();
      }
      let results: ArrayLike<number>[];
      try {
        results = runner.run(graph, stored);
      } catch (error) {
        if (!GROWING.has(library) || !(error instanceof LutraError) || error.code !== 'LUTRA_QNN_NODE') throw error;
        refused.set(`${op} ${label}`, error.message);
        context.skip();
        return;
      }
      graph.outputs.forEach((id, i) => {
        const far = distance(graph.tensors[id]!, results[i]!, expected[i]!);
        expect(breach(far, bound)).toBeNull();
        expect(Array.from(results[i]!).some((value) => value !== 0)).toBe(true);
      });
      ran.add(op);
    });
  }

  afterAll(() => {
    console.log(`${library}: ${ran.size} of ${COMPOSITE_NAMES.length} ops, ${refused.size} of ${ALL_CASES.length} cases are not there yet`);
    if (process.env.LUTRA_VERBOSE) for (const [name, why] of refused) console.log(`  ${name}: ${why}`);
    if (!GROWING.has(library)) expect(ran).toEqual(new Set(COMPOSITE_NAMES));
  });
});
