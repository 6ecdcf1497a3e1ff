/** TypeScript writes plans, C++ reads them: both must mean the same format. */
import { describe, expect, it } from 'vitest';
import { CPU_OP_NAMES, eagerGraph, encodePlan, RECORD_WORDS } from '../../../lib/graph/index.js';
import { sealPlan } from '../../../lib/graph/plan-format.js';
import { buildPlan } from '../../../lib/models/index.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { GOLDENS, goldenPlan, SHADOWED } from '../../reference/golden-plans.js';
import { Random } from '../../reference/random.js';
import { tinyModel } from '../../reference/tiny.js';

const addon = loadAddon();

describe('the format', () => {
  it('has the same CPU steps with the same codes on both sides, and records of the same length', () => {
    expect(addon.planSchema()).toEqual({ steps: CPU_OP_NAMES, recordWords: RECORD_WORDS });
  });
});

describe('what the builder makes', () => {
  it.each(Object.entries(GOLDENS))('the addon accepts %s, as it is and op by op', (_name, { model, options }) => {
    const graph = goldenPlan(model, options);
    expect(() => addon.checkPlan(encodePlan(graph))).not.toThrow();
    expect(() => addon.checkPlan(encodePlan(eagerGraph(graph)))).not.toThrow();
  });

  it('uses every CPU step in some golden, so that the addon has seen the attributes of each', () => {
    const used = new Set(
      Object.values(GOLDENS).flatMap(({ model, options }) =>
        goldenPlan(model, options).programs.flatMap(({ steps }) => steps.map(({ op }) => op)),
      ),
    );
    expect([...used].sort()).toEqual([...CPU_OP_NAMES].sort());
  });

  it('the eager form keeps ops, order and names, and hides nothing', () => {
    const graph = buildPlan(tinyModel({ precision: SHADOWED }).spec, { mode: 'npu', contextSize: 64 });
    const eager = eagerGraph(graph);
    expect(eager.segments.flatMap(({ nodes }) => nodes)).toEqual(graph.segments.flatMap(({ nodes }) => nodes));
    expect(eager.segments.every(({ nodes }) => nodes.length === 1)).toBe(true);
    expect(new Set(eager.segments.map(({ name }) => name)).size).toBe(eager.segments.length);
    expect(eager.tensors.map(({ name, dtype, dims, quant }) => ({ name, dtype, dims, quant }))).toEqual(
      graph.tensors.map(({ name, dtype, dims, quant }) => ({ name, dtype, dims, quant })),
    );
    expect(graph.tensors.some(({ kind }) => kind === 'internal')).toBe(true);
    expect(eager.tensors.some(({ kind }) => kind === 'internal')).toBe(false);
    expect(eagerGraph(eager)).toEqual(eager);
  });
});

describe('damaged plans', () => {
  it('any flipped bit gives LUTRA_BAD_PLAN', () => {
    const good = encodePlan(buildPlan(tinyModel({ precision: SHADOWED }).spec, { mode: 'npu', contextSize: 64 }));
    for (let bit = 0; bit < 8 * good.length; bit += 61) {
      const bad = good.slice();
      bad[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => addon.checkPlan(bad), `bit ${bit}`).toThrow(expect.objectContaining({ code: 'LUTRA_BAD_PLAN' }));
    }
  });

  it('a plan with any word changed under a right checksum gives LUTRA_BAD_PLAN or is a plan', () => {
    const random = new Random(12);
    const good = encodePlan(buildPlan(tinyModel({ precision: SHADOWED }).spec, { mode: 'npu', contextSize: 64 }));
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      const bad = good.slice();
      const word = [0, 1, 7, 63, 0x7fffffff, 0x80000000, 0xffffffff, 0x3f800000][random.below(8)] ?? 0;
      new DataView(bad.buffer).setUint32(4 * random.below(bad.length / 4), word, true);
      try {
        addon.checkPlan(sealPlan(bad));
      } catch (error) {
        expect(error).toMatchObject({ name: 'LutraError', code: 'LUTRA_BAD_PLAN', remedy: expect.stringContaining('convert') });
        refused++;
      }
    }
    expect(refused).toBeGreaterThan(500);
    for (const length of [0, 7, 16, good.length - 8]) {
      expect(() => addon.checkPlan(good.slice(0, length))).toThrow(expect.objectContaining({ code: 'LUTRA_BAD_PLAN' }));
    }
  });
});
