/**
 * What a QNN library was measured to do, as data: a verdict for every kind of node (qnn::form_of) and SoC, made by `lutra qnn probe --matrix`. The graph builder refuses what a
 * matrix calls wrong, crashed or hung.
 */
import { LutraError } from '../../graph/errors.js';
import { type Outcome, type ProbeReport, VERDICTS, type Verdict } from '../probe/probe.js';

/** One letter for each of the matrix's SoCs, in their order: o ok, r refused, w wrong, c crashed, h hung, m mixed, - not measured. */
export type Letters = string;

/** A case that did not come out as expected somewhere although the op allows it. */
export interface Finding {
  case: string;
  forms: string[];
  /** Why, as far as it is known. */
  reason: string;
  /** What to use instead; may be empty. */
  remedy: string;
  /** By SoC; on those that are not here it came out as expected, or was not measured. */
  seen: Record<string, { verdict: Verdict; message: string }>;
}

export interface Matrix {
  provider: string;
  buildId: string;
  backendApiVersion: string;
  /** `cases`: how many were run. */
  socs: { soc: number; arch: number; cases: number }[];
  forms: Record<string, Letters>;
  findings: Finding[];
  /** Cases that are no forms of their op. */
  refused: Record<string, Letters>;
}

const NOT_MEASURED = '-';
const MESSAGE_LENGTH = 200;
/** Right in one case and wrong in another: a condition that tells them apart is missing in native/qnn/form.cc. Until it is there, the builder lets the form pass. */
const MIXED = 'm';

export function letterOf(verdict: Verdict): string {
  return verdict.charAt(0);
}

/** Undefined: not measured. */
export function verdictOf(letter: string | undefined): Verdict | undefined {
  if (letter === MIXED) return 'ok';
  return VERDICTS.find((verdict) => letterOf(verdict) === letter);
}

/** A node that must not be given to the library. */
export function isBad(verdict: Verdict | undefined): verdict is 'wrong' | 'crashed' | 'hung' {
  return verdict === 'wrong' || verdict === 'crashed' || verdict === 'hung';
}

/** Forms that the matrix has no clear verdict of. */
export function mixedForms({ forms }: Matrix): string[] {
  return Object.keys(forms).filter((form) => forms[form]!.includes(MIXED));
}

/** The matrix with the report's SoC measured anew; `before` may be absent. Throws LUTRA_INVALID_ARGUMENT when it is of another library, or the SoC is not known. */
export function withReport(before: Matrix | undefined, report: ProbeReport): Matrix {
  const { backend, soc, arch, outcomes } = report;
  if (soc === null || arch === null)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', 'A matrix holds verdicts by SoC, and none was given.', 'Give --soc.');
  if (before && (before.provider !== backend.name || before.buildId !== backend.buildId)) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The matrix is of ${before.provider} ${before.buildId}, not of ${backend.name} ${backend.buildId}.`,
      'Write another file.',
    );
  }
  const socs = [...(before?.socs ?? []).filter((one) => one.soc !== soc), { soc, arch, cases: outcomes.length }].sort(
    (a, b) => a.soc - b.soc,
  );
  const column = socs.findIndex((one) => one.soc === soc);
  const merge = (old: Letters | undefined, letter: string | undefined): Letters =>
    socs
      .map((one, i) => (i === column ? letter : old?.[before!.socs.findIndex(({ soc: known }) => known === one.soc)]) ?? NOT_MEASURED)
      .join('');
  const letters = judgeForms(outcomes.filter(({ form }) => form));
  const refused = new Map(outcomes.filter(({ form }) => !form).map(({ name, verdict }) => [name, letterOf(verdict)]));
  return {
    provider: backend.name,
    buildId: backend.buildId,
    backendApiVersion: backend.backendApiVersion,
    socs,
    forms: withDoubt(mergeAll(before?.forms ?? {}, letters, merge)),
    findings: mergeFindings(before?.findings ?? [], outcomes, String(soc)),
    refused: mergeAll(before?.refused ?? {}, refused, merge),
  };
}

type Merge = (old: Letters | undefined, letter: string | undefined) => Letters;

function mergeAll(before: Readonly<Record<string, Letters>>, now: ReadonlyMap<string, string>, merge: Merge): Record<string, Letters> {
  const keys = [...new Set([...Object.keys(before), ...now.keys()])].sort();
  const merged = keys.map((key) => [key, merge(before[key], now.get(key))] as const);
  return Object.fromEntries(merged.filter(([, letters]) => /[^-]/.test(letters)));
}

/** A sample may have missed the cases that are right: what is mixed on one SoC is not called wrong on another. */
function withDoubt(forms: Record<string, Letters>): Record<string, Letters> {
  return Object.fromEntries(
    Object.entries(forms).map(([form, letters]) => [form, letters.includes(MIXED) ? letters.replaceAll('w', MIXED) : letters]),
  );
}

/** A case of several forms that goes wrong is blamed on those that no other case clears. */
function judgeForms(outcomes: readonly Outcome[]): Map<string, string> {
  const letters = new Map<string, string>();
  const right = new Set(outcomes.filter(({ verdict }) => verdict === 'ok').flatMap(({ forms }) => forms));
  // The worst verdict is written last.
  for (const { verdict, forms } of outcomes.toSorted((a, b) => VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict))) {
    const suspects = forms.filter((form) => !right.has(form));
    if (verdict === 'ok') for (const form of forms) letters.set(form, letterOf(verdict));
    else if (isBad(verdict) && suspects.length === 0) for (const form of forms) letters.set(form, MIXED);
    else for (const form of suspects) letters.set(form, letterOf(verdict));
  }
  return letters;
}

function mergeFindings(before: readonly Finding[], outcomes: readonly Outcome[], soc: string): Finding[] {
  const findings = new Map<string, Finding>();
  for (const finding of before) {
    const { [soc]: _, ...seen } = finding.seen;
    findings.set(finding.case, { ...finding, seen });
  }
  for (const { name, form, verdict, holds, forms, exception, remedy, message } of outcomes) {
    if (!form) continue;
    const seen = findings.get(name)?.seen ?? {};
    const now = holds ? {} : { [soc]: { verdict, message: message.split('\n')[0]!.slice(0, MESSAGE_LENGTH) } };
    findings.set(name, { case: name, forms, reason: exception, remedy, seen: { ...seen, ...now } });
  }
  return [...findings.values()].filter(({ seen }) => Object.keys(seen).length > 0).sort((a, b) => (a.case < b.case ? -1 : 1));
}
