/** What must not be answered, and how it is refused: fields, keys, origins, lengths, and thousands of random requests. */
import { rm } from 'node:fs/promises';
import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Random } from '../../reference/random.js';
import {
  type Answer,
  ask,
  type Child,
  MESSAGES,
  MODEL,
  type Served,
  serveDirectory,
  spawnServer,
  temporary,
  tinyDirectory,
} from './setup.js';
import { wrongRequest } from './wrong-requests.js';

/** `scripts/test --long` sets it to 20,000. */
const FUZZED = Number(process.env.LUTRA_SERVER_REQUESTS || 600);

let root: string;
let directory: string;
let served: Served;
beforeAll(async () => {
  root = await temporary();
  directory = await tinyDirectory(root);
  served = await serveDirectory(directory, { apiKey: 'secret', corsOrigins: ['https://allowed.example'], bodyLimit: 2048 });
});
afterAll(async () => {
  expect(served.failures).toEqual([]);
  await served.stop();
  await rm(root, { recursive: true, force: true });
});

const key = { Authorization: 'Bearer secret' };
const right = { model: MODEL, messages: MESSAGES, max_tokens: 1 };

/** Status and error of an answer, whose form is checked. */
function errorOf({ status, headers, text }: Answer): [number, Record<string, unknown>] {
  const body = JSON.parse(text) as { error: Record<string, unknown> };
  expect(Object.keys(body)).toEqual(['error']);
  expect(Object.keys(body.error).sort()).toEqual(['code', 'message', 'param', 'type']);
  expect(body.error.message).toMatch(/\w/);
  expect(typeof body.error.code).toBe('string');
  expect(headers['content-type']).toMatch(/^application\/json/);
  return [status, body.error];
}

async function refused(body: unknown, headers: Record<string, string> = key): Promise<[number, Record<string, unknown>]> {
  return errorOf(await ask(served.server, 'POST', '/v1/chat/completions', body, headers));
}

describe('fields', () => {
  it.each<[string, object, string]>([
    ['temperature', { temperature: 3 }, "'temperature' is 3, but must be from 0 to 2."],
    ['temperature', { temperature: '1' }, "'temperature' is '1', but must be a number from 0 to 2."],
    ['max_tokens', { max_tokens: 0 }, 'an integer of at least 1'],
    ['n', { n: 2 }, 'one choice'],
    ['temprature', { temprature: 1 }, "did you mean 'temperature'?"],
    ['messages', { messages: [] }, 'at least 1'],
    ['messages[0].role', { messages: [{ role: 'narrator', content: 'x' }] }, "'system' or"],
    ['messages[0].content', { messages: [{ role: 'user' }] }, 'missing'],
    ['messages[0].content[0].type', { messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }, "must be 'text'"],
    ['messages[0].tool_call_id', { messages: [{ role: 'tool', content: 'x' }] }, 'missing'],
    ['response_format', { response_format: { type: 'json_object' } }, "{ type: 'text' }"],
    ['stop', { stop: Array.from({ length: 17 }, () => 'x') }, 'at most 16'],
    ['stream_options', { stream_options: { include_usage: true } }, "goes with 'stream'"],
    ['top_logprobs', { top_logprobs: 2 }, "goes with 'logprobs'"],
    ['tool_choice', { tool_choice: 'required' }, 'forced'],
    ['frequency_penalty', { frequency_penalty: 1 }, 'repetition_penalty'],
    ['max_tokens', { max_completion_tokens: 2 }, 'differ'],
  ])('%s: %j', async (param, change, sentence) => {
    const [status, error] = await refused({ ...right, ...change });
    expect([status, error.type, error.param]).toEqual([400, 'invalid_request_error', param]);
    expect(error.message).toContain(sentence);
  });

  it('that change nothing, or ask for what happens anyway, are accepted', async () => {
    const harmless = {
      n: 1,
      user: 'me',
      store: false,
      metadata: {},
      frequency_penalty: 0,
      logit_bias: {},
      response_format: { type: 'text' },
      stop: null,
    };
    expect((await ask(served.server, 'POST', '/v1/chat/completions', { ...right, ...harmless }, key)).status).toBe(200);
  });
});

describe('access', () => {
  it('needs the key, whose absence and wrongness are told apart', async () => {
    expect(await refused(right, {})).toMatchObject([401, { code: 'invalid_api_key', type: 'authentication_error' }]);
    expect(await refused(right, { Authorization: 'Bearer secre' })).toMatchObject([401, { message: 'The API key is wrong.' }]);
    for (const path of ['/v1/models', '/metrics', '/events']) expect((await ask(served.server, 'GET', path)).status).toBe(401);
    for (const path of ['/v1/models', '/metrics', '/events'])
      expect(await ask(served.server, 'HEAD', path, undefined, key)).toMatchObject({ status: 200, text: '' });
    expect((await ask(served.server, 'GET', '/health')).status).toBe(200);
    expect((await served.client.chat.completions.create(right)).choices).toHaveLength(1);
  });

  it('is not for pages of other origins, nor for other names of this machine', async () => {
    expect(await refused(right, { ...key, Origin: 'https://evil.example' })).toMatchObject([403, { code: 'forbidden_origin' }]);
    expect(await refused(right, { ...key, Host: 'evil.example' })).toMatchObject([403, { code: 'forbidden_host' }]);
    const own = await ask(served.server, 'POST', '/v1/chat/completions', right, { ...key, Origin: served.server.url });
    expect([own.status, own.headers['access-control-allow-origin']]).toEqual([200, undefined]);
  });

  it('is for pages of the origins that were named', async () => {
    const Origin = 'https://allowed.example';
    const asked = await ask(served.server, 'OPTIONS', '/v1/chat/completions', undefined, {
      Origin,
      'Access-Control-Request-Method': 'POST',
    });
    expect([asked.status, asked.headers['access-control-allow-origin']]).toEqual([204, Origin]);
    const answer = await ask(served.server, 'POST', '/v1/chat/completions', right, { ...key, Origin });
    expect([answer.status, answer.headers['access-control-allow-origin']]).toEqual([200, Origin]);
  });
});

describe('lengths and times', () => {
  it('a body over the limit is read and refused, one without end is cut off', async () => {
    expect(await refused({ ...right, user: 'x'.repeat(5000) })).toMatchObject([413, { code: 'body_too_large' }]);
    const request = httpRequest({
      port: served.server.port,
      method: 'POST',
      path: '/v1/completions',
      headers: { ...key, 'Content-Type': 'application/json' },
    });
    const closed = new Promise<void>((resolve) => request.on('close', resolve));
    request.on('error', () => {});
    const pump = setInterval(() => request.write('x'.repeat(16384)), 1);
    await closed;
    clearInterval(pump);
  });

  /** What comes back for raw bytes. */
  function raw(bytes: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(served.server.port, '127.0.0.1', () => socket.write(bytes));
      let text = '';
      socket.on('data', (data) => {
        text += data;
      });
      socket.on('error', reject);
      socket.on('close', () => resolve(text));
    });
  }

  it('headers that do not come are not waited for', async () => {
    const text = await raw('GET /health HTTP/1.1\r\nHost: localhost\r\n');
    expect(text).toMatch(/^HTTP\/1.1 408 /);
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toMatchObject({ error: { code: 'request_timeout' } });
  });

  it.each([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['headers without end', `GET / HTTP/1.1\r\nX: ${'x'.repeat(20000)}`, 431],
    ['two lengths', 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n', 400],
    ['no host', 'GET /health HTTP/1.0\r\nConnection: close\r\n\r\n', 403],
  ])('%s', async (_name, bytes, status) => {
    const text = await raw(bytes);
    expect(text).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
    expect(JSON.parse(text.slice(text.indexOf('\r\n\r\n')))).toHaveProperty('error.message');
  });
});

describe('random requests', () => {
  let server: Child;
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  beforeAll(async () => {
    server = await spawnServer(directory, ['--context', '64', '--body-limit', '65536']);
  });
  afterAll(async () => {
    agent.destroy();
    server?.kill('SIGKILL');
    await server?.ended;
  });

  it(`${FUZZED} of them: each is answered, 4xx where it is wrong, never 5xx`, async () => {
    const said = server.stderr();
    const counts = new Map<number, number>();
    const one = async (seed: number) => {
      const wrong = wrongRequest(seed);
      const { method, path, body, headers } = wrong;
      const answer = await ask(server, method, path, body, headers, agent).catch((error: unknown) => {
        throw new Error(`request ${seed} was not answered: ${String(error)}; ${JSON.stringify(wrong)}`);
      });
      counts.set(answer.status, (counts.get(answer.status) ?? 0) + 1);
      const fine = answer.status === 200 && !wrong.hopeless;
      if (!fine && !(answer.status >= 400 && answer.status < 500))
        throw new Error(`request ${seed}: ${answer.status} ${answer.text}; ${JSON.stringify(wrong)}`);
      if (!fine) errorOf(answer);
    };
    let next = 0;
    const some = async () => {
      while (next < FUZZED) await one(next++);
    };
    await Promise.all(Array.from({ length: 8 }, some));
    expect(server.stderr()).toBe(said);
    expect(await server.figure('lutra_running')).toBe(0);
    expect([...counts.values()].reduce((a, b) => a + b)).toBe(FUZZED);
    for (const status of [200, 400, 403, 404, 405, 415]) expect(counts.get(status)).toBeGreaterThan(0);
  });

  it(`${FUZZED / 10} times damaged HTTP: an answer or the end of the connection, never 5xx`, async () => {
    const body = JSON.stringify({ model: MODEL, prompt: 'hello', max_tokens: 1 });
    const head = `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
    const random = new Random(9);
    const statuses = new Set<string>();
    for (let i = 0; i < FUZZED / 10; i++) {
      const bytes = Buffer.from(head + body, 'latin1');
      for (let n = random.below(4); n >= 0; n--) bytes[random.below(head.length)] = random.below(256);
      const socket = connect(server.port, '127.0.0.1', () => socket.write(bytes));
      const enough = setTimeout(() => socket.end(), 50); // a length that is too large is waited for
      let text = '';
      for await (const data of socket) text += String(data);
      clearTimeout(enough);
      const [, status = 'none'] = /^HTTP\/1\.1 (\d+) /.exec(text) ?? [];
      statuses.add(status);
      if (status.startsWith('5')) throw new Error(`${JSON.stringify(bytes.toString('latin1'))}: ${text}`);
    }
    expect(statuses).toContain('200');
    expect(statuses).toContain('400');
    expect((await ask(server, 'GET', '/health')).status).toBe(200);
  });
});
