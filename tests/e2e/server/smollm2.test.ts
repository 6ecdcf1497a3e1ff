/** A real model behind the server: it knows what it knows, and the second turn of a conversation computes only what is new, with the same answer. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { modelDirectory } from '../helpers.js';
import { type Served, serveDirectory } from './setup.js';

const MODEL = 'smollm2-135m';

let served: Served;
beforeAll(async () => {
  served = await serveDirectory(modelDirectory(MODEL), { model: { contextSize: 1024, threads: 2 } });
});
afterAll(async () => {
  expect(served.failures).toEqual([]);
  await served.stop();
});

const ask = (content: string) => ({ role: 'user' as const, content });

it('answers, and goes on from what was computed before', async () => {
  const { client } = served;
  const say = (messages: Parameters<typeof client.chat.completions.create>[0]['messages']) =>
    client.chat.completions.create({ model: MODEL, messages, temperature: 0, max_tokens: 24 });
  const first = [ask('What is the capital of France?')];
  const { choices } = await say(first);
  expect(choices[0]?.message.content).toContain('Paris');

  const second = [...first, choices[0]!.message, ask('And of Italy?')];
  const continued = await say(second);
  const cached = continued.usage?.prompt_tokens_details?.cached_tokens ?? 0;
  expect(cached).toBeGreaterThan(20);

  const alone = await served.server.model.createSession();
  const { text } = await alone
    .generate(
      second.map(({ role, content }) => ({ role, content: content ?? '' })),
      { maxTokens: 24 },
    )
    .result();
  expect(continued.choices[0]?.message.content).toBe(text);
});
