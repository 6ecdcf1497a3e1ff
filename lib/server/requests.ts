/**
 * The fields of the two generating endpoints: which are used, which are accepted because they change nothing, and which are refused, and why. A field that stands in no table
 * is an error that names the nearest known one; null means absent.
 */
import type { GenerateOptions } from '../runtime/generate.js';
import type { ChatMessage, ChatToolCall } from '../runtime/tokenizer.js';
import { invalid } from './errors.js';
import {
  anyObject,
  filled,
  flag,
  ignored,
  integer,
  is,
  isShallow,
  list,
  MAX_DEPTH,
  needed,
  number,
  object,
  oneOf,
  only,
  type Read,
  type Reader,
  text,
} from './fields.js';

/** Most stop strings of a request. */
const MAX_STOPS = 16;

const stop: Reader<string[]> = (value, at) => (typeof value === 'string' ? [filled(value, at)] : list(filled, 0, MAX_STOPS)(value, at));

const empty = (value: unknown) => typeof value === 'object' && value !== null && Object.keys(value).length === 0;

/** Of both endpoints. */
const common = {
  model: filled,
  stream: flag,
  stream_options: object({ include_usage: flag, include_obfuscation: ignored }),
  max_tokens: integer(1),
  temperature: number(0, 2),
  top_p: number(1e-6, 1),
  stop,
  seed: integer(Number.MIN_SAFE_INTEGER),
  n: only(is(1), 'one choice is computed for a request; send the request again for another.'),
  frequency_penalty: only(is(0), "this server has 'repetition_penalty' instead."),
  presence_penalty: only(is(0), "this server has 'repetition_penalty' instead."),
  logit_bias: only(empty, 'tokens cannot be biased.'),
  user: ignored,
  // Beyond OpenAI's.
  top_k: integer(0, 0xffffffff),
  min_p: number(0, 1),
  repetition_penalty: number(0.01, 100),
} as const;

const role = oneOf('system', 'developer', 'user', 'assistant', 'tool');

const part = object({ type: oneOf('text'), text });

/** A text, or parts of one. */
const content: Reader<string> = (value, at) => {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) throw invalid(at, `'${at}' must be a string or a list of parts of type 'text'.`, 'invalid_type');
  return list(part)(value, at)
    .map((one, i) => needed(one.text, `${at}[${i}].text`))
    .join('');
};

/** Arguments are JSON in a string; templates write them out themselves, so they get the value. */
const callArguments: Reader<unknown> = (value, at) => {
  const json = text(value, at);
  let parsed: unknown;
  try {
    parsed = JSON.parse(json === '' ? '{}' : json);
  } catch {
    throw invalid(at, `'${at}' is no JSON.`, 'invalid_value');
  }
  if (!isShallow(parsed, MAX_DEPTH)) throw invalid(at, `'${at}' is nested deeper than ${MAX_DEPTH}.`, 'invalid_value');
  return anyObject(parsed, at);
};

const toolCall = object({
  id: filled,
  type: oneOf('function'),
  function: object({ name: filled, arguments: callArguments }),
});

const messageFields = object({
  role,
  content,
  name: filled,
  tool_calls: list(toolCall, 1),
  tool_call_id: filled,
  refusal: ignored,
  annotations: ignored,
  audio: only(is(), 'there is no audio.'),
});

const message: Reader<ChatMessage> = (value, at) => {
  const read = messageFields(value, at);
  const who = needed(read.role, `${at}.role`);
  if (read.tool_calls && who !== 'assistant')
    throw invalid(`${at}.tool_calls`, `Only an assistant's message has tool_calls.`, 'invalid_value');
  if (who === 'tool') needed(read.tool_call_id, `${at}.tool_call_id`);
  const calls = read.tool_calls?.map((call, i): ChatToolCall => {
    const here = `${at}.tool_calls[${i}]`;
    const called = needed(call.function, `${here}.function`);
    const name = needed(called.name, `${here}.function.name`);
    return { id: needed(call.id, `${here}.id`), type: 'function', function: { name, arguments: called.arguments ?? {} } };
  });
  return {
    role: who === 'developer' ? 'system' : who,
    content: calls ? (read.content ?? '') : needed(read.content, `${at}.content`),
    ...(read.name === undefined ? {} : { name: read.name }),
    ...(calls ? { tool_calls: calls } : {}),
    ...(read.tool_call_id === undefined ? {} : { tool_call_id: read.tool_call_id }),
  };
};

const toolName: Reader<string> = (value, at) => {
  const name = filled(value, at);
  if (!/^[\w-]{1,64}$/.test(name)) throw invalid(at, `'${at}' must be 1 to 64 letters, digits, _ or -.`, 'invalid_value');
  return name;
};

/** A function that the model may ask for, as templates know it. */
export interface Tool {
  type: 'function';
  function: { name: string; description?: string; parameters?: Record<string, unknown> };
}

const toolFields = object({
  type: oneOf('function'),
  function: object({
    name: toolName,
    description: text,
    parameters: anyObject,
    strict: only(is(false), 'arguments are not constrained while they are generated.'),
  }),
});

const tool: Reader<Tool> = (value, at) => {
  const read = toolFields(value, at);
  needed(read.type, `${at}.type`);
  const described = needed(read.function, `${at}.function`);
  const name = needed(described.name, `${at}.function.name`);
  return {
    type: 'function',
    function: {
      name,
      ...(described.description === undefined ? {} : { description: described.description }),
      ...(described.parameters === undefined ? {} : { parameters: described.parameters }),
    },
  };
};

const toolChoice: Reader<'none' | 'auto'> = (value, at) => {
  if (value === 'none' || value === 'auto') return value;
  throw invalid(at, `'${at}' must be 'auto' or 'none': a model is not forced to call a function.`, 'unsupported_value');
};

const isTextFormat = (value: unknown) => typeof value === 'object' && value !== null && 'type' in value && value.type === 'text';

/** POST /v1/chat/completions. */
const chat = object({
  ...common,
  messages: list(message, 1),
  max_completion_tokens: integer(1),
  logprobs: flag,
  top_logprobs: integer(0, 20),
  tools: list(tool, 0, 128),
  tool_choice: toolChoice,
  parallel_tool_calls: flag,
  response_format: only(isTextFormat, "the only format is { type: 'text' }."),
  modalities: only((value) => Array.isArray(value) && value.length === 1 && value[0] === 'text', "the only modality is 'text'."),
  audio: only(is(), 'there is no audio.'),
  functions: only((value) => Array.isArray(value) && value.length === 0, "use 'tools'."),
  function_call: only(is('none', 'auto'), "use 'tool_choice'."),
  web_search_options: only(is(), 'there is no web search.'),
  metadata: ignored,
  store: ignored,
  service_tier: ignored,
  prediction: ignored,
  prompt_cache_key: ignored,
  prompt_cache_retention: ignored,
  safety_identifier: ignored,
  reasoning_effort: ignored,
  verbosity: ignored,
});

const tokens = list(integer(0, 0xffffffff), 1);

/** One text or one list of token ids, by itself or as a batch of one. */
const prompt: Reader<string | number[]> = (value, at) => {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) throw invalid(at, `'${at}' must be a string or a list of token ids.`, 'invalid_type');
  if (typeof value[0] === 'number') return tokens(value, at);
  if (value.length !== 1) throw invalid(at, `'${at}' has ${value.length} prompts; a request is for one.`, 'unsupported_value');
  return typeof value[0] === 'string' ? value[0] : tokens(value[0], `${at}[0]`);
};

/** POST /v1/completions. */
const completion = object({
  ...common,
  prompt,
  logprobs: integer(0, 5),
  best_of: only(is(1), 'one choice is computed for a request.'),
  echo: only(is(false), 'the prompt is not repeated.'),
  suffix: only(is(''), 'text is only continued, not filled in.'),
});

/** A request, checked. */
export interface Request {
  model: string;
  stream: boolean;
  includeUsage: boolean;
  options: GenerateOptions;
}

export interface ChatRequest extends Request {
  messages: ChatMessage[];
  /** None when they must not be used. */
  tools: Tool[];
  parallelCalls: boolean;
}

export interface CompletionRequest extends Request {
  prompt: string | number[];
}

/** What a request leaves open is as OpenAI has it: temperature 1, everything likely enough to be drawn. */
function shared(read: Read<typeof common>, maxTokens: number | undefined, logprobs: number | undefined): Request {
  if (read.stream_options && !read.stream) throw invalid('stream_options', "'stream_options' goes with 'stream'.", 'invalid_value');
  const { seed, top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty } = read;
  return {
    model: needed(read.model, 'model'),
    stream: read.stream ?? false,
    includeUsage: read.stream_options?.include_usage ?? false,
    options: {
      temperature: read.temperature ?? 1,
      ...(maxTokens === undefined ? {} : { maxTokens }),
      ...(logprobs === undefined ? {} : { logprobs }),
      ...(seed === undefined ? {} : { seed: Math.abs(seed) }),
      ...(topP === undefined ? {} : { topP }),
      ...(topK === undefined ? {} : { topK }),
      ...(minP === undefined ? {} : { minP }),
      ...(repetitionPenalty === undefined ? {} : { repetitionPenalty }),
      ...(read.stop === undefined ? {} : { stop: read.stop }),
    },
  };
}

export function readChat(body: unknown): ChatRequest {
  const read = chat(body, '');
  const { max_tokens: old, max_completion_tokens: max } = read;
  if (old !== undefined && max !== undefined && old !== max)
    throw invalid('max_tokens', "'max_tokens' is the old name of 'max_completion_tokens', and they differ.", 'invalid_value');
  if (read.top_logprobs !== undefined && !read.logprobs)
    throw invalid('top_logprobs', "'top_logprobs' goes with 'logprobs'.", 'invalid_value');
  return {
    ...shared(read, max ?? old, read.logprobs ? (read.top_logprobs ?? 0) : undefined),
    messages: needed(read.messages, 'messages'),
    tools: read.tool_choice === 'none' ? [] : (read.tools ?? []),
    parallelCalls: read.parallel_tool_calls ?? true,
  };
}

/** Where a completion is given no length, it is short: the default of OpenAI's endpoint. */
const DEFAULT_COMPLETION_TOKENS = 16;

export function readCompletion(body: unknown): CompletionRequest {
  const read = completion(body, '');
  return { ...shared(read, read.max_tokens ?? DEFAULT_COMPLETION_TOKENS, read.logprobs), prompt: needed(read.prompt, 'prompt') };
}
