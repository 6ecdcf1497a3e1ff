/** Peak memory of the real model. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { lutraJson, modelDirectory, type RunJson } from './helpers.js';

const MB = 1e6;
const CONTEXT = 1024;
const LONG = 'The quick brown fox jumps over the lazy dog. '.repeat(40);
const directory = modelDirectory('smollm2-135m');

const run = (npu: 'host' | 'none', ...flags: string[]) =>
  lutraJson<RunJson>([
    ...['run', directory, '--prompt', LONG, '--raw', '--max-tokens', '64', '--ignore-eos'],
    ...['--npu', npu, '--context', String(CONTEXT), '--threads', '1', ...flags],
  ]);

async function fileBytes(name: string): Promise<number> {
  return (await stat(join(directory, name))).size;
}

describe('memory', () => {
  it.each(['host', 'none'] as const)('stays near the size of what it needs with --npu %s', async (npu) => {
    const { peakRssBytes, bytes } = await run(npu);
    const weights = (await fileBytes('cpu.safetensors')) + (npu === 'host' ? await fileBytes('npu.safetensors') : 0);
    const limit = 1.15 * weights + bytes.kvCache + (npu === 'host' ? bytes.activations : 0) + 150 * MB;
    console.log(`peak ${(peakRssBytes / MB).toFixed(0)} MB with --npu ${npu}, limit ${(limit / MB).toFixed(0)} MB`);
    expect(peakRssBytes).toBeLessThanOrEqual(limit);
  });
});
