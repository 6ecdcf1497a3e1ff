/** Evaluation on tiny models: what a model is compared with. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { argmax, type Evaluation, evaluate, evaluateBeside, windowStarts } from '../../lib/runtime/evaluate.js';
import { loadModel } from '../../lib/runtime/model.js';
import { lutra, lutraJson } from './helpers.js';
import { makeTiny, tinyText } from './tiny.js';

const WINDOW = 48;
const text = tinyText(9, 120);

let root: string;
const directories = new Map<string, string>();
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-evaluate-'));
  const choices = { source: {}, w4: { cpuWeights: 'w4g32' }, w2: { cpuWeights: 'w2g64' } } as const;
  for (const [name, weights] of Object.entries(choices)) {
    const { directory } = await makeTiny(root, name, null, { seed: 5, storages: ['f16'], head: 'f16' }, weights);
    directories.set(name, directory);
  }
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** `name` against the float weights of `against`. */
async function compare(name: string, against: string): Promise<Evaluation> {
  const options = { npu: 'none', contextSize: WINDOW, threads: 1, reference: true } as const;
  const model = await loadModel(directories.get(name) ?? '', options);
  const reference = await loadModel(directories.get(against) ?? '', options);
  try {
    return await evaluate(model, reference, text, { windows: 3, windowTokens: WINDOW });
  } finally {
    await model.dispose();
    await reference.dispose();
  }
}

describe('evaluate', () => {
  it('tells weights that were quantised anew from those of the source', async () => {
    const own = await compare('w4', 'w4');
    const [four, two] = [await compare('w4', 'source'), await compare('w2', 'source')];
    expect(own).toMatchObject({ kl: expect.closeTo(0, 9), top1: 1, predictions: 3 * (WINDOW - 1) });
    expect(four.referencePerplexity).toBe(two.referencePerplexity);
    expect(four.referencePerplexity).not.toBe(own.referencePerplexity);
    expect(four.kl).toBeGreaterThan(1e-6);
    expect(two.kl).toBeGreaterThan(2 * four.kl);
  });

  it('is closer to the source where columns that matter are known', async () => {
    let [weighted, plain] = [0, 0];
    for (const seed of [1, 2, 3]) {
      const file = { seed, storages: ['f16'], head: 'f16', gainSpread: 1.5 } as const;
      const choice = { cpuWeights: 'w4g32' } as const;
      const models = {
        spread: await makeTiny(root, `spread${seed}`, null, file),
        weighted: await makeTiny(root, `weighted${seed}`, null, file, choice),
        plain: await makeTiny(root, `plain${seed}`, null, file, { ...choice, calibrationText: undefined }),
      };
      for (const [name, { directory }] of Object.entries(models)) directories.set(name, directory);
      weighted += (await compare('weighted', 'spread')).kl;
      plain += (await compare('plain', 'spread')).kl;
    }
    expect(weighted).toBeLessThan(0.75 * plain);
  });

  it('takes them from the calibration text, for the layers and for lm_head', async () => {
    const choice = { cpuWeights: 'w2g64', lmHead: 'w3g32' } as const;
    const file = { seed: 5, storages: ['f16'], head: 'f16' } as const;
    const weighted = await makeTiny(root, 'weighted', null, file, choice);
    const plain = await makeTiny(root, 'plain', null, file, { ...choice, calibrationText: undefined });
    const digests = ({ spec }: typeof plain) => ['embed', 'layers.0.q', 'layers.1.down'].map((name) => spec.hashes.cpu.tensors[name]);
    digests(weighted).forEach((digest, i) => {
      expect(digest).not.toBe(digests(plain)[i]);
    });
  });

  it('puts two beside each other, and sees for how long they go on alike', async () => {
    const options = { npu: 'none', contextSize: WINDOW + 12, threads: 1, reference: true } as const;
    // An lm_head that is not the embedding: what is the most likely token is no longer the last one.
    const choices = [{}, { cpuWeights: 'w4g32' }, { cpuWeights: 'w2g64' }] as const;
    const names = ['untied', 'untied-w4', 'untied-w2'];
    for (const [i, weights] of choices.entries()) {
      const { directory } = await makeTiny(root, names[i] ?? '', null, { seed: 5, storages: ['f16'], head: 'f16', tied: false }, weights);
      directories.set(names[i] ?? '', directory);
    }
    const [source, four, two] = await Promise.all(names.map((name) => loadModel(directories.get(name) ?? '', options)));
    if (!source || !four || !two) throw new Error('no models');
    const asked = { windows: 3, windowTokens: WINDOW, greedyTokens: 12 };
    const { evaluations, between } = await evaluateBeside([four, two], source, text, asked);
    const [first, second] = evaluations;
    // Each is what it is alone; the two are farther from each other than the better one is from the source.
    expect(first).toMatchObject(await compare('untied-w4', 'untied'));
    expect(second).toMatchObject(await compare('untied-w2', 'untied'));
    expect(between).toMatchObject({
      predictions: 3 * (WINDOW - 1),
      perplexity: first?.perplexity,
      referencePerplexity: second?.perplexity,
    });
    expect(between?.kl).toBeGreaterThan(first?.kl ?? Number.NaN);
    // Each token that the reference continues by, token by token.
    const session = await source.createSession();
    const other = await two.createSession();
    const tokens = two.tokenizer.encode(text);
    let alike = 0;
    for (const start of windowStarts(tokens.length, 3, WINDOW)) {
      const [want, got] = [session, other].map(async (one) => {
        one.reset();
        let logits = await one.prefill(tokens.slice(start, start + WINDOW));
        const made: number[] = [];
        for (let i = 0; i < 12; i++) {
          made.push(argmax(logits));
          logits = await one.step(made[i] ?? 0);
        }
        return made;
      });
      const [expected, found] = [(await want) ?? [], (await got) ?? []];
      const differs = found.findIndex((token, i) => token !== expected[i]);
      alike += differs < 0 ? 12 : differs;
    }
    expect(second?.greedy).toMatchObject({ tokens: 12, length: alike / 3 });
    expect(second?.greedy?.length).toBeLessThan(12);
    const itself = await evaluateBeside([source], source, text, asked);
    expect(itself).toMatchObject({
      between: null,
      evaluations: [{ kl: expect.closeTo(0, 9), greedy: { tokens: 12, length: 12, whole: 1 } }],
    });
    await Promise.all([source, four, two].map((model) => model.dispose()));
  });

  it('is a table and an object on the command line', async () => {
    const file = join(root, 'text.txt');
    await writeFile(file, text);
    const [four = '', two = ''] = ['w4', 'w2'].map((name) => directories.get(name));
    const args = [
      'eval',
      four,
      '--text',
      file,
      '--windows',
      '2',
      '--window-tokens',
      '32',
      '--npu',
      'none',
      '--beside',
      two,
      '--greedy',
      '4',
    ];
    const { stdout: table, stderr, code } = await lutra(args);
    expect(code, stderr).toBe(0);
    expect(table.split('\n')[0]).toBe(`${four} and ${two}`);
    for (const name of ['perplexity', 'mean KL', 'greedy agreement', 'between the two']) expect(table).toMatch(new RegExp(`^${name}`, 'm'));
    const json = await lutraJson<Evaluation & { beside: Evaluation & { directory: string }; between: { kl: number; top1: number } }>([
      ...args,
      '--json',
    ]);
    expect(json).toMatchObject({
      predictions: 62,
      greedy: { tokens: 4 },
      beside: { directory: two, predictions: 62, greedy: { tokens: 4 } },
    });
    expect(json.beside.kl).not.toBe(json.kl);
    expect(json.between.kl).toBeGreaterThan(0);
    expect(table).toContain(json.between.kl.toFixed(5));
  });

  it('refuses models to which the text is not the same tokens', async () => {
    const options = { npu: 'none', contextSize: WINDOW, threads: 1 } as const;
    const model = await loadModel(directories.get('source') ?? '', options);
    const other = await loadModel(directories.get('w4') ?? '', options);
    other.tokenizer.encode = () => [1, 2, 3];
    await expect(evaluate(model, other, text, { windows: 3, windowTokens: WINDOW })).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
      message: expect.stringContaining('same tokens'),
    });
    await model.dispose();
    await other.dispose();
  });
});
