import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const SCRIPTS = fileURLToPath(new URL('../../../scripts/', import.meta.url));
interface Pin {
  sha256: string;
  folder: string;
  files: Record<string, { sha256: string }>;
}
const pins = JSON.parse(readFileSync(join(SCRIPTS, 'lib/pins.json'), 'utf8')) as Record<string, Pin>;

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'fetch-'));
});
afterEach(() => rmSync(cache, { recursive: true }));

/** Runs a fetch script that cannot reach the network: pip finds nothing. */
function run(name: string, args: string[] = [], env: Record<string, string> = {}) {
  const { status, stderr, stdout } = spawnSync(join(SCRIPTS, name), args, {
    encoding: 'utf8',
    env: { ...process.env, LUTRA_CACHE: cache, PIP_NO_INDEX: '1', PIP_FIND_LINKS: '', ...env },
  });
  return { status, lines: stderr.split('\n').filter(Boolean), stdout };
}

describe('fetch scripts', () => {
  it('pin every archive and file by sha256', () => {
    expect(Object.keys(pins).sort()).toEqual(['model', 'qnn', 'text']);
    for (const pin of Object.values(pins)) {
      for (const { sha256 } of [pin, ...Object.values(pin.files)]) expect(sha256).toMatch(/^[0-9a-f]{64}$/);
    }
  });

  it('bring nothing of Qualcomm without an accepted licence, and say whose it is', () => {
    const { status, lines } = run('fetch-qnn');
    expect(status).toBe(1);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/Qualcomm AI Stack License.*--accept-license/);
    expect(readdirSync(cache)).toEqual([]);
  });

  it('refuse unknown options', () => {
    expect(run('fetch-qnn', ['--accept-licence']).status).toBe(1);
    expect(run('fetch-model', ['--accept-license']).lines[0]).toMatch(/unknown option/);
  });

  it('say what to install when python3 is missing', () => {
    const bin = join(cache, 'bin');
    mkdirSync(bin);
    symlinkSync('/usr/bin/dirname', join(bin, 'dirname'));
    const { status, lines } = run('fetch-text', [], { PATH: bin });
    expect(status).toBe(1);
    expect(lines).toEqual([expect.stringMatching(/python3 is missing: install it/)]);
  });

  it('fetch again what does not verify, and fail without leaving anything when that is impossible', () => {
    mkdirSync(join(cache, 'text'));
    for (const name of Object.keys(pins.text?.files ?? {})) writeFileSync(join(cache, 'text', name), 'not a book');
    const { status, lines } = run('fetch-text');
    expect(status).toBe(1);
    expect(lines.at(-1)).toMatch(/pip could not download brotli 1\.2\.1/);
    expect(readdirSync(join(cache, 'text')).sort()).toEqual(['alice29.txt', 'lcet10.txt']);
  });
});
