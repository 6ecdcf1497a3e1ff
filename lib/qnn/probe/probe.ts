/**
 * Measures a QNN library on the conformance table. Cases run in child processes, many in one; a case that crashes or hangs costs its child, and is repeated in a fresh one
 * before it is blamed, because an earlier case may have left damage.
 */
import { isLutraErrorCode, LutraError } from '../../graph/errors.js';
import type { BackendInfo } from '../../native/addon.js';
import { loadAddon } from '../../native/loader.js';
import type { ConformanceCase, ConformanceResult, ConformanceSubject } from '../../native/qnn-addon.js';
import { archOf, HOST_PROVIDER } from '../soc.js';
import { type Answer, ProbeChild } from './child-process.js';
import type { ProbedLibrary } from './protocol.js';

export const VERDICTS = ['ok', 'refused', 'wrong', 'crashed', 'hung'] as const;
export type Verdict = (typeof VERDICTS)[number];

/** What a library did with one case. */
export interface Outcome extends ConformanceCase {
  verdict: Verdict;
  /** The verdict is the expected one. */
  holds: boolean;
  /** Kinds of nodes in the case's graph. */
  forms: string[];
  /** Why it was refused, what is out of bounds, or how the process ended. */
  message: string;
  ms?: number;
  figures?: NonNullable<ConformanceResult['figures']>;
}

export interface ProbeReport {
  backend: BackendInfo;
  soc: number | null;
  arch: number | null;
  outcomes: Outcome[];
}

export interface ProbeOptions extends ProbedLibrary {
  /** Which cases; absent: all. */
  select?: (cases: readonly ConformanceCase[], backend: BackendInfo) => ConformanceCase[];
  /** For opening the library, and for each case. */
  timeoutSeconds?: number;
  onOutcome?: (outcome: Outcome, done: number, total: number) => void;
  /** The program of the child processes. */
  program?: URL;
}

const DEFAULT_TIMEOUT_SECONDS = 120;
const CHILD_PROGRAM = new URL('./child.js', import.meta.url);

/** A child in which the library is open. */
class Children {
  readonly #options: ProbeOptions;
  readonly #milliseconds: number;
  #child: ProbeChild | undefined;
  backend: BackendInfo | undefined;

  constructor(options: ProbeOptions) {
    this.#options = options;
    this.#milliseconds = 1000 * (options.timeoutSeconds ?? DEFAULT_TIMEOUT_SECONDS);
  }

  /** A child with the library open, the last one while it lives. Throws LutraError when the library cannot be opened. */
  async open(): Promise<ProbeChild> {
    if (this.#child?.alive) return this.#child;
    const { library, soc } = this.#options;
    const child = new ProbeChild(this.#options.program ?? CHILD_PROGRAM);
    const { end } = await child.ask({ open: { library, ...(soc === undefined ? {} : { soc }) } }, this.#milliseconds);
    if (!('opened' in end)) {
      child.kill();
      throw openingError(library, end, this.#milliseconds);
    }
    this.backend = end.opened;
    this.#child = child;
    return child;
  }

  async run(name: string, subject: ConformanceSubject): Promise<Answer> {
    const request = { run: name, subject };
    const child = await this.open();
    const fresh = child.requests === 1;
    const answer = await child.ask(request, this.#milliseconds);
    if (fresh || child.alive) return answer;
    return (await this.open()).ask(request, this.#milliseconds);
  }

  close(): void {
    this.#child?.kill();
  }
}

function openingError(library: string, end: Answer['end'], milliseconds: number): LutraError {
  if ('failed' in end) {
    const { code, message, remedy } = end.failed;
    return new LutraError(isLutraErrorCode(code) ? code : 'LUTRA_INTERNAL', message, remedy);
  }
  const what = !('kind' in end)
    ? 'gives no answer'
    : end.kind === 'hung'
      ? `does not answer within ${milliseconds / 1000} s`
      : `crashes (${end.how})`;
  return new LutraError(
    'LUTRA_QNN_CALL',
    `The QNN library '${library}' ${what} when it is opened.`,
    'Use another release of it, or a longer --timeout.',
  );
}

function outcomeOf(tested: ConformanceCase, { forms, end }: Answer, seconds: number): Outcome {
  const outcome = (verdict: Verdict, message: string, rest: Partial<Outcome> = {}): Outcome => {
    return { ...tested, verdict, holds: verdict === tested.expected, forms, message, ...rest };
  };
  if ('result' in end) {
    const { verdict, message, ms, figures } = end.result;
    return outcome(verdict, message, { ms, ...(figures ? { figures } : {}) });
  }
  if ('kind' in end) return end.kind === 'hung' ? outcome('hung', `no answer within ${seconds} s`) : outcome('crashed', end.how);
  if ('failed' in end) throw new LutraError('LUTRA_INTERNAL', `The case ${tested.name} cannot be run: ${end.failed.message}`);
  throw new LutraError('LUTRA_INTERNAL', `The case ${tested.name} was answered with ${JSON.stringify(end satisfies { opened: unknown })}.`);
}

/** Throws LutraError when the library cannot be opened; what it does in the cases is reported. */
export async function probe(options: ProbeOptions): Promise<ProbeReport> {
  const { soc, select, onOutcome, timeoutSeconds = DEFAULT_TIMEOUT_SECONDS } = options;
  const children = new Children(options);
  try {
    await children.open();
    const backend = children.backend!;
    const arch = archOf({ soc });
    const subject: ConformanceSubject = { host: backend.name === HOST_PROVIDER, ...(arch === undefined ? {} : { arch }) };
    const cases = loadAddon().qnn.cases(subject);
    const selected = select ? select(cases, backend) : cases;
    const outcomes: Outcome[] = [];
    for (const tested of selected) {
      const outcome = outcomeOf(tested, await children.run(tested.name, subject), timeoutSeconds);
      outcomes.push(outcome);
      onOutcome?.(outcome, outcomes.length, selected.length);
    }
    return { backend, soc: soc ?? null, arch: arch ?? null, outcomes };
  } finally {
    children.close();
  }
}
