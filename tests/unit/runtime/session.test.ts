import { describe, expect, it } from 'vitest';
import { LutraError } from '../../../lib/graph/errors.js';
import { Chat } from '../../../lib/runtime/chat.js';
import { Session } from '../../../lib/runtime/session.js';
import { context, ScriptedEngine } from './scripted-engine.js';

const bytes = (text: string) => [...Buffer.from(text)];
const code = (value: string) => expect.objectContaining({ code: value });

function make(script: string, contextSize?: number, prefillMs?: number) {
  const engine = new ScriptedEngine(script, prefillMs);
  return { engine, session: new Session(engine, context(contextSize)) };
}

describe('Session.generate', () => {
  it('streams text and ends with the model', async () => {
    const { engine, session } = make('Hello wörld');
    const generation = session.generate('hi');
    let text = '';
    for await (const event of generation) text += event.text;
    expect(text).toBe('Hello wörld');
    const result = await generation.result();
    expect(result).toMatchObject({ text, finishReason: 'stop', prefill: { tokens: 5, ms: 10, tokensPerSecond: 500 } });
    expect(result.tokens).toEqual(bytes('Hello wörld'));
    expect(engine.kv).toEqual(bytes('hiHello wörld'));
  });

  it('does nothing before it is iterated', () => {
    const { engine, session } = make('x');
    session.generate('hi');
    expect(engine.prefills).toEqual([]);
  });

  it('keeps in the cache what was delivered, and no more, after a stop string', async () => {
    const { engine, session } = make('one two END three four five six');
    expect(await session.generate('>', { stop: ['END'] }).result()).toMatchObject({ text: 'one two ', finishReason: 'stop' });
    expect(engine.kv).toEqual(bytes('>one two '));
    expect(session.tokens).toEqual(bytes('>one two '));
  });

  it('computes the last token of a limited generation with the next prompt', async () => {
    const { engine, session } = make('abcdef');
    expect(await session.generate('>', { maxTokens: 3 }).result()).toMatchObject({ text: 'abc', finishReason: 'length' });
    expect(engine.kv).toEqual(bytes('>ab'));
    expect(session.tokens).toEqual(bytes('>abc'));
    expect(await session.generate('!', { maxTokens: 1 }).text()).toBe('d');
    expect(engine.prefills.at(-1)).toEqual({ tokens: bytes('c!'), program: 'npu' });
  });

  it('continues without a new prompt', async () => {
    const { engine, session } = make('abcdef');
    await session.generate('>', { stop: 'b' }).text();
    expect(await session.generate('', { maxTokens: 1 }).text()).toHaveLength(1);
    expect(engine.prefills.at(-1)).toEqual({ tokens: bytes('a'), program: 'cpu' });
  });

  it('runs ahead of the reader by a bounded number of tokens', async () => {
    const { engine, session } = make('x'.repeat(100));
    let count = 0;
    for await (const _ of session.generate('>')) {
      if (count++ === 5) await new Promise((resolve) => setTimeout(resolve, 30));
    }
    expect(count).toBe(100);
    expect(engine.maxAhead).toBeLessThanOrEqual(8);
    expect(engine.maxAhead).toBeGreaterThan(1);
  });

  it('does not deadlock when a withheld beginning is longer than the run-ahead', async () => {
    const { session } = make(`${'#'.repeat(50)}x`);
    expect(await session.generate('>', { stop: '#'.repeat(51) }).text()).toBe(`${'#'.repeat(50)}x`);
  });

  it('truncates to what was read when the reader leaves', async () => {
    const { engine, session } = make('abcdefghijklmnop');
    const generation = session.generate('>');
    let read = '';
    for await (const { text } of generation) {
      read += text;
      if (read.length === 4) break;
    }
    expect(engine.kv).toEqual(bytes('>abcd'));
    expect(await generation.result()).toMatchObject({ text: 'abcd', finishReason: 'aborted' });
    expect(await session.generate('?', { maxTokens: 1 }).text()).toHaveLength(1); // usable again
  });

  it('aborts between tokens and keeps the partial text', async () => {
    const { engine, session } = make('abcdefghijklmnop');
    const abort = new AbortController();
    const generation = session.generate('>', { signal: abort.signal });
    let read = '';
    const reading = (async () => {
      for await (const { text } of generation) {
        read += text;
        if (read.length === 3) abort.abort(new Error('enough'));
      }
    })();
    await expect(reading).rejects.toMatchObject({ code: 'LUTRA_ABORTED', cause: expect.objectContaining({ message: 'enough' }) });
    expect(read).toBe('abc');
    expect(await generation.result()).toMatchObject({ text: 'abc', finishReason: 'aborted' });
    expect(engine.kv).toEqual(bytes('>abc'));
  });

  it('aborts a prefill and leaves the session as it was', async () => {
    const { engine, session } = make('abc', 1000, 30);
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 5);
    await expect(session.generate('prompt', { signal: abort.signal }).result()).rejects.toThrow(LutraError);
    expect(engine.kv).toEqual([]);
    expect(session.tokens).toEqual([]);
    expect(await session.generate('>').text()).toBe('abc');
  });

  it('refuses a second call while one runs', async () => {
    const { session } = make('abcdef');
    const first = session.generate('>');
    for await (const _ of first) {
      await expect(session.prefill([1])).rejects.toEqual(code('LUTRA_BUSY'));
      expect(() => session.truncate(0)).toThrow(/working on another call/);
      await expect(session.generate('x').text()).rejects.toEqual(code('LUTRA_BUSY'));
      break;
    }
  });

  it('refuses a prompt that does not fit the context, and says both numbers', async () => {
    const { session } = make('x', 10);
    await expect(session.generate('12345678901').text()).rejects.toMatchObject({
      code: 'LUTRA_CONTEXT_FULL',
      message: 'The prompt has 11 tokens and 0 are in the context, which holds 10.',
    });
    expect(await session.generate('1234567890').text()).toBe('x');
  });

  it('refuses unknown options and wrong values with one sentence', () => {
    const { session } = make('x');
    expect(() => session.generate('>', { maxToken: 3 } as object)).toThrow("generate has no option 'maxToken'; did you mean 'maxTokens'?");
    expect(() => session.generate('>', { temperature: -1 })).toThrow(
      "Option 'temperature' of generate is -1, but must be a number from 0 to 1000000.",
    );
    expect(() => session.generate('>', { stop: [''] })).toThrow(/must be a non-empty string or a list of them/);
    expect(() => session.generate('>', { topP: Number.NaN })).toThrow(/from 0.000001 to 1/);
  });

  it('refuses ids that the model does not have', async () => {
    const { session } = make('x');
    await expect(session.generate([1, 257]).text()).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
      message: expect.stringContaining('257'),
    });
    await expect(session.prefill([1.5])).rejects.toEqual(code('LUTRA_INVALID_ARGUMENT'));
    await expect(session.generate('').text()).rejects.toEqual(code('LUTRA_INVALID_ARGUMENT'));
  });

  it('ends everything when disposed of while it runs', async () => {
    const { engine, session } = make('x'.repeat(1000));
    const events = session.generate('>')[Symbol.asyncIterator]();
    await events.next();
    await session.dispose();
    const rest = async () => {
      while (!(await events.next()).done);
    };
    await expect(rest()).rejects.toEqual(code('LUTRA_ABORTED'));
    expect(engine.disposed).toBe(true);
    await expect(session.prefill([1])).rejects.toEqual(code('LUTRA_DISPOSED'));
    await session.dispose();
  });
});

describe('Chat', () => {
  it('computes only what is new and keeps the history', async () => {
    const { engine, session } = make('abc');
    const chat = new Chat(session, 'be brief');
    expect(await chat.send('hi').text()).toBe('abc');
    expect(engine.prefills[0]?.tokens).toEqual(bytes('[system:be brief][user:hi]>'));
    expect(chat.messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant']);
    await chat.send('more').text();
    // The template writes the answer as [assistant:abc] where the first turn had ">abc": everything from there on is computed again.
    expect(engine.prefills[1]?.tokens).toEqual(bytes('[assistant:abc][user:more]>'));
    expect(engine.kv.slice(0, 27)).toEqual(bytes('[system:be brief][user:hi]['));
  });

  it('does not remember a question that failed', async () => {
    const { session } = make('abc', 10);
    const chat = new Chat(session);
    await expect(chat.send('far too long for this').text()).rejects.toEqual(code('LUTRA_CONTEXT_FULL'));
    expect(chat.messages).toEqual([]);
  });
});
