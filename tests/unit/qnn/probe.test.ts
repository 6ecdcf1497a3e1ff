import { describe, expect, it } from 'vitest';
import { LutraError } from '../../../lib/graph/errors.js';
import type { ConformanceCase } from '../../../lib/native/qnn-addon.js';
import { type Outcome, probe } from '../../../lib/qnn/probe/probe.js';

const program = new URL('./fake-probe-child.mjs', import.meta.url);

function aCase(name: string, expected: 'ok' | 'refused' = 'ok'): ConformanceCase {
  return { name, expected, form: expected === 'ok', bound: '<= 1 step', exception: '', remedy: '' };
}

async function outcomes(names: readonly string[], options: { library?: string; timeoutSeconds?: number } = {}): Promise<Outcome[]> {
  const report = await probe({ library: 'fake', timeoutSeconds: 20, program, select: () => names.map((name) => aCase(name)), ...options });
  return report.outcomes;
}

describe('a probe', () => {
  it('reports what the child says, in the order of the cases, whatever the library prints', async () => {
    const seen: string[] = [];
    const report = await probe({
      library: 'fake',
      soc: 57,
      program,
      select: () => [aCase('right'), aCase('loud'), aCase('off'), aCase('refusing', 'refused'), aCase('refusing')],
      onOutcome: ({ name }, done, total) => seen.push(`${name} ${done}/${total}`),
    });
    expect(report).toMatchObject({ backend: { name: 'FAKE' }, soc: 57, arch: 75 });
    expect(report.outcomes).toMatchObject([
      { name: 'right', verdict: 'ok', holds: true, forms: ['Form(right)'], ms: 2, figures: { steps: 1, equal: 0.98, nmse: 1e-7 } },
      { name: 'loud', verdict: 'ok', holds: true },
      { name: 'off', verdict: 'wrong', holds: false, message: 'y: 300 steps', figures: { steps: 300, equal: 0 } },
      { name: 'refusing', verdict: 'refused', holds: true, message: 'no such form' },
      { name: 'refusing', verdict: 'refused', holds: false },
    ]);
    expect(seen).toEqual(['right 1/5', 'loud 2/5', 'off 3/5', 'refusing 4/5', 'refusing 5/5']);
  });

  it('goes on in a new child after a crash, an exit, an answer that is none, and a closed channel', async () => {
    const results = await outcomes(['right', 'crashing', 'right', 'leaving', 'garbage', 'silent', 'right']);
    expect(results.map(({ verdict }) => verdict)).toEqual(['ok', 'crashed', 'ok', 'crashed', 'crashed', 'crashed', 'ok']);
    expect(results[1]).toMatchObject({ forms: ['Form(crashing)'], message: 'SIGSEGV', holds: false });
    expect(results[3]?.message).toBe('exit code 3: double free');
    expect(results[4]?.message).toContain('no reply');
  });

  it('ends a child that hangs, and goes on', async () => {
    const started = Date.now();
    const results = await outcomes(['hanging', 'right'], { timeoutSeconds: 1 });
    expect(results).toMatchObject([{ verdict: 'hung', forms: ['Form(hanging)'], message: 'no answer within 1 s' }, { verdict: 'ok' }]);
    expect(Date.now() - started).toBeLessThan(15_000);
  });

  it('does not blame a case for the damage of an earlier one', async () => {
    const results = await outcomes(['damaging', 'sensitive', 'right']);
    expect(results.map(({ verdict }) => verdict)).toEqual(['ok', 'ok', 'ok']);
  });

  it.each([
    ['missing', 'LUTRA_LIBRARY_NOT_FOUND', 'there is no such library'],
    ['crashing', 'LUTRA_QNN_CALL', "The QNN library 'crashing' crashes (SIGSEGV) when it is opened."],
    ['hanging', 'LUTRA_QNN_CALL', "The QNN library 'hanging' does not answer within 1 s when it is opened."],
  ])('of a library that is %s is a typed error', async (library, code, message) => {
    const error = await outcomes(['right'], { library, timeoutSeconds: library === 'hanging' ? 1 : 20 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(LutraError);
    expect(error).toMatchObject({ code, message });
  });
});
