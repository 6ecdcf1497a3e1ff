/** Sessions on the real addon with a tiny model: seeds, stops, aborts, slow readers, several at once, worker threads, and the end of the process. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { buildPlan } from '../../lib/models/index.js';
import { loadModel, type Model } from '../../lib/runtime/model.js';
import type { Session } from '../../lib/runtime/session.js';
import type { TokenEvent } from '../../lib/runtime/stop-filter.js';
import { root as repository } from './helpers.js';
import { CONTEXT, makeTiny, openTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

const entry = pathToFileURL(join(repository, 'dist/index.js')).href;

let root: string;
let files: TinyModelFiles;
let model: Model;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-session-'));
  files = await makeTiny(root, 'model', DEFAULT_PRECISION, { seed: 3, storages: ['q4_1', 'q8_0'], tied: false });
  model = await loadModel(files.directory, { npu: 'host', contextSize: CONTEXT, threads: 2 });
});
afterAll(async () => {
  await model?.dispose();
  await rm(root, { recursive: true, force: true });
});

/** What a session of its own generates. */
async function fresh(
  prompt: readonly number[],
  maxTokens: number,
  options: { seed?: number; temperature?: number } = {},
): Promise<number[]> {
  const session = await model.createSession();
  const { tokens } = await session.generate(prompt, { maxTokens, ignoreEos: true, ...options }).result();
  await session.dispose();
  return tokens;
}

/** The session is usable, and what it says depends on its tokens alone. */
async function expectUsable(session: Session): Promise<void> {
  const history = [...session.tokens];
  const next = tinyTokens(77, 5);
  const { tokens } = await session.generate(next, { maxTokens: 6, ignoreEos: true }).result();
  expect(tokens).toHaveLength(6);
  session.truncate(history.length);
  const { tokens: again } = await session.generate(next, { maxTokens: 6, ignoreEos: true }).result();
  expect(again).toEqual(tokens);
}

describe('prompts in two pieces', () => {
  /** On the NPU's path a piece of one token runs as a decode step. */
  it.each<['host' | 'none', { reference?: boolean; kv?: 'int8' }, number]>([
    ['host', {}, 2],
    ['host', { kv: 'int8' }, 2],
    ['none', {}, 1],
    ['none', { reference: true }, 1],
  ])('have the logits of the whole, to the bit: npu %s, %j, pieces of %i tokens at least', async (npu, options, least) => {
    const loaded = await loadModel(files.directory, { npu, contextSize: 128, threads: 2, ...options });
    const tokens = tinyTokens(5, 61);
    const session = await loaded.createSession();
    const whole = await session.prefill(tokens);
    for (const cut of [least, 3, 7, 8, 13, 16, 40, tokens.length - 3, tokens.length - least]) {
      session.reset();
      await session.prefill(tokens.slice(0, cut));
      expect(await session.prefill(tokens.slice(cut))).toEqual(whole);
    }
    await loaded.dispose();
  });
});

describe('generation', () => {
  const prompt = tinyTokens(1, 20);

  it('the same seed gives the same tokens, in any session and with any number of threads', async () => {
    const sampled = { seed: 7, temperature: 6 };
    const first = await fresh(prompt, 24, sampled);
    expect(await fresh(prompt, 24, sampled)).toEqual(first);
    expect(await fresh(prompt, 24, { ...sampled, seed: 8 })).not.toEqual(first);
    expect(await fresh(prompt, 24)).not.toEqual(first);
    const single = await loadModel(files.directory, { npu: 'host', contextSize: 64, threads: 1 });
    expect((await single.generate(prompt, { maxTokens: 24, ignoreEos: true, ...sampled }).result()).tokens).toEqual(first);
    await single.dispose();
  });

  it('gives the probabilities that the logits have, with and without guesses', async () => {
    const session = await model.createSession();
    const logits = await session.prefill(prompt);
    session.reset();
    const most = logits.reduce((a, b) => Math.max(a, b));
    const norm = most + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
    const likeliest = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]! || a - b).slice(0, 3);
    const run = async (draftTokens: number) => {
      const events: TokenEvent[] = [];
      for await (const event of session.generate(prompt, { maxTokens: 12, ignoreEos: true, logprobs: 3, draftTokens })) events.push(event);
      session.reset();
      return events;
    };
    const events = await run(0);
    expect(events[0]!.alternatives!.map(({ token }) => token)).toEqual(likeliest);
    for (const { token, logprob } of events[0]!.alternatives!) expect(logprob).toBeCloseTo(logits[token]! - norm, 5);
    for (const { token, logprob, alternatives } of events) expect(alternatives![0]).toEqual({ token, logprob });
    expect(await run(4)).toEqual(events);
    await session.dispose();
  });

  it('ends before a stop string, keeps what was delivered and forgets the rest', async () => {
    const session = await model.createSession();
    const whole = await session.generate(prompt, { maxTokens: 60, ignoreEos: true, seed: 1, temperature: 6 }).result();
    // Two neighbouring characters from behind the tenth that are whole in the text.
    const stop = /[^\ufffd]{2}/u.exec(whole.text.slice(10))?.[0] ?? '';
    expect(stop).not.toBe('');
    session.reset();
    const stopped = await session.generate(prompt, { maxTokens: 60, ignoreEos: true, seed: 1, temperature: 6, stop }).result();
    expect(stopped.finishReason).toBe('stop');
    expect(stopped.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(stopped.tokens.length).toBeLessThan(60);
    expect(stopped.tokens).toEqual(whole.tokens.slice(0, stopped.tokens.length));
    expect(session.tokens).toEqual([...prompt, ...stopped.tokens]);
    await expectUsable(session);
    await session.dispose();
  });

  it('a slow reader holds the native loop back and loses nothing', async () => {
    const engine = await openTiny(files, buildPlan(files.spec, { mode: 'npu', contextSize: 256 }));
    await engine.prefill(Uint32Array.from(prompt), 'last', 'npu');
    const delivered: number[] = [];
    const greedy = {
      temperature: 0,
      topK: 0,
      topP: 1,
      minP: 0,
      repetitionPenalty: 1,
      repetitionWindow: 0,
      seed: 0,
      stopTokens: [],
      runAhead: 4,
      draftTokens: 0,
    };
    const run = engine.generate({ ...greedy, maxTokens: 40 }, (token) => delivered.push(token));
    await sleep(100);
    expect(delivered).toHaveLength(4);
    engine.acknowledge(3);
    await sleep(100);
    expect(delivered).toHaveLength(7);
    engine.stop();
    expect(await run).toEqual({ reason: 'aborted', tokens: 7 });
    expect(engine.length()).toBe(prompt.length + 7);
    await engine.dispose();

    const session = await model.createSession();
    const slow: number[] = [];
    for await (const { token } of session.generate(prompt, { maxTokens: 30, ignoreEos: true })) {
      slow.push(token);
      if (slow.length % 10 === 0) await sleep(20);
    }
    expect(slow).toEqual(await fresh(prompt, 30));
    await session.dispose();
  });

  it.each([
    ['greedy', {}],
    ['sampled', { temperature: 0.7, topK: 20, seed: 5 }],
    ['penalised', { repetitionPenalty: 1.3 }],
  ])('gives the same tokens with guesses: %s', async (how, options) => {
    const repeated = [...prompt, ...tinyTokens(14, 9), ...prompt, ...tinyTokens(14, 9), ...prompt];
    const ask = async (draftTokens: number) => {
      const session = await model.createSession();
      const all = { ...options, draftTokens, ignoreEos: true };
      const first = await session.generate(repeated, { ...all, maxTokens: 60 }).result();
      const second = await session.generate(prompt, { ...all, maxTokens: 33 }).result();
      const kept = [...session.tokens];
      await session.dispose();
      return { tokens: [first.tokens, second.tokens, kept], decode: [first.timings.decode!, second.timings.decode!] };
    };
    const plain = await ask(0);
    for (const draftTokens of [1, 4, 7]) {
      const { tokens, decode } = await ask(draftTokens);
      expect(tokens).toEqual(plain.tokens);
      for (const one of decode) expect(one.acceptedTokens).toBeLessThanOrEqual(one.draftedTokens);
      if (how === 'greedy') expect(decode[0]!.acceptedTokens).toBeGreaterThan(0);
    }
    expect(plain.decode.map((one) => one.draftedTokens)).toEqual([0, 0]);
  });

  // The portable tier multiplies one row of low-bit weights by tables and several by codes, whose sums differ in their last bits.
  it('gives the same tokens with guesses on low-bit weights, whichever kernels several rows would have', async () => {
    const low = await makeTiny(root, 'low', null, { seed: 3, tied: false }, { cpuWeights: 'w2g64', lmHead: 'w3g32' });
    const opened = await loadModel(low.directory, { npu: 'none', contextSize: CONTEXT, threads: 1 });
    const repeated = [...prompt, ...prompt, ...prompt];
    const ask = async (draftTokens: number) => {
      process.env.LUTRA_FORCE_KERNEL = 'portable';
      const session = await opened.createSession().finally(() => {
        delete process.env.LUTRA_FORCE_KERNEL;
      });
      const { tokens, timings } = await session
        .generate(repeated, { maxTokens: 120, ignoreEos: true, draftTokens, seed: 3, temperature: 1 })
        .result();
      await session.dispose();
      return { tokens, drafted: timings.decode?.draftedTokens };
    };
    const plain = await ask(0);
    const guessed = await ask(7);
    expect(guessed.tokens).toEqual(plain.tokens);
    expect(guessed.drafted).toBeGreaterThan(20);
    await opened.dispose();
  });

  it('fills the context with guesses as without', async () => {
    const small = await loadModel(files.directory, { npu: 'host', contextSize: 32, threads: 1 });
    const ask = async (draftTokens: number) => {
      const session = await small.createSession();
      const result = await session.generate(prompt, { ignoreEos: true, draftTokens }).result();
      await session.dispose();
      return [result.finishReason, result.tokens];
    };
    expect(await ask(7)).toEqual(await ask(0));
    await small.dispose();
  });

  it('runs two sessions at once, each as if alone, and one session one call at a time', async () => {
    const prompts = [tinyTokens(11, 300), tinyTokens(12, 17)];
    const alone = [await fresh(prompts[0] ?? [], 200), await fresh(prompts[1] ?? [], 200)];
    expect(await Promise.all(prompts.map((p) => fresh(p, 200)))).toEqual(alone);
    const session = await model.createSession();
    const first = session.prefill(tinyTokens(13, 100), { logits: 'none' });
    await expect(session.step(5)).rejects.toMatchObject({ code: 'LUTRA_BUSY' });
    expect(() => session.truncate(0)).toThrow(expect.objectContaining({ code: 'LUTRA_BUSY' }));
    await first;
    await expectUsable(session);
    await session.dispose();
  });

  it('fills the context, says so, and goes on after a truncation', async () => {
    const small = await loadModel(files.directory, { npu: 'host', contextSize: 32, threads: 1 });
    const session = await small.createSession();
    const result = await session.generate(prompt, { ignoreEos: true }).result();
    expect(result.finishReason).toBe('context');
    expect(result.tokens).toHaveLength(13); // the last one needs no place
    expect(session.tokens).toHaveLength(33);
    await expect(session.prefill([5])).rejects.toMatchObject({ code: 'LUTRA_CONTEXT_FULL' });
    session.truncate(20);
    await expectUsable(session);
    await small.dispose();
  });
});

describe('abort', () => {
  it('in the middle of a prefill: the session is as it was before', async () => {
    const session = await model.createSession();
    await session.prefill(tinyTokens(21, 40), { logits: 'none' });
    const before = [...session.tokens];
    const long = tinyTokens(22, 8000);
    const abort = new AbortController();
    const start = performance.now();
    setTimeout(() => abort.abort('enough'), 20);
    const failed = await session.prefill(long, { signal: abort.signal }).then(
      () => undefined,
      (error: unknown) => error,
    );
    const ms = performance.now() - start;
    expect(failed).toMatchObject({ code: 'LUTRA_ABORTED', cause: 'enough' });
    expect(ms).toBeGreaterThan(15);
    expect(ms).toBeLessThan(500);
    expect(session.tokens).toEqual(before);
    await expectUsable(session);
    await session.dispose();
  });

  it('in the middle of a generation: what was delivered stays, the rest is forgotten', async () => {
    const session = await model.createSession();
    const prompt = tinyTokens(23, 10);
    const abort = new AbortController();
    const seen: number[] = [];
    const generation = session.generate(prompt, { maxTokens: 5000, ignoreEos: true, signal: abort.signal });
    const loop = (async () => {
      for await (const { token } of generation) if (seen.push(token) === 12) abort.abort();
    })();
    await expect(loop).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
    expect(seen).toHaveLength(12);
    expect(session.tokens).toEqual([...prompt, ...seen]);
    expect(seen).toEqual(await fresh(prompt, 12));
    expect((await generation.result()).finishReason).toBe('aborted');
    await expectUsable(session);
    await session.dispose();
  });

  it('leaving the loop early stops the native one; disposal does too, in any phase', async () => {
    const session = await model.createSession();
    for await (const _ of session.generate(tinyTokens(24, 10), { ignoreEos: true })) break;
    expect(session.tokens).toHaveLength(11);
    await expectUsable(session);
    await session.dispose();
    await session.dispose();
    await expect(session.prefill([5])).rejects.toMatchObject({ code: 'LUTRA_DISPOSED' });
    const prefilling = await model.createSession();
    const cut = prefilling.prefill(tinyTokens(25, 8000));
    const outcome = expect(cut).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
    await sleep(10);
    await prefilling.dispose();
    await outcome;
  });
});

describe('worker threads', () => {
  /** Runs code with `lutra` and `directory` in scope inside a Worker; resolves to its first message. */
  function inWorker(code: string): { worker: Worker; message: Promise<unknown> } {
    const source = `const { parentPort } = require('node:worker_threads');
      (async () => {
        const lutra = await import(${JSON.stringify(entry)});
        const model = await lutra.loadModel(${JSON.stringify(files.directory)}, { npu: 'host', contextSize: ${CONTEXT}, threads: 2 });
        ${code}
      })().catch((error) => parentPort.postMessage({ error: String(error) }));`;
    const worker = new Worker(source, { eval: true });
    const message = new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    return { worker, message };
  }

  it('loads and generates inside a Worker, which then ends by itself', async () => {
    const prompt = tinyTokens(31, 30);
    const { worker, message } =
      inWorker(`const { tokens } = await model.generate(${JSON.stringify(prompt)}, { maxTokens: 20, ignoreEos: true }).result();
      parentPort.postMessage(tokens);`);
    const ended = new Promise((resolve) => worker.once('exit', resolve));
    expect(await message).toEqual(await fresh(prompt, 20));
    expect(await ended).toBe(0);
  });

  it.each([
    [
      'a generation',
      `for await (const _ of session.generate([5, 6, 7], { ignoreEos: true })) if (++seen === 9) parentPort.postMessage('under way');`,
    ],
    [
      'a generation that nobody reads',
      `setInterval(() => {}, 1000); await session.generate([5, 6, 7], { ignoreEos: true })[Symbol.asyncIterator]().next(); parentPort.postMessage('under way');`,
    ],
    ['a prefill', `setTimeout(() => parentPort.postMessage('under way'), 5); await session.prefill(new Array(8000).fill(9));`],
    ['loading', `parentPort.postMessage('under way'); for (;;) await model.createSession();`],
    [
      'a disposal',
      `parentPort.postMessage('under way');
       for (;;) { const one = await model.createSession(); one.prefill(new Array(8000).fill(9)).catch(() => {}); await one.dispose(); }`,
    ],
  ])('terminated in the middle of %s, others go on', async (_what, code) => {
    const here = await model.createSession();
    const prompt = tinyTokens(32, 30);
    const want = await fresh(prompt, 20);
    for (let round = 0; round < 3; round++) {
      const { worker, message } = inWorker(`let seen = 0; const session = await model.createSession(); ${code}`);
      expect(await message).toBe('under way');
      const running = here.generate(prompt, { maxTokens: 20, ignoreEos: true }).result();
      expect(await worker.terminate()).toBe(1);
      expect((await running).tokens).toEqual(want);
      here.reset();
    }
    await here.dispose();
  });
});

describe('the end of the process', () => {
  /** Runs code in a process of its own; it has 20 seconds. */
  function inProcess(code: string): Promise<{ code: number | string | null; stdout: string; stderr: string }> {
    const source = `import * as lutra from ${JSON.stringify(entry)};
      const model = await lutra.loadModel(${JSON.stringify(files.directory)}, { npu: 'host', contextSize: ${CONTEXT}, threads: 2 });
      const session = await model.createSession();
      ${code}
      console.log('last line');`;
    return new Promise((resolve) => {
      execFile(process.execPath, ['--input-type=module', '-e', source], { timeout: 20_000 }, (error, stdout, stderr) => {
        resolve({ code: error ? (error.code ?? error.signal ?? null) : 0, stdout, stderr });
      });
    });
  }

  it.each([
    ['after a generation', `await session.generate([5, 6, 7], { maxTokens: 5 }).result();`],
    ['with a generation that nobody reads on', `await session.generate([5, 6, 7], { ignoreEos: true })[Symbol.asyncIterator]().next();`],
    ['after an error', `await session.prefill(new Array(9000).fill(5)).catch((error) => console.log(error.code));`],
    ['inside exit handlers', `process.on('exit', () => console.log(session.timings().prefillTokens)); await session.prefill([5, 6]);`],
  ])('comes by itself %s, though nobody disposed', async (_what, code) => {
    expect(await inProcess(code)).toEqual({ code: 0, stdout: expect.stringContaining('last line'), stderr: '' });
  });

  it('process.exit in the middle of native work is clean', async () => {
    const { code, stderr } = await inProcess(
      `session.prefill(new Array(8000).fill(9)); setTimeout(() => process.exit(7), 10); await new Promise(() => {});`,
    );
    expect({ code, stderr }).toEqual({ code: 7, stderr: '' });
  });
});
