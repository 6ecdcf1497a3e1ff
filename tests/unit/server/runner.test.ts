/** A model that is faster than JavaScript does not keep the event loop to itself. */
import { expect, it } from 'vitest';
import { abortError, type GenerateOptions, Generation } from '../../../lib/runtime/generate.js';
import type { Model } from '../../../lib/runtime/model.js';
import type { TokenEvent } from '../../../lib/runtime/stop-filter.js';
import { Queue } from '../../../lib/server/queue.js';
import { Runner } from '../../../lib/server/runner.js';
import type { SessionPool } from '../../../lib/server/sessions.js';

/** Tokens without end, each of which is there when it is asked for. */
async function* endless(signal: AbortSignal | undefined): AsyncGenerator<TokenEvent, void> {
  while (!signal?.aborted) yield { token: 1, text: 'x' };
  throw abortError(signal);
}

it('an answer without end is ended by a timer', async () => {
  const session = { generate: (_: unknown, { signal }: GenerateOptions) => new Generation(endless(signal), () => undefined) };
  const given: unknown[] = [];
  const pool = { take: async () => ({ session, cached: 0 }), giveBack: (back: unknown) => given.push(back) };
  const queue = new Queue(1);
  const runner = new Runner({ contextSize: 10 } as Model, queue, pool as unknown as SessionPool, []);
  const abort = new AbortController();
  let tokens = 0;
  const run = runner.run({ ids: [1], param: 'prompt', options: {}, signal: abort.signal, since: 0 }, () => ++tokens > 0);
  setTimeout(() => abort.abort(), 20);
  await expect(run).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
  expect(tokens).toBeGreaterThan(0);
  expect([queue.running, given]).toEqual([0, [session]]);
});
