/** What a QNN library and FastRPC do when they are called: in child processes, which may crash or hang in this one's place. */
import { LutraError } from '../graph/errors.js';
import type { BackendInfo } from '../native/addon.js';
import { programBeside, QnnChild } from '../qnn/child-process.js';
import { type Finding as Fault, selfTest } from '../qnn/health/self-test.js';
import type { Finding } from './finding.js';
import { isReply, type PlatformDevice, type Reply, type Request } from './protocol.js';
import type { RuntimeFile } from './runtime-files.js';

export interface NpuFacts {
  library: string;
  soc: number | null;
  /** What was begun, in order: loading, backend, device, context, graphs. The last one did not end when the test failed. */
  steps: string[];
  /** Identity of a library that passed. */
  backend: BackendInfo | null;
  /** What it says of the hardware. */
  devices: PlatformDevice[];
}

export interface RpcFacts {
  /** The path or name that the loader took; null when none did. */
  source: string | null;
}

/** For Node and the addon, before anything of a library. */
const START_MS = 30_000;
const OTHER_RELEASE = 'Try another release of the runtime, and report the crash to Qualcomm; the host NPU computes meanwhile.';

async function ask(request: Request, what: string, milliseconds: number): Promise<Exclude<Reply, { failed: unknown }> | Finding> {
  const child = new QnnChild<Request, Reply>(programBeside(import.meta.url, './child.js'), isReply);
  let reply: Reply | undefined;
  const end = await child.ask(request, START_MS + milliseconds, (said) => {
    reply = said;
    return null;
  });
  child.kill();
  if (end?.kind === 'hung')
    return {
      id: `${what}-hangs`,
      level: 'error',
      what: `No answer from ${what} within ${end.milliseconds} ms.`,
      cause: 'A driver does not return.',
      remedy: 'Restart the device.',
    };
  if (end)
    return {
      id: `${what}-crashes`,
      level: 'error',
      what: `The process that asked ${what} died: ${end.how}.`,
      cause: 'A defect of that library.',
      remedy: OTHER_RELEASE,
    };
  if (!reply || 'failed' in reply) {
    const { code, message, remedy } = reply?.failed ?? new LutraError('LUTRA_INTERNAL', 'The child process said nothing.');
    return {
      id: `${what}-${code === 'LUTRA_UNSUPPORTED' ? 'incomplete' : code === 'LUTRA_OUT_OF_MEMORY' ? 'exhausted' : 'unusable'}`,
      level: 'error',
      what: `${what} cannot be used.`,
      cause: message,
      remedy,
    };
  }
  return reply;
}

/** @param file of FastRPC's library, by name too: an app on Android gets a vendor's library only so. */
export async function examineRpc(file: RuntimeFile, timeoutMs: number): Promise<{ facts: RpcFacts; findings: Finding[] }> {
  const reply = await ask({ rpcMemory: [file.name, ...(file.found === null ? [] : [file.found])] }, 'fastrpc', timeoutMs);
  if ('id' in reply) return { facts: { source: null }, findings: file.found === null ? [] : [reply] };
  return { facts: { source: 'opened' in reply ? reply.opened : null }, findings: [] };
}

const CAUSES: Readonly<Record<Fault['cause'], { cause: string; remedy: string }>> = {
  crashed: { cause: 'The library has a defect, or its files are of different releases.', remedy: OTHER_RELEASE },
  hung: { cause: 'The driver or the DSP does not answer.', remedy: 'Restart the device; if it stays, try another release of the runtime.' },
  wrong: {
    cause: 'The library computes something else than it should.',
    remedy: 'Try another release of the runtime; lutra does not use this one.',
  },
};

/** "QNN deviceCreate failed: error 14001 …" → 14001. */
const STATUS = /\berror (\d{4,5}) /;

const BY_CODE: Readonly<Partial<Record<LutraError['code'], string>>> = {
  LUTRA_LIBRARY_NOT_FOUND: 'npu-unloadable',
  LUTRA_NOT_QNN: 'npu-not-qnn',
  LUTRA_QNN_VERSION: 'npu-version',
  LUTRA_QNN_NODE: 'npu-refuses',
  LUTRA_BAD_FILE: 'npu-binary',
};

/** What the failing step tells where the code alone does not. */
function failure({ code, message, remedy }: LutraError, library: string): Finding {
  const status = message.match(STATUS)?.[1];
  const [what = message, ...log] = message.split('\n');
  return {
    id: status ? `npu-${status}` : (BY_CODE[code] ?? 'npu-failed'),
    level: 'error',
    what: `${library} does not work.`,
    cause: [what, ...log.map((line) => line.trim())].join(' '),
    remedy,
  };
}

/** Runs the golden graphs on a library. */
export async function examineNpu(
  library: string,
  soc: number | undefined,
  timeoutMs: number,
): Promise<{ facts: NpuFacts; findings: Finding[] }> {
  const facts: NpuFacts = { library, soc: soc ?? null, steps: [], backend: null, devices: [] };
  try {
    const found = await selfTest({ path: library, ...(soc === undefined ? {} : { soc }) }, timeoutMs / 10, (step) =>
      facts.steps.push(step),
    );
    if ('cause' in found) {
      const finding: Finding = { id: `npu-${found.cause}`, level: 'error', what: `${library}: ${found.what}.`, ...CAUSES[found.cause] };
      return { facts, findings: [finding] };
    }
    facts.backend = found;
  } catch (error) {
    if (!(error instanceof LutraError)) throw error;
    return { facts, findings: [failure(error, library)] };
  }
  const reply = await ask({ platform: library }, 'platform', timeoutMs);
  if ('id' in reply) return { facts, findings: [{ ...reply, level: 'warning' }] };
  if ('devices' in reply) facts.devices = reply.devices;
  return { facts, findings: [] };
}
