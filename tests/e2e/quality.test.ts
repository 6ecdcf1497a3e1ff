/**
 * How far each path is from float, over 16 windows of 256 tokens of a book that was not calibrated on. One pass: the float logits of a
 * window serve all comparisons.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { argmax, Comparison } from '../../lib/runtime/evaluate.js';
import { type LoadOptions, loadModel, type Model } from '../../lib/runtime/model.js';
import type { Session } from '../../lib/runtime/session.js';
import { LlamaOracle } from '../oracle/llama.js';
import { gguf, margin, modelDirectory, row, windows } from './helpers.js';

const WINDOWS = 16;
const SIZE = 256;
/** Float margin from which on another token is a mistake and no rounding. */
const CLEAR_MARGIN = 0.5;

const ours = ['packed', 'int8 kv', 'default', 'w8a16', 'int8', 'naive'] as const;
type Path = (typeof ours)[number];
const paths: Record<Path, { model: Parameters<typeof modelDirectory>[0]; options: LoadOptions }> = {
  packed: { model: 'smollm2-135m', options: { npu: 'none' } },
  'int8 kv': { model: 'smollm2-135m', options: { reference: true, kv: 'int8' } },
  default: { model: 'smollm2-135m', options: { npu: 'host' } },
  w8a16: { model: 'smollm2-135m-w8a16', options: { npu: 'host' } },
  int8: { model: 'smollm2-135m-int8', options: { npu: 'host' } },
  naive: { model: 'smollm2-135m-naive', options: { npu: 'host' } },
};

const results = new Map<Path | 'llama', Comparison>();
/** Predictions where the packed path differs although float is clear. */
let clearMistakes = 0;
let clearPredictions = 0;

function addWindow(comparison: Comparison, window: readonly number[], logits: Float32Array, float: Float32Array, vocab: number): void {
  for (let i = 0; i + 1 < window.length; i++) comparison.add(row(logits, i, vocab), row(float, i, vocab), window[i + 1]!);
}

function countClear(logits: Float32Array, float: Float32Array, vocab: number): void {
  for (let i = 0; i + 1 < SIZE; i++) {
    const expected = row(float, i, vocab);
    if (margin(expected) <= CLEAR_MARGIN) continue;
    clearPredictions++;
    if (argmax(row(logits, i, vocab)) !== argmax(expected)) clearMistakes++;
  }
}

const models: Model[] = [];

beforeAll(async () => {
  const open = async (directory: string, options: LoadOptions): Promise<Session> => {
    const model = await loadModel(directory, { ...options, contextSize: SIZE });
    models.push(model);
    return model.createSession();
  };
  const reference = await open(modelDirectory('smollm2-135m'), { reference: true });
  const sessions = new Map<Path, Session>();
  for (const path of ours) sessions.set(path, await open(modelDirectory(paths[path].model), paths[path].options));
  const oracle = await LlamaOracle.open(gguf, { contextSize: SIZE, kv: 'F16' });
  const { tokenizer, spec } = models[0]!;
  const { vocab } = spec.arch;
  for (const name of [...ours, 'llama'] as const) results.set(name, new Comparison());
  for (const window of await windows(tokenizer, 'alice29.txt', WINDOWS, SIZE)) {
    const theirs = oracle.logits(window); // in its own process, beside ours
    reference.reset();
    const float = await reference.prefill(window, { logits: 'all' });
    for (const [path, session] of sessions) {
      session.reset();
      const logits = await session.prefill(window, { logits: 'all' });
      addWindow(results.get(path)!, window, logits, float, vocab);
      if (path === 'packed') countClear(logits, float, vocab);
    }
    addWindow(results.get('llama')!, window, await theirs, float, vocab);
  }
  oracle.close();
  for (const [name, { perplexity, referencePerplexity, top1, kl, predictions }] of results) {
    const parts = [
      `perplexity ${perplexity.toFixed(2)}`,
      `float ${referencePerplexity.toFixed(2)}`,
      `top-1 ${(top1 * 100).toFixed(2)} %`,
      `KL ${kl.toFixed(5)}`,
    ];
    console.log(`${name.padEnd(8)} ${parts.join(', ')}, ${predictions} predictions`);
  }
}, 900_000);
afterAll(() => Promise.all(models.map((model) => model.dispose())));

const of = (name: Path | 'llama') => results.get(name)!;

describe('quality on alice29.txt', () => {
  it('float has the perplexity that is known of this model', () => {
    expect(of('packed').predictions).toBe(WINDOWS * (SIZE - 1));
    expect(of('packed').referencePerplexity).toBeGreaterThan(34.1);
    expect(of('packed').referencePerplexity).toBeLessThan(34.5);
  });

  it('the packed decode path is as close to float as node-llama-cpp is on the same file', () => {
    expect(of('llama').top1).toBeGreaterThan(0.94);
    expect(of('packed').kl).toBeLessThanOrEqual(1.1 * of('llama').kl);
    expect(1 - of('packed').top1).toBeLessThanOrEqual(1.1 * (1 - of('llama').top1));
  });

  it('the packed decode path has the token of float wherever float is clear', () => {
    expect(clearPredictions).toBeGreaterThan(2000);
    expect(clearMistakes).toBe(0);
  });

  it('a KV cache in 8 bits costs a KL of at most 0.002', () => {
    expect(of('int8 kv').kl).toBeLessThanOrEqual(0.002);
    expect(of('int8 kv').kl).toBeGreaterThan(0);
  });

  it('all linears w8a16: perplexity within 2 %, KL at most 0.012', () => {
    expect(of('w8a16').perplexity).toBeLessThanOrEqual(1.02 * of('w8a16').referencePerplexity);
    expect(of('w8a16').kl).toBeLessThanOrEqual(0.012);
  });

  it('the default precision: perplexity within 5 %, KL at most 0.04', () => {
    expect(of('default').perplexity).toBeLessThanOrEqual(1.05 * of('default').referencePerplexity);
    expect(of('default').kl).toBeLessThanOrEqual(0.04);
  });

  it('8-bit activations in all linears, rotated: perplexity within 2 %, KL at most 0.015, top-1 at least 91.5 %', () => {
    expect(of('int8').perplexity).toBeLessThanOrEqual(1.02 * of('int8').referencePerplexity);
    expect(of('int8').kl).toBeLessThanOrEqual(0.015);
    expect(of('int8').top1).toBeGreaterThanOrEqual(0.915);
  });

  it('naive static maximum w8a8 is bad, so that the bars above mean something', () => {
    expect(of('naive').perplexity).toBeGreaterThanOrEqual(3 * of('naive').referencePerplexity);
  });
});
