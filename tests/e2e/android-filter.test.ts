/** The main work under the system call filter of an app's process on Android 9 (scripts/lib/android-filter.py): the same answers, and no call that the filter kills for. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { execute, FILTER, makeModels, runJob, X64 } from '../prebuild/jobs.js';

it('the filter ends a process for a call that is not on its list, and lacks those that libraries do without', async () => {
  const [program = '', ...args] = FILTER;
  const call = (number: number) =>
    execute(program, [
      ...args,
      'python3',
      '-c',
      `import ctypes; libc = ctypes.CDLL(None, use_errno=True); print(libc.syscall(${number}, 0, 0, 0), ctypes.get_errno())`,
    ]);
  // Numbers of x86-64: io_uring_setup, openat2, close_range; userfaultfd, keyctl; getpid.
  for (const number of [425, 437, 436]) expect((await call(number)).stdout).toBe('-1 38\n');
  for (const number of [323, 250]) await expect(call(number)).rejects.toMatchObject({ signal: 'SIGSYS' });
  expect((await call(39)).stdout).toMatch(/^\d+ 0\n$/);
});

it('models run under it and answer as without it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'lutra-filter-'));
  try {
    const models = await makeModels(folder);
    const expected = await runJob(X64, models);
    for (const { none, host } of expected.models) for (const { drawn } of [none, host]) expect(new Set(drawn).size).toBeGreaterThan(8);
    expect(await runJob([...FILTER, ...X64], models)).toEqual(expected);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
