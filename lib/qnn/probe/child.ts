/** The program of a probe's child process: opens one library and runs the cases that it is told to, one at a time. It may crash or hang in any of them. */
import { LutraError } from '../../graph/errors.js';
import { loadAddon } from '../../native/loader.js';
import type { DeviceHandle } from '../../native/qnn-addon.js';
import type { ProbedLibrary, Reply, Request } from './protocol.js';

let device: DeviceHandle | undefined;

function open({ library, soc }: ProbedLibrary): Reply {
  const { qnn } = loadAddon();
  const handle = qnn.openLibrary(library === 'host' ? { host: true } : { path: library, quiet: false });
  // Without the refusals of the matrix: it is what gets measured here.
  device = qnn.createDevice(qnn.createBackend(handle, {}), soc === undefined ? {} : { soc });
  const { source: _, ...info } = qnn.libraryInfo(handle);
  return { opened: info };
}

/** Resolves when the parent has it: what comes after may be the last thing that this process does. */
function reply(message: Reply): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, undefined, {}, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

async function serve(request: Request): Promise<void> {
  if ('open' in request) return reply(open(request.open));
  if (device === undefined) throw new Error('a case before the library');
  const { qnn } = loadAddon();
  const { trial, forms } = qnn.prepareCase(request.run);
  await reply({ forms });
  const result = qnn.runCase(trial, device, request.subject);
  qnn.dispose(trial);
  await reply({ result });
}

process.on('message', (request: Request) => {
  serve(request).catch((error: unknown) => {
    const { code, message, remedy } = error instanceof LutraError ? error : new LutraError('LUTRA_INTERNAL', String(error));
    return reply({ failed: { code, message, remedy } });
  });
});
// The parent is gone.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
