/** The whole model on Qualcomm's x86-64 HTP runtime: it answers, it agrees with the host NPU, and its compiled graphs are kept. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Comparison } from '../../lib/runtime/evaluate.js';
import { loadModel } from '../../lib/runtime/model.js';
import { lutraJson, modelDirectory, qnnLibrary, type RunJson, row, SOC, windows } from './helpers.js';

/** 90 tokens or more with the template, and still one chunk: a chunk takes the emulator 15 seconds. */
const QUESTION = `A friend of mine wants to plant a small garden behind her house. The soil is heavy clay, it rains a lot in spring, and the summers
are dry. She has about two hours a week for it and would like to eat what she grows. Which three vegetables should she start with? Answer in a few
short sentences, please.`;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-contexts-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** Mean KL between the two libraries over a window of 128 tokens. */
async function agreement(model: 'smollm2-135m' | 'smollm2-135m-w8a16'): Promise<Comparison> {
  const path = modelDirectory(model);
  const host = await loadModel(path, { npu: 'host', contextSize: 512 });
  const htp = await loadModel(path, { npu: { library: qnnLibrary, soc: SOC }, contextSize: 512, cache: directory });
  try {
    const [window = []] = await windows(host.tokenizer, 'alice29.txt', 16, 129);
    const [hostSession, htpSession] = [await host.createSession(), await htp.createSession()];
    const expected = await hostSession.prefill(window.slice(0, 128), { logits: 'all' });
    const found = await htpSession.prefill(window.slice(0, 128), { logits: 'all' });
    const comparison = new Comparison();
    const { vocab } = host.spec.arch;
    for (let i = 0; i < 128; i++) comparison.add(row(found, i, vocab), row(expected, i, vocab), window[i + 1]!);
    console.log(`${model}: KL between the libraries ${comparison.kl.toFixed(5)}, equal tokens ${(comparison.top1 * 100).toFixed(1)} %`);
    return comparison;
  } finally {
    await htp.dispose();
    await host.dispose();
  }
}

describe("Qualcomm's runtime, SoC 57", () => {
  const answer = () =>
    lutraJson<RunJson>([
      ...['run', modelDirectory('smollm2-135m'), '--prompt', QUESTION, '--max-tokens', '24', '--temperature', '0'],
      ...['--npu', qnnLibrary, '--soc', String(SOC), '--context', '512', '--cache', directory],
    ]);

  it('answers a chat prompt, and the second start loads the compiled graphs and says the same', async () => {
    const first = await answer();
    expect(first.prefill.tokens).toBeGreaterThanOrEqual(90);
    expect(first.prefill.tokens).toBeLessThanOrEqual(128);
    expect(first.backend?.name).toMatch(/HTP/i);
    expect(first.placement.context).toBe('built');
    expect(first.text.trim().length).toBeGreaterThan(20);
    expect(first.text).toMatch(/soil|vegetable|plant|garden|tomato/i);
    expect((await readdir(directory)).filter((name) => name.endsWith('.qnnctx'))).toHaveLength(1);
    const second = await answer();
    expect(second.placement.context).toBe('loaded');
    expect(second.tokens).toEqual(first.tokens);
    console.log(
      `graphs: built in ${first.loadMs.graphs.toFixed(0)} ms, loaded in ${second.loadMs.graphs.toFixed(0)} ms; answer: ${first.text}`,
    );
  });

  it('agrees with the host NPU at the default precision: KL at most 0.02 over 128 positions', async () => {
    expect((await agreement('smollm2-135m')).kl).toBeLessThanOrEqual(0.02);
  });

  it('agrees with the host NPU at w8a16: KL at most 0.005 over 128 positions', async () => {
    expect((await agreement('smollm2-135m-w8a16')).kl).toBeLessThanOrEqual(0.005);
  });
});
