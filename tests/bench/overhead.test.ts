/** Load time and overhead of the real model: a benchmark with bars (`npm run bench:overhead`), not a part of scripts/test, because other work on the machine decides. */
import { describe, expect, it } from 'vitest';
import { loadModel } from '../../lib/runtime/model.js';
import { lutraJson, modelDirectory, type RunJson } from '../e2e/helpers.js';

const CONTEXT = 1024;
const LONG = 'The quick brown fox jumps over the lazy dog. '.repeat(40);
const directory = modelDirectory('smollm2-135m');

const run = (npu: 'host' | 'none', ...flags: string[]) =>
  lutraJson<RunJson>([
    ...['run', directory, '--prompt', LONG, '--raw', '--max-tokens', '64', '--ignore-eos'],
    ...['--npu', npu, '--context', String(CONTEXT), '--threads', '1', ...flags],
  ]);

async function best<T>(attempt: () => Promise<T>, cost: (result: T) => number): Promise<T> {
  const results = [await attempt(), await attempt(), await attempt()];
  return results.reduce((least, result) => (cost(result) < cost(least) ? result : least));
}

describe('load', () => {
  it.each(['host', 'none'] as const)('is mapped with its first plan ready in less than half a second with npu %s', async (npu) => {
    const once = async () => {
      const start = performance.now();
      const model = await loadModel(directory, { npu, threads: 1 });
      const session = await model.createSession();
      const ms = performance.now() - start;
      const { loadMs } = session.info();
      await model.dispose();
      return { ms, loadMs };
    };
    const { ms, loadMs } = await best(once, (result) => result.ms);
    console.log(
      `npu ${npu}: loaded in ${ms.toFixed(0)} ms (map ${loadMs.map.toFixed(0)}, plan ${loadMs.plan.toFixed(0)}, graphs ${loadMs.graphs.toFixed(0)})`,
    );
    expect(ms).toBeLessThan(500);
  });
});

describe('overhead', () => {
  it('is at most 30 µs a graph call and 50 µs a decoded token', async () => {
    const cost = ({ timings: { prefill, decode } }: RunJson) => ({
      graphCall: (1000 * (prefill.prefillMs - prefill.npuMs - prefill.prefillCpuMs - prefill.shadowMs)) / prefill.graphCalls,
      token: (1000 * (decode.decodeMs - decode.decodeCpuMs)) / decode.decodeTokens,
    });
    const results = [await run('host', '--profile'), await run('host', '--profile'), await run('host', '--profile')].map(cost);
    const graphCall = Math.min(...results.map((result) => result.graphCall));
    const token = Math.min(...results.map((result) => result.token));
    console.log(`overhead ${graphCall.toFixed(1)} µs a graph call, ${token.toFixed(1)} µs a decoded token`);
    expect(graphCall).toBeLessThanOrEqual(30);
    expect(token).toBeLessThanOrEqual(50);
  });
});
