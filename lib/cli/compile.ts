/** `lutra compile`: the NPU's graphs, compiled ahead of time for the SoCs of phones. */
import { join } from 'node:path';
import { compileModel } from '../runtime/compile.js';
import { COMPILED_FOLDER, recordName } from '../runtime/compiled.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { optional } from './model-flags.js';
import { formatBytes, ProgressBar, print, printJson } from './output.js';

export const compileCommand: Command = {
  name: 'compile',
  summary: "Compiles a model's NPU graphs ahead of time, on a PC, for phones.",
  positionals: ['DIR'],
  flags: {
    library: { value: 'PATH', help: 'QNN library that compiles: libQnnHtp.so for x86-64 (needed)' },
    soc: { value: 'ID[,ID…]', help: 'QNN SoC ids to compile for: 57 is SM8650, 69 SM8750, 87 SM8850 (needed)' },
    output: { value: 'DIR', short: 'o', help: `where the files go (default: DIR/${COMPILED_FOLDER}, where lutra run looks)` },
    'no-npu-check': { help: 'do not test library and graphs' },
    json: { help: 'print one JSON object' },
  },
  run,
};

function socs(text: string): number[] {
  return text.split(',').map((part) => {
    if (!/^\d+$/.test(part.trim())) throw new UsageError(`--soc needs numbers separated by commas, not '${text}'.`);
    return Number(part);
  });
}

async function run(args: Arguments): Promise<void> {
  const directory = args.positionals[0] ?? '';
  const wanted = socs(args.required('soc'));
  const output = args.string('output');
  const bar = new ProgressBar();
  const records = await compileModel(directory, {
    library: args.required('library'),
    socs: wanted,
    ...optional('output', output),
    ...(args.flag('no-npu-check') ? { npuCheck: false } : {}),
    onProgress: (done, total) => bar.update(done < total ? `SoC ${wanted[done]}` : 'done', done, total),
  });
  bar.clear();
  const folder = output ?? join(directory, COMPILED_FOLDER);
  if (args.flag('json')) return printJson({ folder, compiled: records });
  for (const { soc, binary, library } of records) {
    const name = `${soc.name ?? `SoC ${soc.id}`}${soc.arch === null ? '' : ` (v${soc.arch})`}`;
    print(
      `${name}: ${binary.graphs} graphs, ${formatBytes(binary.bytes)}, ${library.name} ${library.buildId}: ${join(folder, recordName(soc.id))}`,
    );
  }
}
