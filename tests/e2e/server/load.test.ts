/** Many clients at once: none lost, none mixed up, none left behind. The server is a process of its own, so that its memory is its own. */
import { rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadModel } from '../../../lib/runtime/model.js';
import { Random } from '../../reference/random.js';
import { ask, type Child, CONTEXT, clientOf, eventually, MODEL, spawnServer, temporary, tinyDirectory } from './setup.js';

const STREAMS = 50;
const DISCONNECTS = 1000;
/** Of a server that has done this before. */
const MAX_GROWTH_BYTES = 24 << 20;

let root: string;
let directory: string;
let server: Child;
beforeAll(async () => {
  root = await temporary();
  directory = await tinyDirectory(root);
  server = await spawnServer(directory, ['--context', String(CONTEXT)]);
});
afterAll(async () => {
  server?.kill('SIGKILL');
  await server?.ended;
  await rm(root, { recursive: true, force: true });
});

const idle = () => Promise.all(['lutra_running', 'lutra_queue_length', 'lutra_sessions_lent'].map(server.figure));

/** The bytes of a request for a completion. */
function post(request: object): string {
  const body = JSON.stringify(request);
  return `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

describe('many streams', () => {
  /** Prompts with beginnings in common, so that sessions are taken over from each other. */
  const job = (i: number) => ({
    messages: [{ role: 'user' as const, content: `${'hello world '.repeat(1 + (i % 3))}${i}` }],
    seed: i,
    temperature: 2,
    max_tokens: 40,
  });

  it(`${STREAMS} at once say what each would say alone`, async () => {
    const model = await loadModel(directory, { npu: 'host', contextSize: CONTEXT, threads: 1 });
    const jobs = new Map<string, ReturnType<typeof job>>();
    for (let i = 0; jobs.size < STREAMS; i++) {
      const { messages, seed, temperature, max_tokens: maxTokens } = job(i);
      const session = await model.createSession();
      jobs.set(await session.generate(messages, { seed, temperature, maxTokens }).text(), job(i));
      await session.dispose();
    }
    await model.dispose();

    const client = clientOf(server);
    const before = await server.rssBytes();
    for (let round = 0; round < 2; round++) {
      const together = await Promise.all(
        [...jobs.values()].map(async (asked) => {
          let text = '';
          let finish: string | null = null;
          for await (const { choices } of await client.chat.completions.create({ model: MODEL, ...asked, stream: true })) {
            text += choices[0]?.delta.content ?? '';
            finish = choices[0]?.finish_reason ?? finish;
          }
          return finish === null ? 'cut off' : text;
        }),
      );
      expect(together).toEqual([...jobs.keys()]);
    }
    await eventually(idle, [0, 0, 0]);
    expect(await server.figure('lutra_sessions')).toBeLessThanOrEqual(4);
    expect((await server.rssBytes()) - before).toBeLessThan(2 * MAX_GROWTH_BYTES);
    expect(await server.figure('lutra_prefix_cache_total{result="hit"}')).toBeGreaterThan(0);
  });
});

describe('clients that go away', () => {
  /** One request whose client leaves after a while, if the answer is not there before. */
  function leave(random: Random): Promise<void> {
    const body = JSON.stringify({
      model: MODEL,
      messages: [{ role: 'user', content: 'hello world '.repeat(1 + random.below(12)) }],
      max_tokens: 400,
      stream: random.below(2) === 0,
    });
    return new Promise((resolve) => {
      const request = httpRequest({
        port: server.port,
        method: 'POST',
        path: '/v1/chat/completions',
        headers: { 'Content-Type': 'application/json' },
      });
      request.on('error', () => {});
      request.on('close', resolve);
      request.on('response', (response) => {
        response.on('error', () => {});
        response.resume();
      });
      // Some leave in the middle of the body.
      if (random.below(8) === 0) request.write(body.slice(0, 30));
      else request.end(body);
      setTimeout(() => request.destroy(), random.below(40));
    });
  }

  it(`${DISCONNECTS} of them leave nothing behind`, async () => {
    const random = new Random(11);
    const said = server.stderr();
    const some = async (count: number) => {
      let left = count;
      const one = async () => {
        while (left-- > 0) await leave(random);
      };
      await Promise.all(Array.from({ length: 20 }, one));
      await sleep(200); // what they sent last is on its way
      await eventually(idle, [0, 0, 0]);
    };
    await some(DISCONNECTS / 2);
    const middle = await server.rssBytes();
    await some(DISCONNECTS / 2);
    expect((await server.rssBytes()) - middle).toBeLessThan(MAX_GROWTH_BYTES);
    expect(await server.figure('lutra_requests_total{path="/v1/chat/completions",status="gone"}')).toBeGreaterThan(100);
    expect(server.stderr()).toBe(said);
    const { choices } = await clientOf(server).chat.completions.create({
      model: MODEL,
      messages: [{ role: 'user', content: 'still there?' }],
      max_tokens: 2,
    });
    expect(choices).toHaveLength(1);
  });

  it('before the server looks at them cost it little more than the look', async () => {
    const child = await spawnServer(directory, ['--context', String(CONTEXT)]);
    child.kill('SIGSTOP');
    const sockets = Array.from({ length: 20 }, (_, i) => {
      const socket = connect(child.port, '127.0.0.1').on('error', () => {});
      socket.write(post({ model: MODEL, prompt: `hello ${i}`, max_tokens: 400, temperature: 0, stream: i % 2 === 0 }));
      return socket;
    });
    await sleep(100);
    for (const [i, socket] of sockets.entries()) i % 4 < 2 ? socket.destroy() : socket.resetAndDestroy();
    child.kill('SIGCONT');
    const ended = async () => {
      const all = ['gone', '200'].map((status) =>
        child.figure(`lutra_requests_total{path="/v1/completions",status="${status}"}`).catch(() => 0),
      );
      return (await Promise.all(all)).reduce((a, b) => a + b);
    };
    await eventually(ended, 20);
    expect(await child.figure('lutra_tokens_total{kind="answer"}').catch(() => 0)).toBeLessThan(20 * 100);
    child.kill('SIGKILL');
    await child.ended;
  });
});

describe('a client that does not read', () => {
  it('holds up nobody', async () => {
    const socket = connect(server.port, '127.0.0.1').pause();
    socket.write(post({ model: MODEL, prompt: 'hello world', max_tokens: 400, temperature: 0, stream: true }));
    const { status } = await ask(server, 'POST', '/v1/completions', { model: MODEL, prompt: 'hello', max_tokens: 2 });
    expect(status).toBe(200);
    await eventually(idle, [0, 0, 0]);
    socket.destroy();
  });
});

describe('requests one behind the other on a connection', () => {
  const request = post({ model: MODEL, prompt: 'hello world', max_tokens: 300, temperature: 0 });

  it('are answered in order, and all end with the connection', async () => {
    const answered = await server.figure('lutra_requests_total{path="/v1/completions",status="200"}').catch(() => 0);
    const gone = await server.figure('lutra_requests_total{path="/v1/completions",status="gone"}').catch(() => 0);
    const socket = connect(server.port, '127.0.0.1');
    socket.write(request.repeat(12));
    let text = '';
    await new Promise<void>((resolve) =>
      socket.on('data', (data) => {
        text += data;
        if (text.split('HTTP/1.1 200').length > 2) resolve();
      }),
    );
    socket.destroy();
    await eventually(idle, [0, 0, 0]);
    const ended = async () => {
      const [now, left] = await Promise.all(
        ['200', 'gone'].map((status) => server.figure(`lutra_requests_total{path="/v1/completions",status="${status}"}`)),
      );
      return now! - answered + left! - gone;
    };
    await eventually(ended, 12);
  });
});

describe('the end', () => {
  const long = { model: MODEL, prompt: 'hello world', max_tokens: 300, temperature: 0 };

  it('by SIGTERM lets answers under way end, and takes no more', async () => {
    const child = await spawnServer(directory, ['--context', String(CONTEXT)]);
    const answers = Array.from({ length: 5 }, () => ask(child, 'POST', '/v1/completions', long));
    await eventually(() => child.figure('lutra_running'), 1);
    child.kill('SIGTERM');
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
    expect(await child.ended).toBe(0);
    await expect(ask(child, 'GET', '/health')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('by a second signal ends them; until then the queue holds 64, and the next get 429 with the time to wait', async () => {
    const child = await spawnServer(directory, ['--context', '8192']);
    const running = ask(child, 'POST', '/v1/completions', { ...long, max_tokens: 8000, stream: true });
    await eventually(() => child.figure('lutra_running'), 1);
    // All come at once, while the first still runs, however fast it is.
    child.kill('SIGSTOP');
    const others = Array.from({ length: 79 }, () => ask(child, 'POST', '/v1/completions', long));
    await sleep(200);
    child.kill('SIGCONT');
    await eventually(() => child.figure('lutra_requests_total{path="/v1/completions",status="429"}').catch(() => 0), 79 - 64);
    expect(await child.figure('lutra_queue_length')).toBe(64);
    child.kill('SIGINT');
    await sleep(50);
    child.kill('SIGINT');
    const answers = await Promise.all(others);
    expect(answers.filter(({ status }) => status === 503)).toHaveLength(64);
    for (const { status, headers, text } of answers) {
      if (status === 503) expect(JSON.parse(text)).toMatchObject({ error: { type: 'server_error', code: 'shutting_down' } });
      else {
        expect(JSON.parse(text)).toMatchObject({ error: { type: 'rate_limit_error', code: 'rate_limit_exceeded', param: null } });
        expect(Number(headers['retry-after'])).toBeGreaterThanOrEqual(1);
      }
    }
    const { status, text } = await running;
    const events = text.trim().split('\n\n');
    expect([status, events.length > 1, JSON.parse(events.at(-1)!.slice(6))]).toMatchObject([
      200,
      true,
      { error: { code: 'shutting_down' } },
    ]);
    expect(await child.ended).toBe(0);
  });
});
