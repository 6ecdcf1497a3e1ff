/**
 * Random schedules of sessions (sessions.mjs) on the addon as it ships and on those with sanitizers, which scripts/test builds. LUTRA_STRESS=10000 makes that many
 * schedules of each.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { makeTiny } from '../e2e/tiny.js';

interface Resources {
  engines: number;
  threads: number;
  descriptors: number;
  rssBytes: number;
}

interface Report {
  schedules: number;
  workers: number;
  before: Resources;
  early: Resources;
  late: Resources;
}

interface Lane {
  name: string;
  schedules: number;
  env: () => NodeJS.ProcessEnv;
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** The runtime of a sanitizer has to be loaded before node. */
const runtime = (...libraries: string[]): string =>
  libraries.map((library) => execFileSync('g++', [`-print-file-name=${library}`], { encoding: 'utf8' }).trim()).join(':');

const LANES: Lane[] = [
  { name: 'as it ships', schedules: 150, env: () => ({}) },
  {
    name: 'ThreadSanitizer',
    schedules: 40,
    env: () => ({
      LUTRA_PREBUILD: join(root, 'build/thread'),
      LD_PRELOAD: runtime('libtsan.so'),
      // Node itself is not instrumented.
      TSAN_OPTIONS: 'ignore_noninstrumented_modules=1',
    }),
  },
  {
    name: 'AddressSanitizer, LeakSanitizer, UndefinedBehaviorSanitizer',
    schedules: 60,
    env: () => ({
      LUTRA_PREBUILD: join(root, 'build/address'),
      LD_PRELOAD: runtime('libasan.so', 'libubsan.so'),
      ASAN_OPTIONS: 'detect_leaks=1',
      UBSAN_OPTIONS: 'halt_on_error=1:print_stacktrace=1',
    }),
  },
];

let directory: string;
let model: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-stress-'));
  model = (await makeTiny(directory, 'model', DEFAULT_PRECISION, { seed: 3, storages: ['q4_1', 'q8_0'], tied: false })).directory;
});
afterAll(() => rm(directory, { recursive: true, force: true }));

function run(schedules: number, env: NodeJS.ProcessEnv): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const script = join(root, 'tests/stress/sessions.mjs');
  const seed = 1 + (Date.now() % 1_000_000);
  const options = { env: { ...process.env, ...env }, timeout: 120_000 + 5_000 * schedules, maxBuffer: 1 << 28 };
  return new Promise((done) => {
    execFile(
      process.execPath,
      ['--expose-gc', script, model, '--schedules', `${schedules}`, '--seed', `${seed}`],
      options,
      (error, stdout, stderr) => done({ code: error ? (error.code ?? error.signal) : 0, stdout, stderr }),
    );
  });
}

describe('random schedules of generate, abort, dispose and terminate', () => {
  it.each(LANES)('$name', async (lane) => {
    const schedules = Number(process.env.LUTRA_STRESS) || lane.schedules;
    const { code, stdout, stderr } = await run(schedules, lane.env());
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    console.log(`${lane.name}: ${stdout.trim()}`);
    const { before, early, late, ...report } = JSON.parse(stdout) as Report;
    expect(report.schedules).toBe(schedules);
    expect(report.workers).toBeGreaterThan(0);
    expect(late.engines).toBe(0);
    expect(late.threads).toBeLessThanOrEqual(before.threads);
    expect(late.descriptors).toBeLessThanOrEqual(before.descriptors);
    // Sanitizers keep freed memory for a while.
    if (lane.name === 'as it ships') expect((late.rssBytes - early.rssBytes) / 2 ** 20).toBeLessThan(64);
  });
});
