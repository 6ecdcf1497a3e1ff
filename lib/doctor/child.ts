/** The program in which the doctor calls into libraries that it does not trust yet. It may crash or hang at any point. */
import { LutraError } from '../graph/errors.js';
import { loadAddon } from '../native/loader.js';
import type { Reply, Request } from './protocol.js';

const PAGE_BYTES = 4096;

function answer(request: Request): Reply {
  const { qnn } = loadAddon();
  if ('rpcMemory' in request) return { opened: qnn.tryRpcMemory({ candidates: request.rpcMemory, bytes: PAGE_BYTES }) };
  return { devices: qnn.platformDevices(qnn.openLibrary({ path: request.platform, quiet: true })) };
}

process.on('message', (request: Request) => {
  let reply: Reply;
  try {
    reply = answer(request);
  } catch (error) {
    const { code, message, remedy } = error instanceof LutraError ? error : new LutraError('LUTRA_INTERNAL', String(error));
    reply = { failed: { code, message, remedy } };
  }
  process.send?.(reply);
});
// The parent is gone.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
