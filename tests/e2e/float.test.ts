/** The float path against node-llama-cpp on the same values: the logits are the same numbers, and so are the words. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { argmax } from '../../lib/runtime/evaluate.js';
import { loadModel, type Model } from '../../lib/runtime/model.js';
import type { Session } from '../../lib/runtime/session.js';
import { LlamaOracle } from '../oracle/llama.js';
import { f32Gguf, modelDirectory, nmse, PROMPTS, row, windows } from './helpers.js';

const NEW_TOKENS = 64;

let model: Model;
let session: Session;
let oracle: LlamaOracle;

beforeAll(async () => {
  model = await loadModel(modelDirectory('smollm2-135m'), { reference: true, contextSize: 512 });
  session = await model.createSession();
  oracle = await LlamaOracle.open(await f32Gguf(), { contextSize: 512, kv: 'F32' });
});
afterAll(async () => {
  oracle?.close();
  await model?.dispose();
});

describe('the float path', () => {
  it('gives the logits of the oracle: NMSE at most 1e-9 over 224 positions', async () => {
    const [window = []] = await windows(model.tokenizer, 'alice29.txt', 16, 224);
    session.reset();
    const [ours, theirs] = await Promise.all([session.prefill(window, { logits: 'all' }), oracle.logits(window)]);
    const error = nmse(ours, theirs);
    const vocab = model.spec.arch.vocab;
    const agreed = window.filter((_, i) => argmax(row(ours, i, vocab)) === argmax(row(theirs, i, vocab))).length;
    console.log(`float path: NMSE ${error.toExponential(2)} over ${window.length} positions, ${agreed} equal tokens`);
    expect(window.length).toBeGreaterThanOrEqual(200);
    expect(error).toBeLessThanOrEqual(1e-9);
    expect(agreed).toBe(window.length);
  });

  it.each(PROMPTS)('continues "%s" with the same 64 tokens', async (prompt) => {
    const tokens = model.tokenizer.encode(prompt);
    session.reset();
    const [ours, theirs] = await Promise.all([
      session.generate(tokens, { maxTokens: NEW_TOKENS, ignoreEos: true }).result(),
      oracle.greedy(tokens, NEW_TOKENS),
    ]);
    expect(theirs).toHaveLength(NEW_TOKENS);
    expect(ours.tokens).toEqual(theirs);
  });

  it('computes the same whether the prompt comes at once, in pieces, or token by token', async () => {
    const [window = []] = await windows(model.tokenizer, 'alice29.txt', 16, 160);
    session.reset();
    const whole = await session.prefill(window);
    session.reset();
    await session.prefill(window.slice(0, 131), { logits: 'none' });
    const pieces = await session.prefill(window.slice(131));
    session.reset();
    let stepped = new Float32Array();
    for (const token of window) stepped = new Float32Array(await session.step(token));
    expect(nmse(pieces, whole)).toBeLessThanOrEqual(1e-10);
    expect(nmse(stepped, whole)).toBeLessThanOrEqual(1e-10);
  });
});
