import { describe, expect, it } from 'vitest';
import { StopFilter, type TokenEvent } from '../../../lib/runtime/stop-filter.js';
import { byteTokenizer, END } from './scripted-engine.js';

const tokenizer = byteTokenizer();
const bytes = (text: string) => [...Buffer.from(text)];

/** Everything that comes out for a run of tokens, and how many tokens went in before each event. */
function run(tokens: number[], stops: string[]): { events: TokenEvent[]; text: string; matched: boolean } {
  const filter = new StopFilter(tokenizer.stream(), stops);
  const events: TokenEvent[] = [];
  for (const token of tokens) {
    events.push(...filter.push(token));
    if (filter.matched) break;
  }
  events.push(...filter.end());
  return { events, text: events.map((event) => event.text).join(''), matched: filter.matched };
}

describe('StopFilter', () => {
  it('lets everything through at once when there are no stop strings', () => {
    const filter = new StopFilter(tokenizer.stream(), []);
    for (const token of bytes('abc')) expect(filter.push(token)).toEqual([{ token, text: String.fromCharCode(token) }]);
  });

  it('cuts before the stop string and drops its tokens', () => {
    const { text, events, matched } = run(bytes('hello STOP more'), ['STOP']);
    expect(text).toBe('hello ');
    expect(events).toHaveLength(6);
    expect(matched).toBe(true);
  });

  it('withholds what may become a stop string and releases it when it does not', () => {
    const filter = new StopFilter(tokenizer.stream(), ['###']);
    expect(filter.push(35)).toEqual([]);
    expect(filter.push(35)).toEqual([]);
    expect(filter.push(65).map((event) => event.text)).toEqual(['#', '#', 'A']);
  });

  it('finds a stop string after a false beginning of itself', () => {
    expect(run(bytes('ababac!'), ['abac']).text).toBe('ab');
    expect(run(bytes('aaab'), ['aab']).text).toBe('a');
  });

  it('takes the stop string that begins first', () => {
    expect(run(bytes('one two three'), ['three', 'two']).text).toBe('one ');
  });

  it('delivers a withheld beginning when the text ends', () => {
    const { text, matched } = run(bytes('x##'), ['###']);
    expect(text).toBe('x##');
    expect(matched).toBe(false);
  });

  it('never splits a character, and gives every token exactly once', () => {
    const text = 'grün 漢字 🦦!';
    const { events } = run(bytes(text), []);
    expect(events.map((event) => event.token)).toEqual(bytes(text));
    expect(events.map((event) => event.text).join('')).toBe(text);
    for (const event of events) expect(event.text).not.toContain('\uFFFD');
  });

  it('makes U+FFFD of a character that never became whole', () => {
    const { text, events } = run([65, 0xf0, 0x9f], []);
    expect(text).toBe('A\uFFFD');
    expect(events.map((event) => event.token)).toEqual([65, 0xf0, 0x9f]);
  });

  it('finds stop strings of several bytes a character', () => {
    expect(run(bytes('ab漢字cd'), ['漢字']).text).toBe('ab');
  });

  it('passes special tokens without text', () => {
    const { events } = run([65, END, 66], []);
    expect(events).toEqual([
      { token: 65, text: 'A' },
      { token: END, text: '' },
      { token: 66, text: 'B' },
    ]);
  });

  it('agrees with a search over the whole text, whatever the tokens are', () => {
    let seed = 12345;
    const random = (n: number) => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return (seed >>> 16) % n;
    };
    for (let round = 0; round < 500; round++) {
      const text = Array.from({ length: 1 + random(30) }, () => 'abé'[random(3)]).join('');
      const stops = Array.from({ length: 1 + random(2) }, () => Array.from({ length: 1 + random(4) }, () => 'abé'[random(3)]).join(''));
      const first = Math.min(...stops.map((stop) => text.indexOf(stop)).filter((at) => at >= 0), Number.POSITIVE_INFINITY);
      const expected = first === Number.POSITIVE_INFINITY ? text : text.slice(0, first);
      // A stop string that completes earlier may begin later: only compare when no stop contains another.
      if (stops.length === 2 && (stops[0]!.includes(stops[1]!) || stops[1]!.includes(stops[0]!))) continue;
      expect(run(bytes(text), stops).text, `${text} / ${stops.join(',')}`).toBe(expected);
    }
  });
});
