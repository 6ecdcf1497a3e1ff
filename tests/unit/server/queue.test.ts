/** One at a time, in order, no more than fit, none left. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Queue } from '../../../lib/server/queue.js';
import { Random } from '../../reference/random.js';

const never = new AbortController().signal;

it('runs in the order in which requests came, one at a time', async () => {
  const queue = new Queue(10);
  const order: number[] = [];
  let inside = 0;
  const one = (i: number) =>
    queue.run(never, async () => {
      expect(++inside).toBe(1);
      await sleep(1);
      order.push(i);
      inside--;
    });
  await Promise.all(Array.from({ length: 8 }, (_, i) => one(i)));
  expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
});

it('refuses what does not fit, and lets go of what is aborted while it waits', async () => {
  const queue = new Queue(2);
  const abort = new AbortController();
  let end = () => {};
  const first = queue.run(never, () => new Promise<void>((resolve) => (end = resolve)));
  const second = queue.run(abort.signal, async () => 'second');
  const third = queue.run(never, async () => 'third');
  await expect(queue.run(never, async () => 'fourth')).rejects.toMatchObject({ status: 429, headers: { 'Retry-After': '1' } });
  abort.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  expect(queue.waiting).toBe(1);
  await expect(queue.run(abort.signal, async () => 'fifth')).rejects.toThrow('gone');
  end();
  await first;
  expect(await third).toBe('third');
  await queue.drained();
});

it('goes on after work that fails, and has nobody left after a thousand random requests', async () => {
  const random = new Random(3);
  const queue = new Queue(20);
  const results = await Promise.allSettled(
    Array.from({ length: 1000 }, async () => {
      await sleep(random.below(60));
      const signal = AbortSignal.timeout(1 + random.below(30));
      await queue.run(signal, async () => {
        await sleep(random.below(2));
        if (random.below(4) === 0) throw new Error('failed');
      });
    }),
  );
  await queue.drained();
  expect([queue.running, queue.waiting]).toEqual([0, 0]);
  expect(new Set(results.map(({ status }) => status))).toEqual(new Set(['fulfilled', 'rejected']));
});
