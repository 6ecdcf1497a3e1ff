/** The command line as a user meets it: JSON and nothing else, exit codes, one sentence for each mistake. */
import { copyFile, cp, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../lib/runtime/model.js';
import { cache, gguf, lutra, lutraJson, modelDirectory, qnnLibrary, type RunJson } from './helpers.js';

const model = modelDirectory('smollm2-135m');
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-cli-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('lutra run', () => {
  it.each(['host', 'none'])('answers with --npu %s and prints one JSON object', async (npu) => {
    const { code, stdout } = await lutra([
      'run',
      model,
      '--prompt',
      'Why is the sky blue? Answer in two sentences.',
      '--max-tokens',
      '32',
      '--temperature',
      '0',
      '--npu',
      npu,
      '--json',
    ]);
    expect(code).toBe(0);
    expect(stdout.trim().split('\n')).toHaveLength(1);
    const result = JSON.parse(stdout) as RunJson;
    expect(result.text).toMatch(/blue|light|scatter/);
    expect(result.prefill.tokensPerSecond).toBeGreaterThan(1);
    expect(result.decode.tokensPerSecond).toBeGreaterThan(1);
    expect(result.peakRssBytes).toBeGreaterThan(50e6);
    expect(result.backend === null).toBe(npu === 'none');
    if (npu === 'host')
      expect(result.backend).toMatchObject({
        name: expect.any(String),
        buildId: expect.any(String),
        apiVersion: expect.stringMatching(/^2\./),
      });
    expect(result.placement.segments.length).toBe(npu === 'none' ? 0 : 1);
  });

  it('streams plain text to standard output and figures to standard error', async () => {
    const { code, stdout, stderr } = await lutra(['run', model, '-p', 'The capital of France is', '--raw', '-n', '4', '--npu', 'none']);
    expect({ code, stdout }).toEqual({ code: 0, stdout: ' Paris.\n\n\n' });
    expect(stderr).toMatch(/prefill 5 tokens in .* tokens\/s/);
  });

  it('gives the same text for the same seed, and stops at a stop string', async () => {
    const args = ['run', model, '-p', 'Tell me a story.', '-n', '24', '--temperature', '0.9', '--top-k', '40', '--npu', 'none'];
    const [a, b, c] = [
      await lutraJson<RunJson>([...args, '--seed', '7']),
      await lutraJson<RunJson>([...args, '--seed', '7']),
      await lutraJson<RunJson>([...args, '--seed', '8']),
    ];
    expect(a.tokens).toEqual(b.tokens);
    expect(a.tokens).not.toEqual(c.tokens);
    const stopped = await lutraJson<RunJson>([
      'run',
      model,
      '--raw',
      '-p',
      'The capital of France is',
      '-n',
      '20',
      '--stop',
      '.\n',
      '--npu',
      'none',
    ]);
    expect(stopped).toMatchObject({ text: ' Paris', finishReason: 'stop' });
  });

  it('repeats itself token for token with a prompt of exactly one chunk and of one more', async () => {
    const loaded = await loadModel(model, { npu: 'host', contextSize: 512 });
    const session = await loaded.createSession();
    const ids = loaded.tokenizer.encode('one two three four five six seven eight nine ten '.repeat(40));
    for (const length of [127, 128, 129, 256]) {
      session.reset();
      const first = await session.generate(ids.slice(0, length), { maxTokens: 8, ignoreEos: true }).result();
      session.reset();
      const second = await session.generate(ids.slice(0, length), { maxTokens: 8, ignoreEos: true }).result();
      expect(second.tokens).toEqual(first.tokens);
      expect(first.prefill.tokens).toBe(length);
    }
    await loaded.dispose();
  });
});

describe('lutra eval, inspect, qnn info', () => {
  it('evaluates', async () => {
    const result = await lutraJson<Record<'perplexity' | 'top1' | 'kl' | 'referencePerplexity', number>>([
      ...['eval', model, '--text', join(cache, 'text', 'alice29.txt'), '--windows', '1', '--window-tokens', '128', '--npu', 'host'],
    ]);
    expect(result.perplexity / result.referencePerplexity).toBeGreaterThan(0.9);
    expect(result.perplexity / result.referencePerplexity).toBeLessThan(1.2);
    expect(result.top1).toBeGreaterThan(0.7);
    expect(result.kl).toBeGreaterThan(0);
    expect(result.kl).toBeLessThan(0.2);
  });

  it('inspects and verifies', async () => {
    const result = await lutraJson<{ arch: { layers: number }; int8Share: number; transform: string; verified: boolean }>([
      'inspect',
      model,
      '--verify',
    ]);
    expect(result).toMatchObject({ arch: { layers: 30 }, verified: true });
    expect(result.int8Share).toBeGreaterThan(0.1);
    expect(result.transform).toBe('none');
    const { stdout } = await lutra(['inspect', model, '--plan', 'npu']);
    expect(stdout).toMatch(/^plan 2: /);
    expect(stdout).toContain('program cpu');
  });

  it('shows what a library says of itself', async () => {
    const host = await lutraJson<{ backend: { backendId: number }; operations: string[] }>(['qnn', 'info', '--npu', 'host']);
    expect(host.backend.backendId).toBe(6);
    expect(host.operations).toContain('FullyConnected');
    const htp = await lutraJson<{ backend: { apiVersion: string } }>(['qnn', 'info', '--npu', qnnLibrary]);
    expect(htp.backend.apiVersion).toMatch(/^2\.\d+\.\d+$/);
  });
});

describe('mistakes', () => {
  const text = join(cache, 'text', 'alice29.txt');

  it.each([
    [['run', model, '--promt', 'x'], 'lutra run has no flag --promt; did you mean --prompt?'],
    [['rnu', model], "There is no command 'rnu'; did you mean 'run'?"],
    [['qnn'], 'lutra qnn needs one of: qnn info, qnn probe, qnn quarantine.'],
    [['run', model], '--prompt is missing.'],
    [['run', model, '--prompt', 'x', '--threads', 'two'], "--threads needs a number, not 'two'."],
    [['run', model, '--prompt', 'x', '--kv', 'int4'], '--kv is "int4"; give f16, f32, int8.'],
    [['convert', gguf], '--output is missing.'],
  ])('%j is a usage error of one line', async (args, message) => {
    expect(await lutra(args)).toEqual({ code: 2, stdout: '', stderr: `${message}\n` });
  });

  const cases: [string, string, () => Promise<string[]>][] = [
    ['a missing directory', 'LUTRA_NOT_FOUND', async () => ['run', join(directory, 'nowhere'), '--prompt', 'x']],
    ['a GGUF file', 'LUTRA_BAD_FILE', async () => ['run', gguf, '--prompt', 'x']],
    ['a foreign directory', 'LUTRA_BAD_FILE', async () => ['run', join(cache, 'text'), '--prompt', 'x']],
    [
      'truncated weights',
      'LUTRA_BAD_FILE',
      async () => {
        const copy = join(directory, 'truncated');
        await cp(model, copy, { recursive: true });
        await truncate(join(copy, 'cpu.safetensors'), 1_000_000);
        return ['run', copy, '--prompt', 'x'];
      },
    ],
    [
      'a prompt longer than the context',
      'LUTRA_CONTEXT_FULL',
      async () => ['run', model, '--raw', '--context', '16', '--prompt', 'one two three '.repeat(20)],
    ],
    ['a context that the model has not', 'LUTRA_INVALID_ARGUMENT', async () => ['run', model, '--context', '1000000', '--prompt', 'x']],
    ['a missing library', 'LUTRA_LIBRARY_NOT_FOUND', async () => ['run', model, '--npu', join(directory, 'libNone.so'), '--prompt', 'x']],
    [
      'a library that is no QNN library',
      'LUTRA_NOT_QNN',
      async () => {
        const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
        const libm = sharedObjects.find((file) => /\/libm[.-]/.test(file)) ?? '';
        return ['qnn', 'info', '--npu', libm];
      },
    ],
    [
      'a truncated GGUF file',
      'LUTRA_BAD_FILE',
      async () => {
        const copy = join(directory, 'cut.gguf');
        await copyFile(gguf, copy);
        await truncate(copy, 5_000_000);
        return ['convert', copy, '-o', join(directory, 'out'), '--text', text];
      },
    ],
    [
      'a file that is no GGUF',
      'LUTRA_BAD_FILE',
      async () => {
        const file = join(directory, 'noise.gguf');
        await writeFile(file, Buffer.alloc(4096, 0x5a));
        return ['convert', file, '-o', join(directory, 'out'), '--text', text];
      },
    ],
    [
      'an unknown precision',
      'LUTRA_INVALID_ARGUMENT',
      async () => ['convert', gguf, '-o', join(directory, 'out'), '--precision', 'qkv=w9a9', '--text', text],
    ],
    ['a missing text', 'LUTRA_NOT_FOUND', async () => ['eval', model, '--text', join(directory, 'none.txt')]],
  ];

  it.each(cases)('%s gives %s, a sentence and the remedy', async (_what, expected, prepare) => {
    const args = await prepare();
    const { code, stdout, stderr } = await lutra([...args, '--json']);
    expect(code).toBe(1);
    const { error } = JSON.parse(stdout) as { error: { code: string; message: string; remedy: string } };
    expect(error.code).toBe(expected);
    expect(error.message.length).toBeGreaterThan(10);
    expect(error.remedy.length).toBeGreaterThan(5);
    expect(stderr).toContain(error.message);
    expect(stderr).not.toMatch(/\n\s+at /); // no stack trace for a user's mistake
  });
});
