/** Probabilities of tokens, in the two forms that OpenAI gives them. */
import type { TokenEvent } from '../runtime/stop-filter.js';
import type { Tokenizer } from '../runtime/tokenizer.js';

/** JSON has no infinity; OpenAI writes this for what is as good as impossible. */
const NEVER = -9999;

const finite = (logprob: number): number => Math.max(NEVER, logprob);

/** Of chat completions: one entry for each token. */
export interface ChatLogprob {
  token: string;
  logprob: number;
  bytes: number[];
  top_logprobs: { token: string; logprob: number; bytes: number[] }[];
}

export function chatLogprob({ token, logprob, alternatives = [] }: TokenEvent, tokenizer: Tokenizer): ChatLogprob | undefined {
  if (logprob === undefined) return undefined;
  const entry = (id: number, value: number) => ({
    token: tokenizer.decode([id]),
    logprob: finite(value),
    bytes: [...tokenizer.bytesOf(id)],
  });
  return { ...entry(token, logprob), top_logprobs: alternatives.map((one) => entry(one.token, one.logprob)) };
}

/** Of completions: one list for each property. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: number[];
  top_logprobs: Record<string, number>[];
  text_offset: number[];
}

/** @param offset characters of the text before the first event */
export function completionLogprobs(events: readonly TokenEvent[], tokenizer: Tokenizer, offset: number): CompletionLogprobs {
  const out: CompletionLogprobs = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] };
  let at = offset;
  for (const { token, text, logprob = NEVER, alternatives = [] } of events) {
    out.tokens.push(tokenizer.decode([token]));
    out.token_logprobs.push(finite(logprob));
    // Two tokens may have the same text; the likelier one, which comes first, stays.
    out.top_logprobs.push(
      Object.fromEntries([...alternatives].reverse().map((one) => [tokenizer.decode([one.token]), finite(one.logprob)])),
    );
    out.text_offset.push(at);
    at += text.length;
  }
  return out;
}
