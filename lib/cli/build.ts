/** `lutra build`: the addon from the sources in the package, where no prebuilt binary fits. */
import { packageRoot } from '../native/loader.js';
import { BUILD_TOOLS, buildAddon } from '../native/source-build.js';
import { type Arguments, type Command, UsageError } from './args.js';
import { optional } from './model-flags.js';
import { note, print, printJson } from './output.js';

export const buildCommand: Command = {
  name: 'build',
  summary: 'Builds the native part from source, for machines that no prebuilt binary fits.',
  positionals: [],
  flags: {
    with: { value: BUILD_TOOLS.join('|'), help: 'what builds (default: cmake where it is installed)' },
    jobs: { value: 'N', help: 'compilers at the same time (default: as many as processors and memory allow)' },
    json: { help: 'print one JSON object' },
  },
  run,
};

async function run(args: Arguments): Promise<void> {
  const given = args.string('with');
  const tool = BUILD_TOOLS.find((name) => name === given);
  if (given !== undefined && tool === undefined) throw new UsageError(`--with is ${BUILD_TOOLS.join(' or ')}, not '${given}'.`);
  const addon = buildAddon({ root: packageRoot, ...optional('tool', tool), ...optional('jobs', args.integer('jobs', 1)), onStep: note });
  if (args.flag('json')) printJson({ addon });
  else print(addon);
}
