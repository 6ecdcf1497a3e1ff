/** From the matrices to what the graph builder refuses. */
import { readFileSync } from 'node:fs';
import type { NativeMeasurement } from '../../native/qnn-addon.js';
import type { Verdict } from '../probe/probe.js';
import { archOf } from '../soc.js';
import { type Finding, isBad, type Matrix, verdictOf } from './matrix.js';

/** Measured libraries; the files lie in lib/qnn/matrix of the package, whether this module runs from lib or from dist. */
const FILES = ['htp-2.51.json'] as const;
const DIRECTORY = new URL('../../../lib/qnn/matrix/', import.meta.url);

let loaded: Matrix[] | undefined;

function matrices(): Matrix[] {
  loaded ??= FILES.map((file) => JSON.parse(readFileSync(new URL(file, DIRECTORY), 'utf8')) as Matrix);
  return loaded;
}

/** What a graph is compiled for, as far as it was said. */
export interface Target {
  soc?: number | undefined;
  arch?: number | undefined;
}

const DOES: Readonly<Record<'wrong' | 'crashed' | 'hung', string>> = {
  wrong: 'this library accepts it, but what it computes is wrong',
  crashed: 'it crashes this library',
  hung: 'this library does not come back from it',
};

/** What the measured libraries must not be given when they compile for `target`. */
export function measurementsFor(target: Target): NativeMeasurement[] {
  return matrices().map((matrix) => {
    const { provider, buildId, backendApiVersion } = matrix;
    const [major = 0, minor = 0] = backendApiVersion.split('.').map(Number);
    return { provider, buildId, backendApiVersion: [major, minor], refusals: refusalsOf(matrix, target) };
  });
}

export function refusalsOf(matrix: Matrix, target: Target): NativeMeasurement['refusals'] {
  return Object.entries(matrix.forms).flatMap(([form, letters]) => {
    const found = verdictFor(matrix, letters, target);
    return found && isBad(found.verdict) ? [refusal(matrix, form, found.soc, found.verdict)] : [];
  });
}

/**
 * The verdict of the SoC; of one that was not measured, that of the measured one whose architecture is nearest. Where even the architecture is not known a form is bad
 * when it is bad on all of them.
 */
function verdictFor({ socs }: Matrix, letters: string, target: Target): { soc: number; verdict: Verdict } | undefined {
  const arch = archOf(target);
  const distance = (one: Matrix['socs'][number]) => (one.soc === target.soc ? -1 : Math.abs(one.arch - (arch ?? 0)));
  const measured = socs
    .map((one, i) => ({ soc: one.soc, verdict: verdictOf(letters[i]), distance: distance(one) }))
    .filter((one): one is { soc: number; verdict: Verdict; distance: number } => one.verdict !== undefined)
    .sort((a, b) => a.distance - b.distance);
  if (arch === undefined && !socs.some(({ soc }) => soc === target.soc))
    return measured.find(({ verdict }) => !isBad(verdict)) ?? measured[0];
  return measured[0];
}

function refusal(matrix: Matrix, form: string, soc: number, verdict: 'wrong' | 'crashed' | 'hung'): NativeMeasurement['refusals'][number] {
  const finding = matrix.findings.find(({ forms, seen }) => forms.includes(form) && seen[soc]?.verdict === verdict);
  const because = finding?.reason ? `: ${finding.reason}` : '';
  return {
    form,
    message: `${DOES[verdict]}${because} (${evidence(matrix, soc, finding)})`,
    remedy: finding?.remedy || 'Use another form of the op: docs/qnn.md lists those that are right.',
  };
}

function evidence({ provider, buildId }: Matrix, soc: number, finding: Finding | undefined): string {
  const where = `measured on ${provider} ${buildId}, SoC ${soc}`;
  return finding ? `conformance case ${finding.case}, ${where}: ${finding.seen[soc]?.message}` : where;
}
