/** `lutra qnn probe`: the conformance table on a QNN library. */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { LutraError } from '../graph/errors.js';
import type { ConformanceCase } from '../native/qnn-addon.js';
import { isBad, type Matrix, mixedForms, withReport } from '../qnn/matrix/matrix.js';
import { type Outcome, type ProbeReport, probe, VERDICTS } from '../qnn/probe/probe.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { optional } from './model-flags.js';
import { note, ProgressBar, print, printJson } from './output.js';

export const qnnProbeCommand: Command = {
  name: 'qnn probe',
  summary: 'Measures a QNN library on the conformance table, case by case in child processes.',
  positionals: [],
  flags: {
    library: { value: 'host|PATH', help: 'the library to measure (default host)' },
    soc: { value: 'ID', help: 'QNN SoC id that it compiles for, for example 57 (SM8650)' },
    filter: { value: 'TEXT', help: 'only cases with this in their name' },
    sample: { value: 'N', help: 'only every N-th case' },
    timeout: { value: 'SECONDS', help: 'how long a case may take before it counts as hung (default 120)' },
    matrix: {
      value: 'FILE',
      help: 'keep the verdicts in FILE, beside those of other SoCs; what is bad there is never left out of a sample',
    },
    all: { help: 'list every case, not only those that are not as expected' },
    json: { help: 'print one JSON object' },
  },
  run,
};

/** As expected, or known not to be. */
function isSettled({ holds, exception }: Outcome): boolean {
  return holds || exception !== '';
}

async function run(args: Arguments): Promise<void> {
  const library = args.string('library') ?? 'host';
  const soc = args.integer('soc');
  const timeoutSeconds = args.integer('timeout', 1);
  const file = args.string('matrix');
  const matrix = file !== undefined && existsSync(file) ? await readMatrix(file) : undefined;
  const step = args.integer('sample', 1) ?? 1;
  const bar = new ProgressBar();
  const report = await probe({
    library: library === 'host' ? library : resolve(library),
    ...optional('soc', soc),
    ...optional('timeoutSeconds', timeoutSeconds),
    select: (cases) => select(cases, args.string('filter') ?? '', step, matrix),
    onOutcome: ({ name }, done, total) => bar.update(name, done, total),
  });
  bar.clear();
  if (file !== undefined) await writeMatrix(file, withReport(matrix, report));
  if (args.flag('json')) printJson({ library, ...report, summary: summary(report) });
  else printReport(report, args.flag('all'));
  if (!report.outcomes.every(isSettled)) process.exitCode = 1;
}

function select(cases: readonly ConformanceCase[], filter: string, step: number, matrix: Matrix | undefined): ConformanceCase[] {
  const bad = new Set(
    matrix?.findings.filter(({ seen }) => Object.values(seen).some(({ verdict }) => isBad(verdict))).map((one) => one.case),
  );
  const matching = cases.filter(({ name }) => name.includes(filter));
  if (matching.length === 0) throw new UsageError(`No case has '${filter}' in its name.`);
  return matching.filter(({ name }, i) => i % step === 0 || bad.has(name));
}

function summary({ outcomes }: ProbeReport) {
  const verdicts = Object.fromEntries(
    VERDICTS.map((verdict) => [verdict, outcomes.filter((outcome) => outcome.verdict === verdict).length]),
  );
  return {
    cases: outcomes.length,
    ...verdicts,
    asExpected: outcomes.filter(({ holds }) => holds).length,
    knownExceptions: outcomes.filter(({ holds, exception }) => !holds && exception !== '').length,
    unexpected: outcomes.filter((outcome) => !isSettled(outcome)).length,
  };
}

function printReport(report: ProbeReport, all: boolean): void {
  const { backend, soc, outcomes } = report;
  print(`${backend.name}, build ${backend.buildId}${soc === null ? '' : `, SoC ${soc}`}`);
  const rows = outcomes.filter((outcome) => all || !outcome.holds);
  const width = Math.max(0, ...rows.map(({ name }) => name.length));
  for (const outcome of rows) {
    print(`${isSettled(outcome) ? ' ' : '!'} ${outcome.name.padEnd(width)}  ${outcome.verdict.padEnd(7)}  ${detail(outcome)}`);
  }
  const { asExpected, knownExceptions, unexpected, cases } = summary(report);
  print(`${cases} cases: ${asExpected} as expected, ${knownExceptions} known exceptions, ${unexpected} unexpected`);
}

function detail({ verdict, message, figures, exception }: Outcome): string {
  const said = message.split('\n')[0]!.slice(0, 160);
  if (verdict !== 'ok' || !figures) return exception ? `${said} (${exception})` : said;
  const nmse = figures.nmse === undefined ? '' : `, NMSE ${figures.nmse.toExponential(1)}`;
  return `${figures.steps} steps, ${(100 * figures.equal).toFixed(2)} % equal${nmse}`;
}

async function readMatrix(file: string): Promise<Matrix> {
  const text = await readFile(file, 'utf8');
  try {
    return JSON.parse(text) as Matrix;
  } catch (error) {
    throw new LutraError('LUTRA_BAD_FILE', `${file} is no matrix: ${String(error)}`, 'Give a file that --matrix wrote, or a new one.');
  }
}

/** Indented, with what belongs together on one line. */
function formatMatrix(matrix: Matrix): string {
  const inLine = /\{\n *("(?:soc|verdict)": [^{}]*?)\n *\}|(?<="forms": )\[[^\]]*\]/g;
  return `${JSON.stringify(matrix, null, 1).replace(inLine, (part) => part.replace(/\n */g, ' '))}\n`;
}

async function writeMatrix(file: string, matrix: Matrix): Promise<void> {
  await writeFile(file, formatMatrix(matrix));
  for (const form of mixedForms(matrix)) {
    note(`${form}: right in one case and wrong in another; what tells them apart is no condition of native/qnn/form.cc yet.`);
  }
}
