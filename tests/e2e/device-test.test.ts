/** `lutra device-test`, from nothing to a report: here, and on a device behind an adb of our own. */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import type { DeviceReport } from '../../lib/device/report.js';
import { quoted } from '../../lib/device/transport.js';
import { compileFaulty, FaultyLibrary } from './faulty.js';
import { lutra, root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles } from './tiny.js';

let root: string;
let files: TinyModelFiles;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-device-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
});
afterAll(() => rm(root, { recursive: true, force: true }));

async function test(name: string, ...args: string[]): Promise<{ code: number | null; report: DeviceReport; page: string }> {
  const file = join(root, `${name}.json`);
  const { code } = await lutra([
    'device-test',
    files.directory,
    '--here',
    '-o',
    file,
    '--cache',
    root,
    '--runs',
    '1',
    '--sample',
    '60',
    ...args,
  ]);
  return { code, report: JSON.parse(readFileSync(file, 'utf8')) as DeviceReport, page: readFileSync(join(root, `${name}.html`), 'utf8') };
}

it('measures everything on the host NPU', async () => {
  const { code, report, page } = await test('host');
  expect(Object.entries(report.parts).filter(([, { state }]) => state !== 'done')).toEqual([]);
  expect(code).toBe(0);
  const { kernels, conformance, tokens, speed, precisions } = report.parts;
  if (kernels.state === 'done') expect(kernels.result.length).toBeGreaterThan(20);
  if (conformance.state === 'done') expect(conformance.result).toMatchObject({ cases: conformance.result.asExpected, unexpected: [] });
  if (tokens.state === 'done') expect(tokens.result.agreement).toBe(1);
  if (speed.state === 'done') {
    expect(speed.result.rows.map(({ power }) => power)).toEqual(['burst', 'sustained']);
    for (const { prefill, decode } of speed.result.rows) expect(Math.min(prefill, decode)).toBeGreaterThan(0);
  }
  if (precisions.state === 'done') expect(precisions.result).toMatchObject({ w8a8: 1 });
  expect(page).toContain('the same greedy tokens as the host NPU');
});

it('a library that is lost midway leaves a report that says so', async () => {
  const library = new FaultyLibrary(compileFaulty(root), join(root, 'faulty'), ['fail graphExecute 30 100000 1011']);
  const { code, report } = await test('lost', '--library', library.path, '--skip', 'kernels', '--skip', 'conformance');
  expect(code).toBe(1);
  expect(report.parts.kernels).toEqual({ state: 'skipped', why: 'not asked for' });
  const failed = Object.values(report.parts).flatMap((part) => (part.state === 'failed' ? [part.error.message] : []));
  expect(failed.length).toBeGreaterThan(0);
  expect(failed.join()).toMatch(/1011/);
});

it('refuses what it cannot do', async () => {
  expect(await lutra(['device-test', files.directory])).toMatchObject({ code: 2, stderr: expect.stringContaining('--here') });
  expect(await lutra(['device-test', files.directory, '--here', '--skip', 'otters'])).toMatchObject({ code: 2 });
  const lost = '/proc/no/such/folder/report.json';
  expect(await lutra(['device-test', files.directory, '--here', '-o', lost])).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('LUTRA_IO'),
  });
  expect(existsSync(lost)).toBe(false);
});

describe('over adb', () => {
  let bin: string;
  beforeAll(() => {
    bin = join(root, 'bin');
    mkdirSync(bin);
    copyFileSync(join(repository, 'tests/e2e/fake-adb.mjs'), join(bin, 'adb'));
    chmodSync(join(bin, 'adb'), 0o755);
  });

  async function overAdb(name: string, env: NodeJS.ProcessEnv, ...args: string[]) {
    const file = join(root, `${name}.json`);
    const fakes = { FAKE_ADB_ROOT: join(root, `phone-${name}`), PATH: `${bin}:${process.env.PATH}`, ...env };
    const flags = ['--runs', '1', '--sample', '200', '--node', process.execPath, '-o', file];
    const result = await lutra(['device-test', files.directory, '--adb', ...flags, ...args], fakes);
    return { ...result, report: existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as DeviceReport) : null };
  }
  const states = (report: DeviceReport | null) => Object.values(report?.parts ?? {}).map(({ state }) => state);

  it('one command packs, pushes, runs and brings the report back', async () => {
    const { code, report, stderr } = await overAdb('whole', {}, '--serial', 'emulator-1', '--skip', 'kernels');
    expect(stderr).toMatch(/packing for adb device emulator-1[\s\S]*pushing model/);
    expect(code).toBe(0);
    expect(states(report)).toEqual(['done', 'skipped', 'done', 'done', 'done', 'done']);
    // What ran is the copy.
    expect(report?.model).toBe(join(root, 'phone-whole/data/local/tmp/lutra/model'));
    expect(existsSync(join(root, 'whole.html'))).toBe(true);
  });

  it('a runtime is pushed, and its library tested', async () => {
    const runtime = join(root, 'runtime');
    const library = new FaultyLibrary(compileFaulty(root), runtime);
    copyFileSync(library.path, join(runtime, 'libQnnHtp.so'));
    copyFileSync(`${library.path}.fault`, join(runtime, 'libQnnHtp.so.fault'));
    const { code, report } = await overAdb(
      'runtime',
      {},
      '--runtime',
      runtime,
      '--skip',
      'kernels',
      '--skip',
      'speed',
      '--skip',
      'conformance',
    );
    expect(code).toBe(0);
    const { doctor } = report?.parts ?? {};
    expect(doctor?.state === 'done' && doctor.result.npu?.library).toBe(
      join(root, 'phone-runtime/data/local/tmp/lutra/runtime/libQnnHtp.so'),
    );
  });

  it('a device that is lost midway leaves what was measured, and a clear error', async () => {
    const { code, report, stderr } = await overAdb('midway', { FAKE_ADB_LOSE: '"asExpected"' });
    expect(code).toBe(1);
    expect(stderr).toMatch(/ended early, with exit code 255: error: device offline/);
    expect(states(report).slice(0, 3)).toEqual(['done', 'done', 'done']);
    expect(states(report)).toContain('skipped');
  });

  it('a device that does not come back, is not there, or has no Node.js', async () => {
    const gone = await overAdb('gone', { FAKE_ADB_LOSE: '"doctor"', FAKE_ADB_GONE: 'yes' });
    expect(gone).toMatchObject({ code: 1, report: null, stderr: expect.stringContaining('device offline') });
    const other = await overAdb('other', {}, '--serial', 'emulator-9');
    expect(other).toMatchObject({ code: 1, report: null, stderr: expect.stringContaining('LUTRA_IO') });
    const nodeless = await overAdb('nodeless', {}, '--node', 'no-node-here');
    expect(nodeless).toMatchObject({ code: 2 });
    const missing = await overAdb('missing', { PATH: '/nowhere' });
    expect(missing).toMatchObject({ code: 1, report: null, stderr: expect.stringContaining('adb is not installed') });
  });
});

it('quotes for a shell', () => {
  expect(['a-b/c.d', 'a b', "it's", '$x;rm', ''].map(quoted)).toEqual(['a-b/c.d', "'a b'", "'it'\\''s'", "'$x;rm'", "''"]);
});
