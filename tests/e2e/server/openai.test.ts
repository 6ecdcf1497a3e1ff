/** The official OpenAI client against the server. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ask, CONTEXT, MESSAGES, MODEL, type Served, serveTiny } from './setup.js';

let served: Served;
beforeAll(async () => {
  served = await serveTiny();
});
afterAll(async () => {
  expect(served.failures).toEqual([]);
  await served?.stop();
});

const asked = { model: MODEL, messages: MESSAGES, max_tokens: 12, temperature: 0 } as const;

describe('chat', () => {
  it('answers whole and in pieces with the same text and the same usage', async () => {
    const { client } = served;
    const whole = await client.chat.completions.create(asked);
    const [choice] = whole.choices;
    expect(choice).toMatchObject({ index: 0, message: { role: 'assistant' } });
    expect(whole).toMatchObject({ object: 'chat.completion', model: MODEL });
    expect(whole.usage?.total_tokens).toBe((whole.usage?.prompt_tokens ?? 0) + (whole.usage?.completion_tokens ?? 0));

    let text = '';
    let finish: string | null = null;
    const usages: unknown[] = [];
    const ids = new Set<string>();
    for await (const chunk of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
      ids.add(chunk.id);
      usages.push(chunk.usage);
      text += chunk.choices[0]?.delta.content ?? '';
      finish = chunk.choices[0]?.finish_reason ?? finish;
    }
    expect({ text, finish }).toEqual({ text: choice?.message.content, finish: choice?.finish_reason });
    expect(ids.size).toBe(1);
    expect(usages.pop()).toMatchObject({
      prompt_tokens: whole.usage?.prompt_tokens,
      completion_tokens: whole.usage?.completion_tokens,
      prompt_tokens_details: { cached_tokens: (whole.usage?.prompt_tokens ?? 0) - 2 },
    });
    expect(new Set(usages)).toEqual(new Set([null]));
  });

  it('the same seed gives the same text, another one another', async () => {
    const { client } = served;
    const say = async (seed: number) => {
      const { choices } = await client.chat.completions.create({ ...asked, temperature: 2, max_tokens: 40, seed });
      return choices[0]?.message.content;
    };
    const first = await say(1);
    expect(await say(1)).toBe(first);
    expect(await say(2)).not.toBe(first);
  });

  it('refuses a prompt that is longer than the context, and says which field', async () => {
    const messages = [{ role: 'user' as const, content: 'x'.repeat(CONTEXT + 1) }];
    await expect(served.client.chat.completions.create({ model: MODEL, messages })).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
      param: 'messages',
      type: 'invalid_request_error',
    });
  });
});

describe('completions', () => {
  it('continues a text and a list of token ids, whole and in pieces', async () => {
    const { client } = served;
    const request = { model: MODEL, prompt: 'hello world', max_tokens: 8, temperature: 0 } as const;
    const whole = await client.completions.create(request);
    expect(whole).toMatchObject({ object: 'text_completion', choices: [{ index: 0, logprobs: null }] });
    let text = '';
    for await (const chunk of await client.completions.create({ ...request, stream: true })) text += chunk.choices[0]?.text ?? '';
    expect(text).toBe(whole.choices[0]?.text);
    const ids = served.server.model.tokenizer.encode('hello world');
    expect((await client.completions.create({ ...request, prompt: ids })).choices[0]?.text).toBe(text);
  });
});

describe('the rest', () => {
  it('lists its model', async () => {
    const { client } = served;
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual([MODEL]);
    expect(await client.models.retrieve(MODEL)).toMatchObject({ id: MODEL, object: 'model' });
    await expect(client.models.retrieve('other')).rejects.toMatchObject({ status: 404 });
    await expect(client.chat.completions.create({ ...asked, model: 'other' })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
  });

  it('says that it is well', async () => {
    const { status, text } = await ask(served.server, 'GET', '/health');
    expect([status, JSON.parse(text)]).toEqual([200, { status: 'ok', running: 0, waiting: 0, sessions: expect.any(Number) }]);
  });
});
