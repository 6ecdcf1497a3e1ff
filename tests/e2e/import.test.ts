/** Conversion of large models: memory that does not grow, and processes that are killed. */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cache, gguf, lutra, root } from './helpers.js';

interface Measured {
  rows: { way: string; layers: number; peak: number; bar: number }[];
  failures: string[];
}

describe('memory', () => {
  it('stays below 2 × the largest tensor + 250 MB, whatever the number of layers', async () => {
    const args = ['tests/bench/import.mjs', '--layers', '1,2', '--ways', 'rotated', '--sparse', '--json'];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
    const { rows, failures } = JSON.parse(stdout) as Measured;
    for (const { way, layers, peak, bar } of rows)
      console.log(`${way}, ${layers} layers: ${(peak / 1e6).toFixed(0)} MB, bar ${(bar / 1e6).toFixed(0)} MB`);
    expect(rows).toHaveLength(2);
    expect(failures).toEqual([]);
  });
});

describe('a process that is killed', () => {
  let folder: string;
  const args = (output: string) => ['convert', gguf, '-o', output, '--precision', 'all=w8f16', '--transform', 'rotate'];
  const digests = (directory: string) =>
    readdirSync(directory).map((name) => [
      name,
      createHash('sha256')
        .update(readFileSync(join(directory, name)))
        .digest('hex'),
    ]);
  /** Bytes of all files below a directory. */
  const written = (directory: string): number =>
    readdirSync(directory, { withFileTypes: true, recursive: true })
      .filter((entry) => entry.isFile())
      .reduce((bytes, entry) => bytes + statSync(join(entry.parentPath, entry.name)).size, 0);

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'lutra-killed-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** Kills a conversion when it has written so many bytes. */
  async function killAt(output: string, bytes: number): Promise<void> {
    const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...args(output)], {
      env: { ...process.env, LUTRA_CACHE: cache },
    });
    const ended = new Promise((done) => child.once('close', done));
    const poll = setInterval(() => {
      if (written(join(output, '..')) >= bytes) child.kill('SIGKILL');
    }, 5);
    await ended;
    clearInterval(poll);
    expect(child.signalCode).toBe('SIGKILL');
  }

  it('leaves what the next one goes on with, to the same bytes', async () => {
    const clean = join(folder, 'clean', 'model');
    expect((await lutra(args(clean))).code).toBe(0);
    const output = join(folder, 'killed', 'model');
    mkdirSync(join(folder, 'killed'));
    const all = written(clean);
    for (const share of [0.2, 0.6, 0.9]) {
      await killAt(output, share * all);
      const left = readdirSync(join(folder, 'killed'));
      expect(left).toHaveLength(1);
      expect(left[0]).toMatch(/^\.model\.lutra-tmp-/);
    }
    expect((await lutra(args(output))).code).toBe(0);
    expect(digests(output)).toEqual(digests(clean));
    expect(readdirSync(join(folder, 'killed'))).toEqual(['model']);
  });
});
