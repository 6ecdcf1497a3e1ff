/** Calls of Model.generate and Session with what they cannot use, in the wrong order, or too late. */
import type { GenerateOptions } from '../../../lib/runtime/generate.js';
import type { PrefillOptions, Prompt, Session } from '../../../lib/runtime/session.js';
import { tinyTokens } from '../tiny.js';
import { type BadCase, bad } from './case.js';

/** One option of a generation. */
const option = (name: string, says: string | RegExp, options: object | null): BadCase =>
  bad(name, 'LUTRA_INVALID_ARGUMENT', says, ({ model }) => model.generate([5], options as GenerateOptions).result());

const options: BadCase[] = [
  option('null for options', 'options', null),
  option('a list for options', 'options', [1]),
  option('an option that is not there', "did you mean 'maxTokens'", { maxToken: 5 }),
  option('an option named as a built-in property', 'hasOwnProperty', { hasOwnProperty: 5 }),
  option('0 tokens', 'maxTokens', { maxTokens: 0 }),
  option('−1 tokens', '-1', { maxTokens: -1 }),
  option('NaN tokens', 'NaN', { maxTokens: Number.NaN }),
  option('tokens as a text', "'5'", { maxTokens: '5' }),
  option('eight guesses', '8', { draftTokens: 8 }),
  option('half a guess', '0.5', { draftTokens: 0.5 }),
  option('a negative temperature', 'temperature', { temperature: -1 }),
  option('a temperature of infinity', 'Infinity', { temperature: Number.POSITIVE_INFINITY }),
  option('a temperature of NaN', 'NaN', { temperature: Number.NaN }),
  option('a temperature as a text', 'temperature', { temperature: 'hot' }),
  option('top-k of −1', 'topK', { topK: -1 }),
  option('top-k of 2^32', '4294967296', { topK: 2 ** 32 }),
  option('top-p of 0', 'topP', { topP: 0 }),
  option('top-p of 1.5', '1.5', { topP: 1.5 }),
  option('min-p of 2', 'minP', { minP: 2 }),
  option('a penalty of 0', 'repetitionPenalty', { repetitionPenalty: 0 }),
  option('a window of 2^40', '1099511627776', { repetitionWindow: 2 ** 40 }),
  option('a seed with a fraction', '0.5', { seed: 0.5 }),
  option('a seed of 2^60', 'seed', { seed: 2 ** 60 }),
  option('a seed that is a BigInt', 'seed', { seed: 5n }),
  option('a stop string without letters', 'stop', { stop: '' }),
  option('stop strings one of which is empty', 'stop', { stop: ['a', ''] }),
  option('a stop string that is a number', 'stop', { stop: [7] }),
  option('a signal that is none', 'signal', { signal: {} }),
  option('ignoreEos as a number', 'ignoreEos', { ignoreEos: 1 }),
];

/** A prompt of a generation. */
const prompt = (name: string, says: string | RegExp, value: unknown, code: BadCase['code'] = 'LUTRA_INVALID_ARGUMENT'): BadCase =>
  bad(name, code, says, ({ model }) => model.generate(value as Prompt).result());

const detached = (): Uint32Array => {
  const tokens = Uint32Array.of(5, 6, 7);
  structuredClone(tokens.buffer, { transfer: [tokens.buffer] });
  return tokens;
};

const prompts: BadCase[] = [
  prompt('no prompt', 'undefined', undefined),
  prompt('null for a prompt', 'null', null),
  prompt('a number for a prompt', '7', 7),
  prompt('a function for a prompt', 'function', () => 5),
  prompt('an object for a prompt', 'object', {}),
  prompt('a map for a prompt', 'object', new Map()),
  prompt('an empty prompt', 'no tokens', ''),
  prompt('a prompt of no tokens', 'no tokens', []),
  prompt('a token outside the vocabulary', '100000', [1, 100_000]),
  prompt('a negative token', '-1', [-1]),
  prompt('a token with a fraction', '1.5', [1.5]),
  prompt('a token of NaN', 'NaN', [Number.NaN]),
  prompt('a token that is a BigInt', '5', [5n]),
  prompt('a token that is a text', "'5'", ['5']),
  prompt('tokens and a hole', 'undefined', [5, undefined]),
  prompt('floats for tokens', '0.5', Float32Array.of(0.5)),
  prompt('messages one of which is a number', 'messages', [{ role: 'user', content: 'x' }, 7]),
  prompt('a message of null', 'null', [null]),
  prompt('messages without content', 'content', [{ role: 'user' }]),
  prompt('a detached array of tokens', 'no tokens', detached()),
  prompt('more tokens than the context holds', '65', tinyTokens(1, 65), 'LUTRA_CONTEXT_FULL'),
  prompt('a text longer than the context', 'context', 'a b c '.repeat(200), 'LUTRA_CONTEXT_FULL'),
  prompt('a million tokens', '1000000', new Uint32Array(1_000_000).fill(5), 'LUTRA_CONTEXT_FULL'),
];

/** A call on a new session, which is disposed of afterwards. */
const session = (name: string, code: BadCase['code'], says: string | RegExp, call: (session: Session) => unknown): BadCase =>
  bad(name, code, says, async ({ model }) => {
    const one = await model.createSession();
    try {
      return await call(one);
    } finally {
      await one.dispose();
    }
  });
const argument = (name: string, says: string | RegExp, call: (session: Session) => unknown): BadCase =>
  session(name, 'LUTRA_INVALID_ARGUMENT', says, call);
const after = (name: string, call: (session: Session) => unknown): BadCase =>
  session(name, 'LUTRA_DISPOSED', 'session', async (one) => {
    await one.dispose();
    return call(one);
  });
/** While a prefill is under way. */
const during = (name: string, call: (session: Session) => unknown): BadCase =>
  session(name, 'LUTRA_BUSY', 'session', async (one) => {
    const first = one.prefill(tinyTokens(1, 60));
    try {
      return await call(one);
    } finally {
      await first;
    }
  });

const prefill = (value: unknown) => (one: Session) => one.prefill([5], value as PrefillOptions);

const calls: BadCase[] = [
  argument('a prefill of nothing', 'no tokens', (one) => one.prefill([])),
  argument('a prefill of a text', "'x'", (one) => one.prefill('x' as unknown as number[])),
  argument('a prefill of undefined', 'undefined', (one) => one.prefill(undefined as unknown as number[])),
  argument('a prefill of tokens that are none', '100000', (one) => one.prefill([100_000])),
  argument('a prefill with null for options', 'options', prefill(null)),
  argument('a prefill for logits that there are not', "'some'", prefill({ logits: 'some' })),
  argument('a prefill with an option that is not there', 'logit', prefill({ logit: 'all' })),
  argument('a prefill with a signal that is none', 'signal', prefill({ signal: 'stop' })),
  argument('a step without a token', 'undefined', (one) => one.step(undefined as unknown as number)),
  argument('a step with a token outside the vocabulary', '271', (one) => one.step(271)),
  argument('a step with a list', 'a list', (one) => one.step([5] as unknown as number)),
  argument('a truncation to more than there is', '61', (one) => one.truncate(61)),
  argument('a truncation to −1', '-1', (one) => one.truncate(-1)),
  argument('a truncation to NaN', 'NaN', (one) => one.truncate(Number.NaN)),
  argument('a truncation to a text', "'5'", (one) => one.truncate('5' as unknown as number)),
  argument('a generation from nothing', 'nothing to continue', (one) => one.generate([]).result()),
  argument('a look at a tensor before anything has run', 'nothing has run', (one) => one.peek('x')),
  argument('a look at a tensor whose memory was shared', 'cpu.logits', async (one) => {
    await one.prefill([5, 6, 7]);
    one.peek('cpu.logits');
  }),
  argument('a look at what is no name', 'tensor', (one) => one.peek(7 as unknown as string)),
  session('a prefill beyond the context', 'LUTRA_CONTEXT_FULL', '60', async (one) => {
    await one.prefill(tinyTokens(1, 60));
    return one.prefill(tinyTokens(1, 5));
  }),
  session('a generation from an empty text', 'LUTRA_INVALID_ARGUMENT', 'no tokens', async (one) => {
    await one.generate('').result();
  }),
  after('a prefill after disposal', (one) => one.prefill([5])),
  after('a step after disposal', (one) => one.step(5)),
  after('a generation after disposal', (one) => one.generate([5]).result()),
  after('a truncation after disposal', (one) => one.truncate(0)),
  after('a reset after disposal', (one) => one.reset()),
  after('a look at a tensor after disposal', (one) => one.peek('x')),
  after('facts after disposal', (one) => one.info()),
  after('the placement after disposal', (one) => one.placement()),
  after('times after disposal', (one) => one.timings()),
  during('a second prefill', (one) => one.prefill([5])),
  during('a step during a prefill', (one) => one.step(5)),
  during('a generation during a prefill', (one) => one.generate([5]).result()),
  during('a truncation during a prefill', (one) => one.truncate(0)),
  during('a look at a tensor during a prefill', (one) => one.peek('x')),
];

export const sessionCases: BadCase[] = [...options, ...prompts, ...calls];
