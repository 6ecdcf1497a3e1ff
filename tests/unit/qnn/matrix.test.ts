import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type Matrix, mixedForms, verdictOf, withReport } from '../../../lib/qnn/matrix/matrix.js';
import { measurementsFor, refusalsOf } from '../../../lib/qnn/matrix/refusals.js';
import type { Outcome, ProbeReport, Verdict } from '../../../lib/qnn/probe/probe.js';

const backend = { name: 'HTP', buildId: 'v9', apiVersion: '2.40.0', backendApiVersion: '5.9.0', backendId: 6 };

function outcome(name: string, verdict: Verdict, forms: string[], rest: Partial<Outcome> = {}): Outcome {
  const known = { expected: 'ok', form: true, bound: '', exception: '', remedy: '', message: `${verdict} it was\nand more` } as const;
  return { name, verdict, forms, ...known, holds: verdict === 'ok', ...rest };
}

function report(soc: number, arch: number, outcomes: Outcome[]): ProbeReport {
  return { backend, soc, arch, outcomes };
}

const first = report(57, 75, [
  outcome('a', 'ok', ['A', 'Reshape']),
  outcome('b', 'wrong', ['B', 'Reshape'], { exception: 'because', remedy: 'Take A.' }),
  outcome('c', 'crashed', ['C']),
  outcome('n', 'refused', ['N'], { expected: 'refused', form: false, holds: true }),
]);

describe('a matrix', () => {
  it('has a letter for each form and SoC, and blames only forms that no other case clears', () => {
    const matrix = withReport(withReport(undefined, first), report(30, 68, [outcome('a', 'ok', ['A']), outcome('c', 'hung', ['C'])]));
    expect(matrix.socs).toEqual([
      { soc: 30, arch: 68, cases: 2 },
      { soc: 57, arch: 75, cases: 4 },
    ]);
    expect(matrix.forms).toEqual({ A: 'oo', B: '-w', C: 'hc', Reshape: '-o' });
    expect(matrix.refused).toEqual({ n: '-r' });
    expect(matrix.findings).toEqual([
      {
        case: 'b',
        forms: ['B', 'Reshape'],
        reason: 'because',
        remedy: 'Take A.',
        seen: { 57: { verdict: 'wrong', message: 'wrong it was' } },
      },
      {
        case: 'c',
        forms: ['C'],
        reason: '',
        remedy: '',
        seen: { 30: { verdict: 'hung', message: 'hung it was' }, 57: { verdict: 'crashed', message: 'crashed it was' } },
      },
    ]);
  });

  it('forgets a SoC that is measured again', () => {
    const matrix = withReport(withReport(undefined, first), report(57, 75, [outcome('b', 'ok', ['B'])]));
    expect(matrix).toMatchObject({ forms: { B: 'o' }, findings: [], refused: {} });
  });

  it('marks what is right here and wrong there', () => {
    const matrix = withReport(undefined, report(57, 75, [outcome('a', 'ok', ['A']), outcome('b', 'wrong', ['A'])]));
    expect(mixedForms(matrix)).toEqual(['A']);
    expect(verdictOf(matrix.forms.A)).toBe('ok');
    expect(refusalsOf(matrix, { soc: 57 })).toEqual([]);
  });

  it('is of one library, and of a SoC', () => {
    const matrix = withReport(undefined, first);
    expect(() => withReport(matrix, { ...first, backend: { ...backend, buildId: 'v10' } })).toThrow(/HTP v9, not of HTP v10/);
    expect(() => withReport(undefined, { ...first, soc: null })).toThrow(/none was given/);
  });
});

describe('refusals', () => {
  const matrix: Matrix = {
    provider: 'HTP',
    buildId: 'v9',
    backendApiVersion: '5.9.0',
    socs: [
      { soc: 30, arch: 68, cases: 9 },
      { soc: 57, arch: 75, cases: 9 },
      { soc: 69, arch: 79, cases: 3 },
    ],
    forms: { everywhere: 'www', old: 'woo', newer: 'oc-', refused: 'rrr', mixed: 'ooo' },
    findings: [
      { case: 'n', forms: ['newer'], reason: 'it does', remedy: 'Take another.', seen: { 57: { verdict: 'crashed', message: 'SIGSEGV' } } },
    ],
    refused: {},
  };
  const formsOf = (target: { soc?: number; arch?: number }) => refusalsOf(matrix, target).map(({ form }) => form);

  it.each([
    [{ soc: 30 }, ['everywhere', 'old']],
    [{ soc: 57 }, ['everywhere', 'newer']],
    [{ soc: 69 }, ['everywhere', 'newer']], // not measured there: as on the nearest
    [{ soc: 87 }, ['everywhere', 'newer']],
    [{ arch: 69 }, ['everywhere', 'old']],
    [{ soc: 12345 }, ['everywhere']], // what is bad on all of them
  ])('for %j are %j', (target, expected) => {
    expect(formsOf(target)).toEqual(expected);
  });

  it('name the case, the reason and the remedy', () => {
    expect(refusalsOf(matrix, { soc: 57 })[1]).toEqual({
      form: 'newer',
      message: 'it crashes this library: it does (conformance case n, measured on HTP v9, SoC 57: SIGSEGV)',
      remedy: 'Take another.',
    });
  });
});

describe('the measured matrix', () => {
  const matrix = JSON.parse(readFileSync(new URL('../../../lib/qnn/matrix/htp-2.51.json', import.meta.url), 'utf8')) as Matrix;

  it('holds the whole table on SoC 30 and 57, samples of the others, and little doubt', () => {
    const cases = new Map(matrix.socs.map((one) => [one.soc, one.cases]));
    expect([...cases.keys()]).toEqual([30, 57, 69, 87]);
    expect(cases.get(30)).toBeGreaterThanOrEqual(700);
    expect(cases.get(57)).toBe(cases.get(30));
    expect(mixedForms(matrix).length).toBeLessThan(10);
    for (const letters of Object.values(matrix.forms)) expect(letters).toMatch(/^[orwchm-]{2}[orwchm-]{2}$/);
    for (const letters of Object.values(matrix.refused)) expect(letters).toMatch(/^[orwch][orwch][orwch-]{2}$/);
  });

  it('has a reason for whatever is bad', () => {
    for (const [form, letters] of Object.entries(matrix.forms)) {
      if (!/[wch]/.test(letters)) continue;
      const finding = matrix.findings.find(({ forms }) => forms.includes(form));
      expect(finding?.reason, form).not.toBe('');
      expect(finding, form).toBeDefined();
    }
  });

  it('is what the builder refuses by', () => {
    const forms = (soc: number) => measurementsFor({ soc })[0]!.refusals.map(({ form }) => form);
    const crash = 'MatMul [constant right side with a scale per channel, without the parameter transpose_in1]';
    const garbage = 'FullyConnected [16-bit activations by 2-bit weights]';
    expect(forms(30)).toEqual(expect.arrayContaining([crash, garbage]));
    expect(forms(57)).toContain(crash);
    expect(forms(57)).not.toContain(garbage);
  });
});
