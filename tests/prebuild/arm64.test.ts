/**
 * The addon that the package ships for 64-bit ARM (scripts/prebuild linux-arm64), in Node.js under qemu-user as three generations of processors: the tokens of x86-64, from tiny models and
 * from SmolLM2. The same under the system call filter of an Android app.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelDirectory } from '../e2e/helpers.js';
import { arm64, FILTER, type Job, makeModels, runJob, X64 } from './jobs.js';

let folder: string;
let tiny: string[];
let x64: Job;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lutra-arm64-'));
  tiny = await makeModels(folder);
  x64 = await runJob(X64, tiny);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const onArm = (cpu: string, models: readonly string[], before: readonly string[] = []) =>
  runJob([...before, ...arm64(cpu)], models, { PREBUILDS_ONLY: '1' });

/** Digests of the kernels that every build has. */
const portable = ({ products }: Job) => Object.fromEntries(Object.entries(products).filter(([name]) => name.includes('-portable ')));

it.each([
  ['cortex-a53', 'neon'],
  ['cortex-a76', 'dotprod'],
  ['max', 'i8mm'],
])('tiny models answer on %s as on x86-64, with the kernels for %s', async (cpu, isa) => {
  const got = await onArm(cpu, tiny);
  expect({ platform: got.platform, isa: got.isa }).toEqual({ platform: 'linux-arm64', isa });
  expect(got.models).toEqual(x64.models);
  expect(Object.keys(portable(got)).length).toBeGreaterThan(50);
  expect(portable(got)).toEqual(portable(x64));
});

it('tiny models answer the same under the filter', async () => {
  expect((await onArm('cortex-a53', tiny, FILTER)).models).toEqual(x64.models);
});

it.each(['cortex-a53', 'cortex-a76', 'max'])('SmolLM2 says the same on %s', async (cpu) => {
  const model = [modelDirectory('smollm2-135m')];
  const greedy = ({ models }: Job) => models.map(({ none, host }) => [none.greedy, host.greedy]);
  expect(greedy(await onArm(cpu, model))).toEqual(greedy(await runJob(X64, model)));
});
