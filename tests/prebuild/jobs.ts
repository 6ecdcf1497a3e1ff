/** Runs job.mjs: the same work on another addon, another processor, or under the system call filter of an Android app. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DEFAULT_PRECISION, parsePrecision } from '../../lib/convert/precision.js';
import { root } from '../e2e/helpers.js';
import { makeTiny } from '../e2e/tiny.js';
import { TINY } from '../unit/convert/tiny-gguf.js';

/** What job.mjs prints. */
export interface Job {
  platform: string;
  isa: string;
  products: Record<string, string>;
  models: Record<'none' | 'host', { greedy: number[]; drawn: number[] }>[];
}

export const execute = promisify(execFile);
/** The programs that run node on x86-64, on a processor that qemu-user plays, and, before either, under the filter. */
export const X64: readonly string[] = [process.execPath];
export const arm64 = (cpu: string): readonly string[] => [
  'qemu-aarch64',
  '-L',
  '/usr/aarch64-linux-gnu',
  '-cpu',
  cpu,
  join(root, 'tests/prebuild/node_modules/node-arm64/bin/node'),
];
export const FILTER: readonly string[] = ['python3', join(root, 'scripts/lib/android-filter.py')];

export async function runJob(command: readonly string[], models: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Job> {
  const [program = '', ...args] = command;
  const { stdout } = await execute(program, [...args, join(root, 'tests/prebuild/job.mjs'), ...models], {
    env: { ...process.env, ...env },
    maxBuffer: 1e7,
  });
  return JSON.parse(stdout) as Job;
}

/** Directories of tiny models: the default precisions, a rotated one with 8 bits everywhere, one with weights of 2 bits on the CPU. */
export async function makeModels(folder: string): Promise<string[]> {
  const storages = ['q4_1', 'q8_0', 'q4_0'] as const;
  const rotated = { sizes: { ...TINY, hidden: 96, headDim: 24 }, seed: 12, storages };
  const tiny = [
    await makeTiny(folder, 'default', DEFAULT_PRECISION, { seed: 11, storages }),
    await makeTiny(folder, 'rotated', parsePrecision('all=w8a8'), rotated, { transform: 'rotate' }),
    await makeTiny(folder, 'w2', parsePrecision('all=w8a16'), { seed: 13, storages: ['f16'] }, { cpuWeights: 'w2g64' }),
  ];
  return tiny.map(({ directory }) => directory);
}
