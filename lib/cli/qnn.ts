/** `lutra qnn info`: what a QNN library says of itself. */
import { LutraError } from '../graph/errors.js';
import { loadAddon } from '../native/loader.js';
import { resolveNpu } from '../qnn/discover.js';
import type { Arguments, Command } from './args.js';
import { npuChoiceOf, npuFlags } from './model-flags.js';
import { print, printJson } from './output.js';

export const qnnInfoCommand: Command = {
  name: 'qnn info',
  summary: 'Shows identity and operations of a QNN library.',
  positionals: [],
  flags: { ...npuFlags, json: { help: 'print one JSON object' } },
  run,
};

async function run(args: Arguments): Promise<void> {
  const { npu } = resolveNpu(npuChoiceOf(args) ?? 'auto', true);
  if (npu.kind === 'none')
    throw new LutraError('LUTRA_INVALID_ARGUMENT', 'There is no library behind --npu none.', 'Give host or the path of a QNN library.');
  const { backend, operations } = loadAddon().qnnInfo(npu);
  const library = npu.kind === 'library' ? npu.path : 'host NPU (part of lutra)';
  if (args.flag('json')) {
    printJson({ library, backend, operations });
    return;
  }
  print(`${backend.name}, build ${backend.buildId}`);
  print(`library      ${library}`);
  print(`core API     ${backend.apiVersion}`);
  print(`backend API  ${backend.backendApiVersion} (id ${backend.backendId})`);
  print(`operations   ${operations.length === 0 ? 'not listed by the library' : operations.join(', ')}`);
}
