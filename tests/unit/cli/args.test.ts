import { describe, expect, it } from 'vitest';
import { type Command, helpOf, parseCommandLine, UsageError } from '../../../lib/cli/args.js';
import { describeError, errorObject, exitCodeOf, formatBytes } from '../../../lib/cli/output.js';
import { runCommand } from '../../../lib/cli/run.js';
import { LutraError } from '../../../lib/graph/errors.js';

const command: Command = { ...runCommand };
const parse = (...argv: string[]) => parseCommandLine(command, argv);

describe('parseCommandLine', () => {
  it('reads values, switches, positionals and short flags', () => {
    const args = parse('dir', '-p', 'hi there', '--raw', '--max-tokens=5', '--stop', 'a', '--stop', 'b');
    expect(args.positionals).toEqual(['dir']);
    expect(args.string('prompt')).toBe('hi there');
    expect(args.flag('raw')).toBe(true);
    expect(args.flag('json')).toBe(false);
    expect(args.integer('max-tokens', 1)).toBe(5);
    expect(args.list('stop')).toEqual(['a', 'b']);
    expect(args.number('temperature')).toBeUndefined();
  });

  it('takes values that look like flags', () => {
    expect(parse('dir', '--prompt=--raw').string('prompt')).toBe('--raw');
  });

  it.each([
    [['dir', '--max-token', '5'], 'lutra run has no flag --max-token; did you mean --max-tokens?'],
    [['dir', '--colour'], 'lutra run has no flag --colour; see lutra run --help.'],
    [['dir', '-x'], 'lutra run has no flag -x; see lutra run --help.'],
    [['dir', '--raw=yes'], '--raw takes no value.'],
    [['dir', '--prompt'], '--prompt needs a value: --prompt TEXT.'],
    [['dir', '--npu', 'host', '--npu', 'none'], '--npu is given twice.'],
    [[], 'lutra run needs DIR: lutra run DIR'],
    [['a', 'b'], "lutra run does not take 'b'."],
  ])('%j is one line: %s', (argv, message) => {
    expect(() => parse(...argv)).toThrow(new UsageError(message));
  });

  it.each(['x', '1.5', '-1', '', '1e99'])('refuses %j as a count', (value) => {
    expect(() => parse('dir', `--threads=${value}`).integer('threads', 1)).toThrow(UsageError);
  });

  it('lists every flag in the help', () => {
    const help = helpOf(command);
    for (const name of Object.keys(command.flags)) expect(help).toContain(`--${name}`);
  });
});

describe('errors', () => {
  it('have an exit code, a line for people and an object for programs', () => {
    const usage = new UsageError('--x is missing.');
    const failure = new LutraError('LUTRA_NOT_FOUND', 'There is no model directory x.', 'Make one.');
    expect([usage, failure, new Error('defect')].map(exitCodeOf)).toEqual([2, 1, 1]);
    expect(describeError(failure)).toBe('There is no model directory x. [LUTRA_NOT_FOUND]\nMake one.');
    expect(errorObject(failure)).toEqual({
      error: { code: 'LUTRA_NOT_FOUND', message: 'There is no model directory x.', remedy: 'Make one.' },
    });
    expect(errorObject(usage)).toMatchObject({ error: { code: 'USAGE' } });
  });

  it('writes sizes', () => {
    expect([0, 999, 98362432, 2.5e9].map(formatBytes)).toEqual(['0 B', '999 B', '98.4 MB', '2.5 GB']);
  });
});
