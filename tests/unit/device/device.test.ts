import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pageOf } from '../../../lib/device/page.js';
import { takeReadings } from '../../../lib/device/readings.js';
import { type DeviceReport, verdictOf } from '../../../lib/device/report.js';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'lutra-readings-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function write(path: string, text: string): void {
  const file = join(root, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

describe('takeReadings', () => {
  it('says nothing where the system shows nothing', () => {
    expect(takeReadings(join(root, 'nowhere'))).toEqual({ hottest: null, battery: null });
  });

  it('takes the hottest sensor that is on, and the battery in its units', () => {
    write('/sys/class/thermal/thermal_zone0/type', 'cpu-0\n');
    write('/sys/class/thermal/thermal_zone0/temp', '41500\n');
    write('/sys/class/thermal/thermal_zone1/type', 'nsp\n');
    write('/sys/class/thermal/thermal_zone1/temp', '52300\n');
    write('/sys/class/thermal/thermal_zone2/temp', '-273000\n');
    write('/sys/class/thermal/thermal_zone3/temp', 'off\n');
    write('/sys/class/power_supply/battery/capacity', '83\n');
    write('/sys/class/power_supply/battery/voltage_now', '4000000\n');
    write('/sys/class/power_supply/battery/current_now', '-1250000\n');
    write('/sys/class/power_supply/battery/temp', '315\n');
    write('/sys/class/power_supply/battery/status', 'Discharging\n');
    expect(takeReadings(root)).toEqual({
      hottest: { name: 'nsp', celsius: 52.3 },
      battery: { percent: 83, milliwatts: 5000, celsius: 31.5, charging: false },
    });
  });
});

const skipped = { state: 'skipped', why: 'not reached' } as const;
const report = (parts: Partial<DeviceReport['parts']>): DeviceReport => ({
  version: 1,
  at: '2026-01-01T00:00:00.000Z',
  lutra: '0.1.0',
  model: 'models/<otter>',
  parts: { doctor: skipped, kernels: skipped, conformance: skipped, tokens: skipped, speed: skipped, precisions: skipped, ...parts },
});
const wrong = { kernel: 'dot', isa: 'neon', format: 'w4g32', nmse: 0.5, right: false };
const failed = { state: 'failed', seconds: 1, error: { code: 'LUTRA_NPU_HUNG', message: 'It <hangs>', remedy: 'Restart.' } } as const;

describe('a report', () => {
  it('is good when nothing that ran is wrong', () => {
    expect(verdictOf(report({}))).toBe(0);
    expect(verdictOf(report({ kernels: { state: 'done', seconds: 1, result: [{ ...wrong, right: true }] } }))).toBe(0);
    expect(verdictOf(report({ kernels: { state: 'done', seconds: 1, result: [wrong] } }))).toBe(1);
    expect(verdictOf(report({ tokens: { state: 'done', seconds: 1, result: { npu: 'x', prompts: [], agreement: 0.1 } } }))).toBe(1);
    expect(verdictOf(report({ speed: failed }))).toBe(1);
  });

  it('as a page shows what is wrong, escaped, and what was left out', () => {
    const page = pageOf(report({ kernels: { state: 'done', seconds: 1, result: [wrong] }, speed: failed }));
    expect(page).toContain('0 of 1 are right');
    expect(page).toContain('It &lt;hangs&gt; [LUTRA_NPU_HUNG]');
    expect(page).toContain('models/&lt;otter&gt;');
    expect(page).toContain('Left out: not reached');
    expect(page).not.toMatch(/<script|src=|href=/);
  });
});
