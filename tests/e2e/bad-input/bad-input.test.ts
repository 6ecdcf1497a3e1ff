/**
 * Wrong inputs, one table for each format and each part of the API. Every case ends in one LutraError with its code within a second, names what is wrong and what to do,
 * and leaves the process as it was: no memory, no file descriptor, no thread more.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../../lib/convert/precision.js';
import { loadModel, type Model } from '../../../lib/runtime/model.js';
import { makeTiny, type TinyModelFiles } from '../tiny.js';
import type { World } from './case.js';
import { checkpointCases } from './checkpoint.js';
import { cliCases, startup } from './cli.js';
import { familyCheckpointCases } from './families.js';
import { ggufCases } from './gguf.js';
import { kernelCases } from './kernels.js';
import { mllmCases } from './mllm.js';
import { modelCases } from './model-api.js';
import { planCases } from './plans.js';
import { qnnGraphCases } from './qnn-graphs.js';
import { qnnObjectCases } from './qnn-objects.js';
import { expectNothingLeft, runCase } from './run.js';
import { sessionCases } from './session-api.js';
import { specCases } from './spec.js';
import { weightCases } from './weights.js';

/** In-process tables by what they are about. */
const TABLES = {
  'GGUF files': ggufCases,
  'checkpoints of Hugging Face': checkpointCases,
  'checkpoints of every family': familyCheckpointCases,
  'files of mllm': mllmCases,
  'weight files': weightCases,
  'lutra.json and the tokenizer': specCases,
  plans: planCases,
  'loadModel, Model, Chat, Tokenizer': modelCases,
  'generate and Session': sessionCases,
  'qnn: libraries to contexts, binaries': qnnObjectCases,
  'qnn: graphs': qnnGraphCases,
  'kernels: weights and products': kernelCases,
};

let root: string;
let files: TinyModelFiles;
let model: Model;
const world = (): World => ({ root, files, model });
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-bad-input-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3 });
  model = await loadModel(files.directory, { npu: 'host', contextSize: 64, threads: 1 });
});
afterAll(async () => {
  await model?.dispose();
  await rm(root, { recursive: true, force: true });
});

describe.each(Object.entries(TABLES))('%s', (_name, cases) => {
  const prepared = new Map<string, unknown>();

  it.each(cases.map((one) => [one.name, one] as const))('%s', { timeout: 30_000 }, async (name, one) => {
    expect(prepared.has(name), 'two cases of this name').toBe(false);
    prepared.set(name, await one.prepare(world()));
    await runCase(world(), one, prepared.get(name));
  });

  it('none of them leaves memory, file descriptors or threads behind', async () => {
    console.log(await expectNothingLeft(world(), cases, prepared));
  });
});

describe('command lines', () => {
  it.each(cliCases.map((one) => [one.name, one] as const))('%s', { timeout: 60_000 }, async (_name, one) => {
    await runCase(world(), one, await one.prepare(world()), startup);
  });
});
