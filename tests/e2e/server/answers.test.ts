/** Answers that are known beforehand: stop strings, ends, probabilities and calls of functions, on a model whose weights are a script. */
import { rm } from 'node:fs/promises';
import type OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeScripted } from './script-model.js';
import { ask, type Served, serveDirectory, temporary } from './setup.js';

/** Ends with the character that chooses the script: T with functions, R after a result, A otherwise. */
const TEMPLATE =
  "{% for m in messages %}{{ '<|im_start|>' + m.role + ':' + m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name + (c.function.arguments | tojson) }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}" +
  "{% if messages[-1].role == 'tool' %}R{% elif tools %}{{ '<tool_call>' + (tools | tojson) }}T{% else %}A{% endif %}";

const SCRIPTS = {
  A: ['An otter', ' is a', ' semi-aquatic', ' mammal', ' indeed.'],
  T: [
    'Let me see.',
    '\n<tool',
    '_call>\n{"name": "get_weather",',
    ' "arguments": {"city":',
    ' "Paris"}}\n</tool_call>',
    '\n<tool_call>{"name": "get_time", "arguments": {}}</tool_call>',
  ],
  R: ['It is ', '20 degrees', ' in Paris!'],
};

const weather = {
  type: 'function' as const,
  function: { name: 'get_weather', description: 'The weather.', parameters: { type: 'object', properties: { city: { type: 'string' } } } },
};
const time = { type: 'function' as const, function: { name: 'get_time' } };

let root: string;
let served: Served;
let client: OpenAI;
beforeAll(async () => {
  root = await temporary();
  served = await serveDirectory(await makeScripted(root, 'script', SCRIPTS, TEMPLATE), { model: { npu: 'none', contextSize: 1024 } });
  client = served.client;
});
afterAll(async () => {
  expect(served.failures).toEqual([]);
  await served.stop();
  await rm(root, { recursive: true, force: true });
});

const messages = [{ role: 'user' as const, content: 'What is an otter?' }];
const asked = { model: 'script', messages, temperature: 0 } as const;
const whole = SCRIPTS.A.join('');

interface Streamed {
  content: string;
  finish: string | null;
  calls: { id?: string; name?: string; arguments: string }[];
  logprobs: number;
}

async function stream(request: Omit<OpenAI.ChatCompletionCreateParamsStreaming, 'model' | 'stream'>): Promise<Streamed> {
  const out: Streamed = { content: '', finish: null, calls: [], logprobs: 0 };
  for await (const { choices } of await client.chat.completions.create({ model: 'script', temperature: 0, ...request, stream: true })) {
    const [choice] = choices;
    out.content += choice?.delta.content ?? '';
    out.finish = choice?.finish_reason ?? out.finish;
    out.logprobs += choice?.logprobs?.content?.length ?? 0;
    for (const { index, id, function: called } of choice?.delta.tool_calls ?? []) {
      out.calls[index] ??= { arguments: '' };
      const call = out.calls[index];
      if (id) call.id = id;
      if (called?.name) call.name = called.name;
      call.arguments += called?.arguments ?? '';
    }
  }
  return out;
}

describe('ends', () => {
  it('of the text, of the length, of a stop string, each with its reason and its count', async () => {
    const say = async (options: object) => {
      const { choices, usage } = await client.chat.completions.create({ ...asked, ...options });
      const streamed = await stream({ messages, ...options });
      expect([streamed.content, streamed.finish]).toEqual([choices[0]?.message.content, choices[0]?.finish_reason]);
      return [choices[0]?.message.content, choices[0]?.finish_reason, usage?.completion_tokens];
    };
    expect(await say({})).toEqual([whole, 'stop', 5]);
    expect(await say({ max_tokens: 2 })).toEqual(['An otter is a', 'length', 2]);
    expect(await say({ max_completion_tokens: 3 })).toEqual(['An otter is a semi-aquatic', 'length', 3]);
    expect(await say({ stop: 'aquatic mam' })).toEqual(['An otter is a semi-', 'stop', 3]);
    expect(await say({ stop: ['zebra', ' is'] })).toEqual(['An otter', 'stop', 1]);
    expect(await say({ stop: ['An'] })).toEqual(['', 'stop', 0]);
  });

  it('of the context is a length', async () => {
    const room = served.server.model.contextSize;
    const prompt = `${'x'.repeat(room - 3)}A`;
    const { choices, usage } = await client.completions.create({ model: 'script', prompt, max_tokens: 100, temperature: 0 });
    expect(choices[0]).toMatchObject({ finish_reason: 'length' });
    expect(usage?.total_tokens).toBe(room + 1);
  });
});

describe('probabilities', () => {
  it('of chat completions: one entry a token, each with the likeliest', async () => {
    const { choices } = await client.chat.completions.create({ ...asked, logprobs: true, top_logprobs: 3 });
    const entries = choices[0]?.logprobs?.content ?? [];
    expect(entries.map(({ token }) => token)).toEqual(SCRIPTS.A);
    for (const { token, logprob, bytes, top_logprobs } of entries) {
      expect(Buffer.from(bytes ?? []).toString()).toBe(token);
      expect(top_logprobs).toHaveLength(3);
      expect(top_logprobs[0]).toMatchObject({ token, logprob });
      expect(logprob).toBeLessThanOrEqual(0);
      expect(logprob).toBeGreaterThan(Math.log(0.9));
      expect(top_logprobs[1]!.logprob).toBeGreaterThanOrEqual(top_logprobs[2]!.logprob);
    }
    expect((await stream({ messages, logprobs: true })).logprobs).toBe(entries.length);
  });

  it('of completions: lists, with the places of the tokens in the text', async () => {
    const request = { model: 'script', prompt: 'A', temperature: 0, logprobs: 2 } as const;
    const { choices } = await client.completions.create(request);
    const logprobs = choices[0]?.logprobs;
    expect(logprobs?.tokens).toEqual(SCRIPTS.A);
    expect(logprobs?.text_offset).toEqual([0, 8, 13, 26, 33]);
    expect(logprobs?.top_logprobs?.map((top) => Object.keys(top).length)).toEqual([2, 2, 2, 2, 2]);
    const offsets: number[] = [];
    for await (const chunk of await client.completions.create({ ...request, stream: true }))
      offsets.push(...(chunk.choices[0]?.logprobs?.text_offset ?? []));
    expect(offsets).toEqual(logprobs?.text_offset);
  });

  it('are those of the model, whatever the temperature', async () => {
    const one = async (temperature: number) => {
      const { choices } = await client.chat.completions.create({ ...asked, temperature, logprobs: true, max_tokens: 1, seed: 1 });
      return choices[0]?.logprobs?.content?.[0]?.logprob;
    };
    expect(await one(0)).toBe(await one(0.5));
  });
});

describe('functions', () => {
  const calls = [
    { name: 'get_weather', arguments: '{"city":"Paris"}' },
    { name: 'get_time', arguments: '{}' },
  ];

  it('are called, in whole answers and in streams, and their results are answered', async () => {
    const tools = [weather, time];
    const { choices } = await client.chat.completions.create({ ...asked, tools });
    const message = choices[0]!.message;
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: 'Let me see.' } });
    const called = message.tool_calls?.map((call) => call.type === 'function' && call.function);
    expect(called).toEqual(calls);
    const streamed = await stream({ messages, tools });
    expect(streamed).toMatchObject({ content: 'Let me see.', finish: 'tool_calls', calls });
    expect(new Set(streamed.calls.map(({ id }) => id)).size).toBe(2);

    const results = message.tool_calls!.map(({ id }) => ({ role: 'tool' as const, tool_call_id: id, content: '20' }));
    const after = await client.chat.completions.create({ ...asked, tools, messages: [...messages, message, ...results] });
    expect(after.choices[0]).toMatchObject({ finish_reason: 'stop', message: { content: SCRIPTS.R.join('') } });
  });

  it('one after the other where calls in parallel are not wanted', async () => {
    const tools = [weather, time];
    const { choices } = await client.chat.completions.create({ ...asked, tools, parallel_tool_calls: false });
    expect(choices[0]?.message.tool_calls).toHaveLength(1);
    expect(choices[0]?.finish_reason).toBe('tool_calls');
    expect((await stream({ messages, tools, parallel_tool_calls: false })).calls).toHaveLength(1);
  });

  it('that nobody offered are text; none are offered with tool_choice none', async () => {
    const { choices } = await client.chat.completions.create({ ...asked, tools: [time] });
    expect(choices[0]?.message.content).toBe(SCRIPTS.T.slice(0, -1).join('').replace('see.\n', 'see.'));
    expect(choices[0]?.message.tool_calls).toHaveLength(1);
    const none = await client.chat.completions.create({ ...asked, tools: [time], tool_choice: 'none' });
    expect(none.choices[0]?.message.content).toBe(whole);
  });

  it('are refused where the template does not speak of them', async () => {
    const plain = await serveDirectory(await makeScripted(root, 'plain', { A: ['Yes'] }, '{{ messages[0].content }}A'), {
      model: { npu: 'none' },
    });
    const { status, text } = await ask(plain.server, 'POST', '/v1/chat/completions', { model: 'plain', messages, tools: [time] });
    expect([status, JSON.parse(text)]).toMatchObject([400, { error: { param: 'tools', code: 'unsupported_value' } }]);
    await plain.stop();
  });
});
