/** Precisions chosen by what they do to the model's output, on a tiny model with outliers. */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import type { ChoiceRecord, ModelSpec } from '../../lib/graph/spec.js';
import { loadAddon } from '../../lib/native/loader.js';
import { inspectModel } from '../../lib/runtime/inspect.js';
import { loadModel } from '../../lib/runtime/model.js';
import { CHUNK, tinyText, writeTinyFile } from './tiny.js';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-choice-'));
  writeTinyFile(join(root, 'tiny.gguf'), { seed: 11, storages: ['f32'], gainSpread: 0.5 });
  await writeFile(join(root, 'text.txt'), tinyText(7, 900));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const stages = new Set<string>();

function convert(name: string, options: Partial<ConvertOptions> = {}): Promise<ModelSpec> {
  return convertModel({
    input: join(root, 'tiny.gguf'),
    output: join(root, name),
    addon: loadAddon(),
    calibrationText: join(root, 'text.txt'),
    calibrationWindows: 6,
    calibrationWindowTokens: 64,
    chunk: CHUNK,
    threads: 2,
    onProgress: ({ stage, done, total }) => {
      stages.add(stage);
      expect(done).toBeLessThanOrEqual(total);
    },
    ...options,
  });
}

function choiceOf(spec: ModelSpec): ChoiceRecord {
  const choice = spec.calibration?.choice;
  if (!choice) throw new Error('nothing was chosen');
  return choice;
}

const shareOf = ({ linears }: ModelSpec): number => Object.values(linears).filter(({ precision }) => precision !== 'w8a16').length;

describe('the choice of precisions', () => {
  it('meets the KL that is asked for at a cost that falls with it, and says what it measured', async () => {
    const specs: ModelSpec[] = [];
    for (const [i, maxKl] of [0.002, 0.01, 5].entries()) specs.push(await convert(`kl${i}`, { goal: { maxKl } }));
    for (const [i, spec] of specs.entries()) {
      const choice = choiceOf(spec);
      console.log(
        i,
        choice.cost.toFixed(3),
        ...choice.table.map((row) => `${row.setting} ${row.kl.toFixed(5)} ${row.int8Share.toFixed(2)}`),
      );
      expect(choice.table[0]).toMatchObject({ setting: 'chosen' });
      expect(choice.table[0]?.kl).toBeLessThanOrEqual([0.002, 0.01, 5][i] ?? 0);
      expect(choice.tokens).toBeGreaterThanOrEqual(128);
      for (const row of choice.table) {
        for (const value of Object.values(row)) expect(value).not.toBeNaN();
        expect(row.perplexity).toBeGreaterThan(1);
      }
    }
    const costs = specs.map((spec) => choiceOf(spec).cost);
    expect(costs).toEqual([...costs].sort((a, b) => b - a));
    expect(costs[0]).toBeGreaterThan(costs[2] ?? 0);
    expect(costs[2]).toBe(1); // everything in w8a8
    expect(shareOf(specs[2] as ModelSpec)).toBe(Object.keys(specs[2]?.linears ?? {}).length);
    expect([...stages]).toEqual(
      ['hash', 'cpu weights', 'calibration', 'trial weights', 'trials', 'npu weights'].sort(
        (a, b) => [...stages].indexOf(a) - [...stages].indexOf(b),
      ),
    );
  });

  it('is what the model then does', async () => {
    const spec = await convert('same', { goal: { maxKl: 0.01 } });
    const directory = join(root, 'same');
    expect((await readdir(directory)).filter((name) => /trial|rotation/.test(name))).toEqual([]);
    const [npu, float] = await Promise.all([
      loadModel(directory, { npu: 'host', contextSize: 64 }),
      loadModel(directory, { reference: true, contextSize: 64 }),
    ]);
    const tokens = npu.tokenizer.encode(tinyText(99, 100)).slice(0, 64);
    const [a, b] = await Promise.all([npu, float].map(async (model) => (await model.createSession()).prefill(tokens, { logits: 'all' })));
    const figures = loadAddon().compareLogits(a ?? new Float32Array(), b ?? new Float32Array(), Uint32Array.from(tokens), 1);
    const kl = figures.filter((_, i) => i % 4 === 0).reduce((sum, value) => sum + value, 0) / tokens.length;
    const [row] = choiceOf(spec).table;
    expect(kl).toBeGreaterThan(0.2 * (row?.kl ?? 0));
    expect(kl).toBeLessThan(5 * (row?.kl ?? 0));
    expect((await inspectModel(directory)).int8Share).toBeCloseTo(row?.int8Share ?? 0, 12);
    await Promise.all([npu.dispose(), float.dispose()]);
  });

  it('gives the same bytes again', async () => {
    const digest = async (name: string): Promise<string[]> => {
      await convert(name, { goal: { int8Share: 0.8 } });
      return Promise.all(
        ['lutra.json', 'npu.safetensors'].map(async (file) =>
          createHash('sha256')
            .update(await readFile(join(root, name, file)))
            .digest('hex'),
        ),
      );
    };
    expect(await digest('again')).toEqual(await digest('again'));
  });

  it('has the share of 8 bits that is asked for', async () => {
    const rows = [];
    for (const int8Share of [1, 0.6]) {
      const [row] = choiceOf(await convert('share', { goal: { int8Share } })).table;
      expect(row?.int8Share).toBeGreaterThanOrEqual(int8Share - 1e-9);
      rows.push(row);
    }
    expect(rows[0]?.int8Share).toBe(1);
    expect(rows[1]?.int8Share).toBeLessThan(1);
    expect(rows[1]?.kl).toBeLessThan(rows[0]?.kl ?? 0);
  });

  it('decides only what a given precision leaves open', async () => {
    const given = { qkv: 'w8a8', o: 'w8a16', gateup: 'w8a8', down: 'w8a16' } as const;
    const spec = await convert('given', { precision: given });
    expect(spec.calibration?.choice).toBeUndefined();
    expect(new Set(Object.values(spec.linears).map(({ precision }) => precision))).toEqual(new Set(['w8a8', 'w8a16']));
    expect(spec.linears['layers.0.o']?.precision).toBe('w8a16');
  });

  it('refuses what cannot be had, and leaves nothing behind', async () => {
    const refused = async (options: Partial<ConvertOptions>, code = 'LUTRA_INVALID_ARGUMENT') => {
      const before = await readdir(root);
      await expect(convert('never', options)).rejects.toMatchObject({ code });
      expect(await readdir(root)).toEqual(before);
    };
    await refused({ goal: { maxKl: 1e-9 } });
    for (const maxKl of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) await refused({ goal: { maxKl } });
    for (const int8Share of [-0.1, 1.1, Number.NaN]) await refused({ goal: { int8Share } });
    await refused({ goal: { maxKl: 1 }, precision: { qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8a8' } });
    await writeFile(join(root, 'short.txt'), tinyText(1, 20));
    await refused({ calibrationText: join(root, 'short.txt') });
    const abort = new AbortController();
    const onProgress: ConvertOptions['onProgress'] = ({ stage, done }) => {
      if (stage === 'trials' && done > 3) abort.abort();
    };
    await refused({ signal: abort.signal, onProgress }, 'LUTRA_ABORTED');
  });
});
