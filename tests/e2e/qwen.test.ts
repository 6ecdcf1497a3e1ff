/**
 * A Qwen2 model with the statistics of a real one: SmolLM2 written as a Qwen2 checkpoint (scripts/lib/qwen2.mjs), with biases of 0, which is the same model as the Llama import of
 * the GGUF file, and with random ones, whose logits transformers has computed (tests/golden/smollm2-qwen2/make.py).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { argmax, contrast } from '../../lib/runtime/evaluate.js';
import { type LoadOptions, loadModel, type Model } from '../../lib/runtime/model.js';
import { modelDirectory, nmse, root, row, windows } from './helpers.js';

interface Golden {
  text: string;
  tokens: number[];
  /** The most likely token behind each. */
  next: number[];
  /** Logits of every token that `stride` divides. */
  stride: number;
  logits: number[][];
}

type Name = Parameters<typeof modelDirectory>[0];

const open: Model[] = [];
afterAll(async () => {
  for (const model of open) await model.dispose();
});

async function load(name: Name, options: LoadOptions): Promise<Model> {
  const model = await loadModel(modelDirectory(name), { contextSize: 512, ...options });
  open.push(model);
  return model;
}

async function logitsOf(model: Model, tokens: readonly number[]): Promise<Float32Array> {
  const session = await model.createSession();
  return Float32Array.from(await session.prefill([...tokens], { logits: 'all' }));
}

describe('without biases', () => {
  it('is the Llama import: logits, NPU weights, ranges and tokens', async () => {
    const [llama, qwen] = [await load('smollm2-135m', { reference: true }), await load('smollm2-135m-qwen2', { reference: true })];
    const [window = []] = await windows(llama.tokenizer, 'alice29.txt', 16, 160);
    const [want, got] = [await logitsOf(llama, window), await logitsOf(qwen, window)];
    const error = nmse(got, want);
    console.log(`SmolLM2 as Qwen2: NMSE ${error.toExponential(2)} over ${window.length} positions`);
    expect(error).toBeLessThanOrEqual(1e-10);
    expect(got.every((value, i) => Math.abs(value - (want[i] ?? Number.NaN)) <= 1e-5 * Math.max(1, Math.abs(value)))).toBe(true);
    expect(qwen.spec.arch).toEqual({ ...llama.spec.arch, family: 'qwen2', qkvBias: true });
    expect(qwen.spec.hashes.npu).toEqual(llama.spec.hashes.npu);
    expect(qwen.spec.tokens).toEqual(llama.spec.tokens);
    for (const [name, { input, output, ...rest }] of Object.entries(llama.spec.linears)) {
      const { input: ownInput, output: ownOutput, ...ownRest } = qwen.spec.linears[name] ?? {};
      expect(ownRest, name).toEqual(rest);
      // Calibrated with packed weights in one case, with plain ones in the other.
      for (const [own, other] of [
        [ownInput, input],
        [ownOutput, output],
      ] as const) {
        expect(own?.dtype, name).toBe(other?.dtype);
        expect(Math.abs((own?.scale ?? 0) / (other?.scale ?? 1) - 1), name).toBeLessThan(1e-4);
      }
    }
  });
});

describe('with biases', () => {
  let golden: Golden;
  let model: Model;
  beforeAll(async () => {
    golden = JSON.parse(await readFile(join(root, 'tests/golden/smollm2-qwen2/golden.json'), 'utf8')) as Golden;
    model = await load('smollm2-135m-qwen2-biased', { reference: true });
  });

  it('has the tokens and the logits of transformers', async () => {
    expect(model.tokenizer.encode(golden.text)).toEqual(golden.tokens);
    const logits = await logitsOf(model, golden.tokens);
    const { vocab } = model.spec.arch;
    const rows = golden.tokens.map((_, i) => row(logits, i, vocab));
    const sample = rows.flatMap((values) => [...values].filter((_, id) => id % golden.stride === 0));
    const error = nmse(Float32Array.from(sample), Float32Array.from(golden.logits.flat()));
    console.log(`SmolLM2 as Qwen2 with biases: NMSE ${error.toExponential(2)} against transformers`);
    expect(error).toBeLessThan(1e-8);
    expect(rows.map(argmax)).toEqual(golden.next);
    // The biases matter.
    const without = await logitsOf(await load('smollm2-135m-qwen2', { reference: true }), golden.tokens);
    expect(nmse(without, logits)).toBeGreaterThan(1e-4);
  });

  it('is as near to float on the NPU as the Llama model is', async () => {
    const of = async (name: Name): Promise<number> => {
      const [float, npu] = [await load(name, { reference: true }), await load(name, { npu: 'host' })];
      const found = await windows(float.tokenizer, 'alice29.txt', 16, 128);
      const { vocab } = float.spec.arch;
      let sum = 0;
      const chosen = found.slice(0, 2);
      for (const window of chosen) {
        const [want, got] = [await logitsOf(float, window), await logitsOf(npu, window)];
        for (let i = 0; i < window.length; i++) sum += contrast(row(got, i, vocab), row(want, i, vocab), 0).divergence;
      }
      return sum / chosen.flat().length;
    };
    const [llama, qwen] = [await of('smollm2-135m'), await of('smollm2-135m-qwen2-biased')];
    console.log(`default precision, mean KL to float: SmolLM2 ${llama.toFixed(4)}, as Qwen2 with biases ${qwen.toFixed(4)}`);
    expect(qwen).toBeLessThan(1.5 * llama);
  });
});
