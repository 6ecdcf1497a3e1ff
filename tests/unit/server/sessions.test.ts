/** Which session a prompt gets. */
import { expect, it } from 'vitest';
import { LutraError } from '../../../lib/graph/errors.js';
import type { EngineInfo } from '../../../lib/native/addon.js';
import type { Model } from '../../../lib/runtime/model.js';
import { Session } from '../../../lib/runtime/session.js';
import { SessionPool } from '../../../lib/server/sessions.js';
import { context, ScriptedEngine } from '../runtime/scripted-engine.js';

/** Each session has 100 bytes. */
class SizedEngine extends ScriptedEngine {
  override info(): EngineInfo {
    return { ...super.info(), bytes: { weights: 0, activations: 30, kvCache: 70, shadow: 0, shadowPinned: 0 } };
  }
}

/** `openable`: sessions that the model can open. */
function pool(sessions: number, bytes = 1e9, openable = 100): { pool: SessionPool; opened: ScriptedEngine[] } {
  const opened: ScriptedEngine[] = [];
  const createSession = async () => {
    if (opened.length === openable) throw new LutraError('LUTRA_QNN_CALL', 'no room');
    opened.push(new SizedEngine(''));
    return new Session(opened.at(-1)!, context());
  };
  return { pool: new SessionPool({ createSession, mode: 'cpu' } as unknown as Model, { sessions, bytes }), opened };
}

const prompt = (...parts: string[]) => [...Buffer.from(parts.join(''))];

/** Runs a prompt as the server does; how much of it was there. */
async function use(sessions: SessionPool, ids: number[]): Promise<number> {
  const { session, cached } = await sessions.take(ids);
  expect(session.tokens).toEqual(ids.slice(0, cached));
  await session.prefill(ids.slice(cached));
  sessions.giveBack(session, ids.length);
  return cached;
}

const A = 'a'.repeat(40);
const B = 'b'.repeat(40);

it('the one with the longest beginning, of which two tokens at least are computed again', async () => {
  const { pool: sessions, opened } = pool(4);
  expect(await use(sessions, prompt(A))).toBe(0);
  expect(await use(sessions, prompt(B))).toBe(0);
  expect(await use(sessions, prompt(A, 'and more'))).toBe(40);
  expect(await use(sessions, prompt(B, 'and more'))).toBe(40);
  expect(await use(sessions, prompt(A, 'and more'))).toBe(46);
  expect(opened).toHaveLength(2);
});

it('a new one where most of the best would be thrown away, while there is room; then the one that was not used for longest', async () => {
  const { pool: sessions, opened } = pool(2);
  await use(sessions, prompt('system ', A));
  expect(await use(sessions, prompt('system ', B))).toBe(0);
  expect(opened).toHaveLength(2);
  expect(await use(sessions, prompt('system ', 'c'.repeat(40)))).toBe(7);
  expect(opened).toHaveLength(2);
  expect(await use(sessions, prompt('system ', B))).toBe(45);
});

it.each([
  [0, 1],
  [199, 1],
  [200, 2],
  [1000, 4],
])('with %i bytes there are %i, and all are freed', async (bytes, count) => {
  const { pool: sessions, opened } = pool(4, bytes);
  for (const letter of 'abcdef') await use(sessions, prompt(letter.repeat(40)));
  expect(sessions.count).toBe(count);
  await sessions.dispose();
  expect([sessions.count, opened.every(({ disposed }) => disposed)]).toEqual([0, true]);
});

it('one that is there where the model can open no more; where none is there, the error', async () => {
  const { pool: sessions } = pool(4, 1e9, 2);
  for (const letter of 'abcd') expect(await use(sessions, prompt(letter.repeat(40)))).toBe(0);
  expect(sessions.count).toBe(2);
  await expect(pool(4, 1e9, 0).pool.take(prompt(A))).rejects.toMatchObject({ code: 'LUTRA_QNN_CALL' });
});

it('none of those on a library that does not answer one of them', async () => {
  const { pool: sessions, opened } = pool(4);
  await use(sessions, prompt(A));
  await use(sessions, prompt(B));
  const { session } = await sessions.take(prompt(A));
  Object.defineProperty(session, 'lost', { value: true });
  sessions.giveBack(session, 0);
  expect([sessions.count, opened.every(({ disposed }) => disposed)]).toEqual([0, true]);
  expect(await use(sessions, prompt(A))).toBe(0);
});
