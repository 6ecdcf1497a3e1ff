/** Runs cases: what each must show, and what all of them together must not leave behind. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect } from 'vitest';
import { type BadCase, type Outcome, outcomeOf, type World } from './case.js';

/** An answer later than this is a hang. */
const LIMIT_MS = 1000;
/** Other work on the machine may delay one attempt, not each of them. */
const ATTEMPTS = 3;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

/** The case fails as its table says, in time, and the good model answers afterwards. `startup`: how long it takes before a case can begin, asked when it was slow. */
export async function runCase(
  world: World,
  one: BadCase,
  prepared: unknown,
  startup: () => Promise<number> = async () => 0,
): Promise<void> {
  let best = Number.POSITIVE_INFINITY;
  let outcome: Outcome | undefined;
  for (let attempt = 0; attempt < ATTEMPTS && best > LIMIT_MS; attempt++) {
    const start = performance.now();
    outcome = await outcomeOf(() => one.call(world, prepared));
    best = Math.min(best, performance.now() - start);
  }
  const { code = '', message = '', remedy = '' } = outcome ?? {};

  expect(`${code}: ${message}`).toMatch(new RegExp(`^${one.code}: `));
  if (one.says instanceof RegExp) expect(message).toMatch(one.says);
  else expect(message).toContain(one.says);
  expect(remedy, message).not.toBe('');
  expect(message.length, message).toBeLessThan(5000); // a library may list all its ops
  if (best > LIMIT_MS) best -= await startup();
  expect(best, message).toBeLessThan(LIMIT_MS);
  const { tokens } = await world.model.generate([5, 6, 7], { maxTokens: 2, ignoreEos: true }).result();
  expect(tokens).toHaveLength(2);
}

/** Calls a case again and again: for at most `ms`, at most `most` times, three times at least. */
async function repeatCase(world: World, one: BadCase, prepared: unknown, { ms = 15, most = 50 } = {}): Promise<number> {
  const start = performance.now();
  let calls = 0;
  while (calls < 3 || (calls < most && performance.now() - start < ms)) {
    await outcomeOf(() => one.call(world, prepared));
    calls++;
  }
  return calls;
}

/** Rounds over all cases until one of them leaves less memory behind than `enough` MB: garbage does so soon, a leak never. */
export async function expectNothingLeft(
  world: World,
  cases: readonly BadCase[],
  prepared: ReadonlyMap<string, unknown>,
  { rounds = 5, enough = 2 } = {},
): Promise<string> {
  let calls = 0;
  const round = async () => {
    for (const one of cases) calls += await repeatCase(world, one, prepared.get(one.name));
    return holdings();
  };
  await round();
  let before = await holdings();
  let growth = Number.POSITIVE_INFINITY;
  for (let i = 0; i < rounds && growth > enough; i++) {
    calls = 0;
    const after = await round();
    expect({ descriptors: after.descriptors, threads: after.threads }).toEqual({
      descriptors: before.descriptors,
      threads: before.threads,
    });
    growth = (after.rss - before.rss) / 2 ** 20;
    before = after;
  }
  expect(growth).toBeLessThan(enough);
  return `${cases.length} cases; ${calls} calls left ${growth.toFixed(1)} MB`;
}

/** What a process holds. */
interface Holdings {
  rss: number;
  descriptors: number;
  threads: number;
}

/** After the garbage is gone, finalizers included. */
async function holdings(): Promise<Holdings> {
  for (let i = 0; i < 4; i++) {
    collect();
    await sleep(5);
  }
  const count = (directory: string) => readdirSync(directory).length;
  return { rss: process.memoryUsage().rss, descriptors: count('/proc/self/fd'), threads: count('/proc/self/task') };
}
