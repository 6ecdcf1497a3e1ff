// Prints docs/cli.md, made of what every command says of itself: npm run docs:cli.
import { helpOf } from '../../dist/cli/args.js';
import { commands } from '../../dist/cli/commands.js';

const lines = [
  '# Command line',
  '',
  '`npm run docs:cli` writes this page from the commands themselves; a test compares it. Results go to standard output, everything else to standard error. `--json` prints one JSON',
  'object, for errors `{"error": {"code", "message", "remedy"}}`. Exit codes: 0; 1, something failed; 2, the command line is wrong (`lutra doctor` has codes of its own).',
];
for (const command of commands) lines.push('', `## lutra ${command.name}`, '', '```', helpOf(command), '```');
process.stdout.write(`${lines.join('\n')}\n`);
