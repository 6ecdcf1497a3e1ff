/** Calls in streams of text, cut at every place. */
import { describe, expect, it } from 'vitest';
import { callParser, type Part } from '../../../lib/server/tool-calls.js';

const HERMES = 'tools <tool_call>';
const LLAMA = 'tools {"name": function name, "parameters": dictionary}';

/** What comes out, neighbouring texts joined. */
function parse(template: string, pieces: readonly string[]): Part[] {
  const parser = callParser(template, ['f', 'g']);
  if (!parser) throw new Error('no parser');
  const out: Part[] = [];
  for (const part of [...pieces.flatMap((piece) => parser.push(piece)), ...parser.end()]) {
    const last = out.at(-1);
    if ('text' in part && last && 'text' in last) last.text += part.text;
    else out.push({ ...part });
  }
  return out;
}

/** The same, whole, byte by byte, and cut at every place. */
function everyWay(template: string, text: string): Part[] {
  const whole = parse(template, [text]);
  expect(parse(template, [...text])).toEqual(whole);
  for (let at = 0; at < text.length; at++) expect(parse(template, [text.slice(0, at), text.slice(at)])).toEqual(whole);
  return whole;
}

const call = (name: string, json: string): Part => ({ call: { name, arguments: json } });

describe('tagged calls', () => {
  it('stand behind a text, or several in a row', () => {
    const text = 'Let me see.\n<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>\n';
    expect(everyWay(HERMES, text)).toEqual([{ text: 'Let me see.' }, call('f', '{"a":1}'), call('g', '{}')]);
  });

  it('may lack the closing tag at the end', () => {
    expect(everyWay(HERMES, '<tool_call>{"name": "f", "arguments": "{}"}')).toEqual([call('f', '{}')]);
  });

  it.each(['<tool_call>{"name": "f", </tool_call>', '<tool_call>{"name": "other"}</tool_call>', '<tool_call>', '<tool_c', 'a < b  ', '\n'])(
    '%j is text',
    (text) => expect(everyWay(HERMES, text)).toEqual([{ text }]),
  );
});

describe('bare calls', () => {
  it('are the whole answer', () => {
    expect(everyWay(LLAMA, '\n{"name": "f", "parameters": {"a": [1]}} ')).toEqual([call('f', '{"a":[1]}')]);
  });

  it.each(['{"name": "other"}', '{"name": "f"', 'Say {"name": "f"}', '[]', ' '])('%j is text', (text) =>
    expect(everyWay(LLAMA, text)).toEqual([{ text }]),
  );
});

it('templates that do not speak of functions, or in an unknown way, have no parser', () => {
  expect(callParser('<tool_call>', ['f'])).toBeUndefined();
  expect(callParser('tools', ['f'])).toBeUndefined();
});
