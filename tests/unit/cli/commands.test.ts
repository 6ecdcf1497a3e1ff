/** The pages about commands and errors say what is true of the code. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { helpOf } from '../../../lib/cli/args.js';
import { commands } from '../../../lib/cli/commands.js';
import { ERROR_CODES } from '../../../lib/graph/errors.js';

const page = (name: string): string => readFileSync(fileURLToPath(new URL(`../../../docs/${name}`, import.meta.url)), 'utf8');

describe('commands', () => {
  it('have names of their own, one line of summary, and help for every flag', () => {
    expect(new Set(commands.map(({ name }) => name)).size).toBe(commands.length);
    for (const { summary, flags } of commands) {
      expect(summary).toMatch(/^[A-Z].*\.( .*)?$/);
      for (const { help } of Object.values(flags)) expect(help).not.toBe('');
    }
  });

  it('are all in docs/cli.md as they are (npm run docs:cli writes it)', () => {
    const sections = page('cli.md')
      .split(/^## lutra /m)
      .slice(1);
    expect(sections.map((text) => text.slice(text.indexOf('```\n') + 4, text.lastIndexOf('\n```')))).toEqual(commands.map(helpOf));
  });
});

it('docs/troubleshooting.md has a section for every error code, and no other', () => {
  const sections = [...page('troubleshooting.md').matchAll(/^## `(\w+)`$/gm)].map(([, code]) => code);
  expect(sections).toEqual([...ERROR_CODES]);
});
