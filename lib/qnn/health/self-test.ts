/** Whether a QNN library can be used at all: golden graphs in a child process, which may crash or hang in this one's place. */
import { LutraError } from '../../graph/errors.js';
import type { BackendInfo } from '../../native/addon.js';
import { type Ending, programBeside, QnnChild } from '../child-process.js';
import { isReply, type Reply, type Request } from './protocol.js';

/** What a library did that forbids its use. */
export const CAUSES = ['crashed', 'hung', 'wrong'] as const;
export interface Finding {
  cause: (typeof CAUSES)[number];
  /** "SIGSEGV while compiling the golden graph 'linear u8'" */
  what: string;
}

/** For Node and the addon, before anything of the library. */
const START_MS = 60_000;
/** The golden graphs are small: an hour's patience for a large model's graph is not needed here. */
const MOST_PATIENCE_MS = 60_000;

function findingOf(end: Ending, doing: string): Finding {
  switch (end.kind) {
    case 'crashed':
      return { cause: 'crashed', what: `${end.how} while ${doing}` };
    case 'hung':
      return { cause: 'hung', what: `no answer within ${end.milliseconds} ms while ${doing}` };
  }
}

/**
 * Resolves to the library's identity, or to what is wrong with it. Rejects with the library's own error when it says itself that it cannot be used. `npuTimeoutMs`: of
 * an execution; other calls may take ten times as long. `onStep`: is told what is done next.
 */
export async function selfTest(library: Request, npuTimeoutMs: number, onStep?: (step: string) => void): Promise<BackendInfo | Finding> {
  const child = new QnnChild<Request, Reply>(programBeside(import.meta.url, './child.js'), isReply);
  const patience = Math.min(10 * npuTimeoutMs, MOST_PATIENCE_MS);
  let doing: string | undefined;
  let last: Reply | undefined;
  const end = await child.ask(library, START_MS, (reply) => {
    last = reply;
    if (!('step' in reply)) return null;
    doing = reply.step;
    onStep?.(doing);
    return patience;
  });
  child.kill();
  if (end && doing === undefined) {
    const { what } = findingOf(end, 'starting');
    throw new LutraError(
      'LUTRA_INTERNAL',
      `The process that tests the QNN library did not begin: ${what}.`,
      "Option 'npuCheck: false' does without.",
    );
  }
  if (end) return findingOf(end, doing ?? '');
  if (last && 'failed' in last) throw new LutraError(last.failed.code, last.failed.message, last.failed.remedy);
  if (last && 'wrong' in last) return { cause: 'wrong', what: last.wrong };
  if (last && 'passed' in last) return last.passed;
  throw new LutraError('LUTRA_INTERNAL', 'The self-test ended without a result.');
}
