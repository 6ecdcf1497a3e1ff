/**
 * Outliers of a known size, put into tiny models without changing what they compute: gains of two channels of every norm are made f times as large, the weights that read them f times as small. The
 * recipe must not care; without transform and repair nothing must be left of the model, or the test would show nothing.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import { parsePrecision } from '../../lib/convert/precision.js';
import { loadAddon } from '../../lib/native/loader.js';
import { Comparison } from '../../lib/runtime/evaluate.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { row } from './helpers.js';
import { CHUNK, VOCAB, writeTinyFile } from './tiny.js';

const FACTORS = [1, 30, 100, 300] as const;
const CHANNELS = [5, 41];
const SEQUENCES = 8;
const LENGTH = 96;
const FLOAT = { reference: true, contextSize: LENGTH + 1, threads: 1 } as const;
const HOST = { npu: 'host', contextSize: LENGTH + 1, threads: 1 } as const;

/** How a model is converted, and run. */
const WAYS = {
  recipe: { convert: { precision: parsePrecision('qkv=w8a8,o=w8a8s,gateup=w8a8,down=w8a8s'), transform: 'rotate' }, load: {} },
  'no transform, no repair': {
    convert: { precision: parsePrecision('qkv=w8a8s,o=w8a8s,gateup=w8a8,down=w8a8s'), transform: 'none' },
    load: { repair: false },
  },
  'static maximum': { convert: { precision: parsePrecision('all=w8a8'), method: 'max', transform: 'none' }, load: {} },
} as const satisfies Record<string, { convert: Partial<ConvertOptions>; load: LoadOptions }>;
type Way = keyof typeof WAYS;

let root: string;
/** Perplexity of a way as a multiple of float's, on text that the float model made. */
const ratios = new Map<string, number>();
const floats = new Map<number, number>();

function file(factor: number): string {
  return writeTinyFile(join(root, `${factor}.gguf`), {
    seed: 11,
    storages: ['f32'],
    head: 'f32',
    tied: false,
    outliers: { channels: CHANNELS, factor },
  }).path;
}

async function convert(input: string, name: string, options: Partial<ConvertOptions>): Promise<string> {
  const output = join(root, name);
  await convertModel({
    input,
    output,
    addon: loadAddon(),
    precision: null,
    chunk: CHUNK,
    threads: 1,
    calibrationText: join(root, 'calibration.txt'),
    calibrationWindowTokens: 64,
    ...options,
  });
  return output;
}

/** Sequences that the float model makes at temperature 1, each from a token of its own. */
async function sampled(directory: string, seed: number, count: number): Promise<number[][]> {
  const model = await loadModel(directory, FLOAT);
  try {
    const sequences: number[][] = [];
    for (let i = 0; i < count; i++) {
      const first = 3 + ((seed * 37 + i * 11) % (VOCAB - 3));
      const { tokens } = await model
        .generate([first], { maxTokens: LENGTH - 1, temperature: 1, topK: 0, topP: 1, seed: seed + i, ignoreEos: true })
        .result();
      sequences.push([first, ...tokens]);
    }
    return sequences;
  } finally {
    await model.dispose();
  }
}

/** Of a model over sequences, beside what float says of them. */
async function compare(directory: string, options: LoadOptions, float: string, sequences: readonly number[][]): Promise<Comparison> {
  const [model, reference] = [await loadModel(directory, options), await loadModel(float, FLOAT)];
  try {
    const [session, expected] = [await model.createSession(), await reference.createSession()];
    const comparison = new Comparison();
    for (const tokens of sequences) {
      session.reset();
      expected.reset();
      const [got, want] = [await session.prefill(tokens, { logits: 'all' }), await expected.prefill(tokens, { logits: 'all' })];
      for (let i = 0; i + 1 < tokens.length; i++) comparison.add(row(got, i, VOCAB), row(want, i, VOCAB), tokens[i + 1] ?? 0);
    }
    return comparison;
  } finally {
    await model.dispose();
    await reference.dispose();
  }
}

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-outliers-'));
  const plain = await convert(file(1), 'plain', {});
  const sequences = await sampled(plain, 1, SEQUENCES);
  const model = await loadModel(plain, FLOAT);
  // What is calibrated on is of the same kind, but other text.
  await writeFile(join(root, 'calibration.txt'), (await sampled(plain, 1000, 12)).map((tokens) => model.tokenizer.decode(tokens)).join(''));
  await model.dispose();
  for (const factor of FACTORS) {
    for (const [way, { convert: options, load }] of Object.entries(WAYS)) {
      const directory = await convert(file(factor), `${way} ${factor}`.replaceAll(' ', '-'), options);
      const result = await compare(directory, { ...HOST, ...load }, directory, sequences);
      floats.set(factor, result.referencePerplexity);
      ratios.set(`${way} ${factor}`, result.perplexity / result.referencePerplexity);
    }
  }
  for (const way of Object.keys(WAYS))
    console.log(`${way.padEnd(24)} ${FACTORS.map((factor) => `f = ${factor}: ${ratios.get(`${way} ${factor}`)?.toFixed(4)}`).join(', ')}`);
  console.log(`float ${FACTORS.map((factor) => `f = ${factor}: ${floats.get(factor)?.toFixed(4)}`).join(', ')}`);
}, 120_000);
afterAll(() => rm(root, { recursive: true, force: true }));

const ratio = (way: Way, factor: number) => ratios.get(`${way} ${factor}`) ?? Number.NaN;

describe('outliers', () => {
  it.each(FACTORS)('of factor %i leave the float model as it was', (factor) => {
    expect(floats.get(factor)).toBeCloseTo(floats.get(1) ?? Number.NaN, 2);
  });

  it.each(FACTORS)('of factor %i: the recipe has the perplexity of float within 3 percent', (factor) => {
    expect(Math.abs(ratio('recipe', factor) - 1)).toBeLessThanOrEqual(0.03);
  });

  it.each(FACTORS.slice(1))('of factor %i: the model is gone without transform and repair', (factor) => {
    const least = factor > 30 ? 10 : 1.5;
    expect(ratio('no transform, no repair', factor)).toBeGreaterThan(least);
    expect(ratio('static maximum', factor)).toBeGreaterThan(least);
  });
});
