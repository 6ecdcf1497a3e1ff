/** A file of mllm from the command line to text: calibrated for the NPU, it answers as the checkpoint of the same values. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tinyCheckpoint, writeCheckpoint } from '../reference/checkpoint.js';
import { mllmFile, npuMllm } from '../reference/mllm-writer.js';
import { lutra } from './helpers.js';
import { tinyText } from './tiny.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-mllm-'));
  await writeFile(join(root, 'text.txt'), tinyText(7, 400));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** Converts and answers; the ranges that the calibration found, and the answer. */
async function answered(name: string, input: string, ...flags: string[]): Promise<{ linears: unknown; text: string }> {
  const output = join(root, name);
  const convert = [
    'convert',
    input,
    '-o',
    output,
    '--text',
    join(root, 'text.txt'),
    '--window-tokens',
    '32',
    '--chunk',
    '16',
    '--precision',
    'down=w8a16',
    '--json',
  ];
  const converted = await lutra([...convert, ...flags]);
  expect(converted.code, converted.stderr).toBe(0);
  const run = await lutra(['run', output, '--prompt', 'hello world', '--raw', '--max-tokens', '8', '--npu', 'host', '--json']);
  expect(run.code, run.stderr).toBe(0);
  const { linears } = JSON.parse(await readFile(join(output, 'lutra.json'), 'utf8')) as { linears: unknown };
  return { linears, text: (JSON.parse(run.stdout) as { text: string }).text };
}

describe('lutra convert FILE.mllm --config DIR', () => {
  it.each([
    [1, false],
    [1, true],
    [2, false],
  ] as const)('answers as the checkpoint: version %i, codes widened: %s', async (version, widened) => {
    const tiny = tinyCheckpoint({ tied: true });
    const { file, checkpoint } = npuMllm(tiny, { widened });
    const name = `${version}${widened}`;
    await writeFile(join(root, `${name}.mllm`), mllmFile(version, file).bytes);
    const config = writeCheckpoint(join(root, `${name}-config`), { ...tiny, tensors: new Map() });
    const own = await answered(name, join(root, `${name}.mllm`), '--config', config);
    const reference = await answered(`${name}-reference`, writeCheckpoint(join(root, `${name}-hf`), checkpoint));
    expect(own).toEqual(reference);
    expect(own.text.length).toBeGreaterThan(0);
  });
});
