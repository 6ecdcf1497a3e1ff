/** Requests that are wrong in every way, made from a right one: the same seed gives the same request. */
import { Random } from '../../reference/random.js';
import { MESSAGES, MODEL } from './setup.js';

export interface WrongRequest {
  method: string;
  path: string;
  body: string | Buffer;
  headers: Record<string, string>;
  /** Whether nothing in it is right by chance, so that it must be refused. */
  hopeless: boolean;
}

const PATHS = ['/v1/chat/completions', '/v1/completions'] as const;

/** Everything that a field might hold. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -0,
  1,
  -1,
  2,
  0.5,
  1e308,
  -1e308,
  4294967296,
  9007199254740992,
  '',
  'x',
  '\ud800',
  '\u0000',
  '<|im_start|>',
  'é'.repeat(300),
  [],
  {},
  [null],
  [[]],
  [{}],
  [''],
  [0],
  [-1],
  [1e9],
  { type: 'text' },
  { type: 'json_object' },
  [{ type: 'function', function: { name: 'f' } }],
  [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'x' } }] }],
  [{ role: 'assistant', tool_calls: [{ id: 'a', type: 'function', function: { name: 'f', arguments: '{' } }] }],
  [{ role: 'tool', content: 'x' }],
];

const FIELDS = [
  ...[
    'model',
    'stream',
    'stream_options',
    'max_tokens',
    'temperature',
    'top_p',
    'stop',
    'seed',
    'n',
    'frequency_penalty',
    'logit_bias',
    'user',
  ],
  ...['top_k', 'min_p', 'repetition_penalty', 'messages', 'max_completion_tokens', 'logprobs', 'top_logprobs', 'tools', 'tool_choice'],
  ...['parallel_tool_calls', 'response_format', 'functions', 'prompt', 'best_of', 'echo', 'suffix', 'metadata'],
  ...['__proto__', 'constructor', 'toString', 'temprature', '', 'x'.repeat(200)],
] as const;

/** JSON of a value, `__proto__` as a field of its own. */
function json(fields: readonly (readonly [string, unknown])[]): string {
  return `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`;
}

function fieldsOf(path: string): [string, unknown][] {
  const prompt: [string, unknown] = path === PATHS[0] ? ['messages', MESSAGES] : ['prompt', 'hello world'];
  return [['model', MODEL], prompt, ['max_tokens', 2], ['temperature', 1]];
}

type Maker = (random: Random, path: string) => Partial<WrongRequest>;

const pick = <T>(random: Random, from: readonly T[]): T => from[random.below(from.length)]!;

const garbage = (random: Random, length: number): Buffer => Buffer.from(Array.from({ length }, () => random.below(256)));

const MAKERS: readonly Maker[] = [
  // Any field with any value; some of these are right.
  (random, path) => {
    const fields = fieldsOf(path);
    for (let i = random.below(3); i >= 0; i--) {
      const field: [string, unknown] = [pick(random, FIELDS), pick(random, VALUES)];
      const at = fields.findIndex(([key]) => key === field[0]);
      if (at >= 0) fields[at] = field;
      else fields.push(field);
    }
    return { body: json(fields) };
  },
  // A value inside of the messages.
  (random) => {
    const message = {
      ...MESSAGES[0],
      [pick(random, ['role', 'content', 'name', 'tool_calls', 'tool_call_id', 'audio', 'what'])]: pick(random, VALUES),
    };
    return { path: PATHS[0], body: JSON.stringify({ model: MODEL, max_tokens: 2, messages: [message] }) };
  },
  // A field left out.
  (random, path) => ({ body: json(fieldsOf(path).filter((_, i) => i !== random.below(2))) }),
  // A byte of the JSON changed, or the end cut off.
  (random, path) => {
    const bytes = Buffer.from(json(fieldsOf(path)));
    if (random.below(2) === 0) return { body: bytes.subarray(0, random.below(bytes.length)), hopeless: true };
    bytes[random.below(bytes.length)] = random.below(256);
    return { body: bytes };
  },
  // Nested, long, empty, no object.
  (random) => {
    const deep = 2 ** (7 + random.below(9));
    const bodies = [
      `${'['.repeat(deep)}${']'.repeat(deep)}`,
      `${'{"a":'.repeat(deep)}1${'}'.repeat(deep)}`,
      '',
      '[]',
      '"x"',
      '12',
      'null',
      'NaN',
    ];
    return { body: pick(random, bodies), hopeless: true };
  },
  (random) => ({ body: garbage(random, 1 + random.below(2000)), hopeless: true }),
  // Longer than the context.
  (random, path) => {
    const text = 'hello '.repeat(400 + random.below(2000));
    const prompt: [string, unknown] = path === PATHS[0] ? ['messages', [{ role: 'user', content: text }]] : ['prompt', text];
    return { body: json([['model', MODEL], prompt]), hopeless: true };
  },
  // Token ids that are none.
  (random) => {
    const ids = Array.from({ length: 1 + random.below(8) }, () =>
      random.below(2) === 0 ? random.below(2 ** 20) : 300000 - random.below(2 ** 20),
    );
    return {
      path: PATHS[1],
      body: json([
        ['model', MODEL],
        ['prompt', [...ids, 1e7]],
      ]),
      hopeless: true,
    };
  },
  // Wrong about HTTP.
  (random, path) => {
    const [method, where] = pick(random, [
      ['GET', path],
      ['PUT', path],
      ['DELETE', '/v1/models'],
      ['POST', '/health'],
      ['POST', '/v1/embeddings'],
      ['GET', '/../etc/passwd'],
      ['GET', '//%00'],
      ['PATCH', `/${'x'.repeat(random.below(3000))}`],
    ] as const);
    return { method, path: where, hopeless: true };
  },
  (random, path) => {
    const headers = pick<Record<string, string>>(random, [
      { 'Content-Type': 'text/plain' },
      { 'Content-Type': '' },
      { 'Content-Encoding': 'gzip' },
      { Host: 'example.org' },
      { Origin: 'http://example.org' },
      { Origin: 'null' },
    ]);
    return { headers: { 'Content-Type': 'application/json', ...headers }, body: json(fieldsOf(path)), hopeless: true };
  },
];

export function wrongRequest(seed: number): WrongRequest {
  const random = new Random(seed);
  const path = pick(random, PATHS);
  const made = MAKERS[seed % MAKERS.length]!(random, path);
  return { method: 'POST', path, body: '', headers: { 'Content-Type': 'application/json' }, hopeless: false, ...made };
}
