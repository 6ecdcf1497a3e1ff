#!/usr/bin/env node
/** The `lutra` command. */
import { packageVersion } from '../files/package.js';
import { nearest } from '../runtime/options.js';
import { type Command, helpOf, parseCommandLine, UsageError } from './args.js';
import { commands } from './commands.js';
import { describeError, errorObject, exitCodeOf, note, print, printJson } from './output.js';

function overview(): string {
  const width = Math.max(...commands.map(({ name }) => name.length));
  return [
    'lutra runs LLM decoders on Qualcomm NPUs.',
    '',
    'Usage: lutra COMMAND [arguments] [flags]',
    '',
    ...commands.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    'lutra COMMAND --help shows the flags of a command.',
  ].join('\n');
}

/** The command that the first words name, and the arguments after it. */
function select(argv: readonly string[]): { command: Command; rest: string[] } {
  for (const command of commands) {
    const words = command.name.split(' ');
    if (words.every((word, i) => argv[i] === word)) return { command, rest: argv.slice(words.length) };
  }
  const [first = '', second] = argv;
  const inGroup = commands.filter(({ name }) => name.startsWith(`${first} `)).map(({ name }) => name);
  if (inGroup.length > 0) throw new UsageError(`lutra ${first} needs one of: ${inGroup.join(', ')}${second ? `; not '${second}'` : ''}.`);
  const meant = nearest(
    first,
    commands.map(({ name }) => name),
  );
  throw new UsageError(`There is no command '${first}'${meant ? `; did you mean '${meant}'?` : '; see lutra --help.'}`);
}

async function main(argv: readonly string[]): Promise<void> {
  if (argv.length === 0) throw new UsageError(overview());
  if (argv[0] === '--help' || argv[0] === '-h' || argv[0] === 'help') return print(overview());
  if (argv[0] === '--version') return print(packageVersion());
  const { command, rest } = select(argv);
  if (rest.includes('--help') || rest.includes('-h')) return print(helpOf(command));
  await command.run(parseCommandLine(command, rest));
}

// A reader that goes away (lutra … | head) ends the program without a word.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const argv = process.argv.slice(2);
main(argv).catch((error: unknown) => {
  if (argv.includes('--json')) printJson(errorObject(error));
  note(describeError(error));
  process.exitCode = exitCodeOf(error);
});
