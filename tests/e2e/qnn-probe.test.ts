/** `lutra qnn probe` on the libraries that there are, on one that hangs, and what the graph builder makes of the measurements. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LutraError, qnn } from '../../lib/index.js';
import type { Outcome, ProbeReport } from '../../lib/qnn/probe/probe.js';
import { compileFaulty, FaultyLibrary } from './faulty.js';
import { lutra, qnnLibrary } from './helpers.js';
import { HTP } from './qnn-libraries.js';

type Printed = ProbeReport & { summary: { cases: number; unexpected: number } };

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-probe-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

async function run(...args: string[]): Promise<{ code: number; printed: Printed }> {
  const { code, stdout } = await lutra(['qnn', 'probe', ...args, '--json']);
  return { code, printed: JSON.parse(stdout) as Printed };
}

const CRASH = 'MatMul_u8_s8_32x64_64x48_symmetric_per_output_no_params';
const GARBAGE = 'FullyConnected_u16_w2_per_output';

function verdictOf({ outcomes }: Printed, name: string): Outcome['verdict'] | undefined {
  return outcomes.find((outcome) => outcome.name === name)?.verdict;
}

describe('the host NPU', () => {
  it('does what is expected in every case of the table', async () => {
    const { code, printed } = await run('--library', 'host');
    const { outcomes } = printed;
    expect(outcomes.filter(({ holds }) => !holds)).toEqual([]);
    expect(code).toBe(0);
    expect(outcomes.length).toBeGreaterThanOrEqual(700);
    const ops = new Set(outcomes.filter(({ form }) => form).flatMap(({ forms }) => forms.map((form) => /^\w+/.exec(form)?.[0])));
    expect(ops.size).toBeGreaterThanOrEqual(60);
    expect(outcomes.filter(({ expected }) => expected === 'refused').length).toBeGreaterThanOrEqual(50);
  });
});

describe("Qualcomm's runtime", () => {
  it('does what is expected in a sample, and what is known of it', async () => {
    const file = join(directory, 'matrix.json');
    const all = await run('--library', qnnLibrary, '--soc', '57', '--sample', '12', '--matrix', file);
    expect(all.printed.outcomes.filter(({ holds, exception }) => !holds && !exception)).toEqual([]);
    expect(all.code).toBe(0);
    expect(all.printed.summary.cases).toBeGreaterThan(50);
    const matrix = JSON.parse(await readFile(file, 'utf8'));
    expect(matrix).toMatchObject({ provider: 'HTP_QTI_AISW', socs: [{ soc: 57, arch: 75 }] });
  });

  it('crashes in one case, computes garbage in another on v68, and the probe goes on', async () => {
    const crash = await run('--library', qnnLibrary, '--soc', '57', '--filter', '_per_output_no_params');
    expect(verdictOf(crash.printed, CRASH)).toBe('crashed');
    expect(crash.printed.outcomes.filter(({ verdict }) => verdict === 'ok')).not.toEqual([]);
    expect(crash.code).toBe(0);
    const [old, newer] = [
      await run('--library', qnnLibrary, '--soc', '30', '--filter', '_w2_'),
      await run('--library', qnnLibrary, '--soc', '57', '--filter', '_w2_'),
    ];
    expect([verdictOf(old.printed, GARBAGE), verdictOf(newer.printed, GARBAGE)]).toEqual(['wrong', 'ok']);
    expect(old.printed.outcomes.find(({ name }) => name === GARBAGE)?.figures?.nmse).toBeGreaterThan(1);
  });
});

describe('a library that misbehaves', () => {
  it('hangs: that is a verdict, and the exit code is 1', async () => {
    const library = new FaultyLibrary(compileFaulty(directory), join(directory, 'faulty'), ['hang graphExecute 1 0']);
    const { code, printed } = await run('--library', library.path, '--filter', 'Dequantize_u8_f16_7x33', '--timeout', '5');
    expect(printed.outcomes.map(({ verdict }) => verdict)).toEqual(['hung']);
    expect(code).toBe(1);
  });
});

describe('mistakes', () => {
  it.each([
    [['--library', '/nowhere/libQnnHtp.so'], 'LUTRA_LIBRARY_NOT_FOUND'],
    [['--filter', 'no such case'], 'USAGE'],
    [['--matrix', 'README.md', '--filter', 'Relu_u8'], 'LUTRA_BAD_FILE'],
    [['--sample', '0'], 'USAGE'],
  ])('%j are one typed error', async (args, code) => {
    const { stdout, code: exit } = await lutra(['qnn', 'probe', ...args, '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code } });
    expect(exit).not.toBe(0);
  });
});

describe('the graph builder', () => {
  it('refuses by name what the library was measured to crash on or to get wrong', () => {
    const context = HTP.open().createBackend().createDevice(HTP.device).createContext();
    const builder = context.createGraph('refused');
    const x = builder.input('x', { dtype: 'f16', dims: [67, 130] });
    const w = builder.constant('w', {
      dtype: 's8',
      dims: [259, 130],
      encoding: qnn.axis(0, new Float32Array(259).fill(0.01)),
      data: new Int8Array(259 * 130),
    });
    const y = builder.output('y', { dtype: 'f16', dims: [67, 259] });
    const node = { inputs: [x, w], outputs: [y] } as const;
    const refusal = builder.validate('FullyConnected', node);
    expect(refusal).toBeInstanceOf(LutraError);
    expect(refusal).toMatchObject({
      code: 'LUTRA_QNN_NODE',
      message: expect.stringContaining('conformance case FullyConnected_f16_67x130_259'),
    });
    expect(() => builder.op('FullyConnected', node)).toThrow(/what it computes is wrong/);
    const aligned = builder.input('aligned', { dtype: 'f16', dims: [67, 132] });
    const v = builder.constant('v', {
      dtype: 's8',
      dims: [259, 132],
      encoding: qnn.axis(0, new Float32Array(259).fill(0.01)),
      data: new Int8Array(259 * 132),
    });
    expect(builder.validate('FullyConnected', { inputs: [aligned, v], outputs: [y] })).toBeNull();
  });

  it('asks nothing of the host NPU that it would refuse on another library', () => {
    const context = qnn.Library.open('host').createBackend().createDevice().createContext();
    const builder = context.createGraph('accepted');
    const x = builder.input('x', { dtype: 'f16', dims: [2, 130] });
    const w = builder.constant('w', {
      dtype: 's8',
      dims: [64, 130],
      encoding: qnn.axis(0, new Float32Array(64).fill(0.01)),
      data: new Int8Array(64 * 130),
    });
    const y = builder.output('y', { dtype: 'f16', dims: [2, 64] });
    expect(builder.validate('FullyConnected', { inputs: [x, w], outputs: [y] })).toBeNull();
  });
});
