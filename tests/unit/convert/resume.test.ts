/** A conversion that was killed is gone on with, and what it then gives is what it would have given. */
import { copyFileSync, cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type ConvertOptions, type ConvertProgress, convertModel } from '../../../lib/convert/convert.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { tinyGguf } from './tiny-gguf.js';

/** 2^22 is the largest pid that Linux gives. */
const DEAD = 4_194_999;
const FLOAT = { qkv: 'w8f16', o: 'w8f16', gateup: 'w8f16', down: 'w8f16' } as const;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lutra-resume-'));
  writeFileSync(join(root, 'tiny.gguf'), tinyGguf({ storages: ['q4_0', 'f32', 'bf16'], tied: false }).bytes());
});
afterEach(() => rmSync(root, { recursive: true }));

/** Calls that made NPU weights, and that made CPU weights anew. */
interface Work {
  folded: number;
  requantised: number;
}

async function convert(given: Partial<ConvertOptions> = {}): Promise<Work> {
  const addon = loadAddon();
  const work = { folded: 0, requantised: 0 };
  const counting: ConvertOptions['addon'] = {
    ...addon,
    foldS8: (options) => {
      work.folded++;
      return addon.foldS8(options);
    },
    quantizeLowBit: (...all) => {
      work.requantised++;
      return addon.quantizeLowBit(...all);
    },
  };
  const options = { precision: FLOAT, transform: 'rotate', cpuWeights: 'w4g32', threads: 1 } as const;
  await convertModel({ input: join(root, 'tiny.gguf'), output: join(root, 'model'), addon: counting, ...options, ...given });
  return work;
}

function files(): Map<string, Buffer> {
  const names = readdirSync(join(root, 'model')).sort();
  return new Map(names.map((name) => [name, readFileSync(join(root, 'model', name))]));
}

/** The directory that a conversion writes in. */
const staging = (): string[] => readdirSync(root).filter((name) => name.startsWith('.model.lutra-tmp-'));

/** Leaves what a process leaves that is killed when `when` holds; gives the directory. */
async function killed(when: (progress: ConvertProgress) => boolean, given: Partial<ConvertOptions> = {}): Promise<string> {
  let left = '';
  const onProgress = (progress: ConvertProgress): void => {
    if (left !== '' || !when(progress)) return;
    const [name = ''] = staging().filter((one) => !one.includes(`-${DEAD}-`));
    left = join(root, name.replace(`-tmp-${process.pid}-`, `-tmp-${DEAD}-`));
    cpSync(join(root, name), left, { recursive: true });
    throw new Error('killed');
  };
  await expect(convert({ ...given, onProgress })).rejects.toThrow('killed');
  expect(left).not.toBe('');
  return left;
}

const inLayer =
  (layer: number) =>
  ({ stage, done }: ConvertProgress) =>
    stage === 'npu weights' && done === layer + 1;
const inCpuWeights = ({ stage, done, total }: ConvertProgress): boolean => stage === 'cpu weights' && done * 2 > total;

describe('a killed conversion', () => {
  let whole: Map<string, Buffer>;
  let all: Work;
  beforeEach(async () => {
    all = await convert();
    whole = files();
    rmSync(join(root, 'model'), { recursive: true });
  });

  /** Converts again; the work that was left to do. */
  async function again(given: Partial<ConvertOptions> = {}): Promise<Work> {
    const work = await convert(given);
    expect(files()).toEqual(whole);
    expect(readdirSync(root).sort()).toEqual(['model', 'tiny.gguf']);
    return work;
  }

  it('gives the same bytes every time', async () => {
    expect(await again()).toEqual(all);
  });

  it('is gone on with behind what was whole', async () => {
    await killed(inCpuWeights);
    const half = await again();
    expect(half.folded).toBe(all.folded);
    expect(half.requantised).toBeLessThan(all.requantised);
    rmSync(join(root, 'model'), { recursive: true });
    await killed(inLayer(1));
    expect(await again()).toEqual({ folded: all.folded / 2, requantised: 0 });
  });

  it('is gone on with before what is cut off, damaged or was never written', async () => {
    const left = await killed(inLayer(1));
    const npu = join(left, 'npu.safetensors');
    const { size } = statSync(npu);
    const intact = join(root, 'intact');
    copyFileSync(npu, intact);
    for (const damage of [
      () => truncateSync(npu, size - 5),
      () => truncateSync(npu, 100),
      () => writeFileSync(npu, readFileSync(npu).fill(0, size >> 1)),
      () => writeFileSync(npu, Buffer.concat([readFileSync(npu), Buffer.alloc(77, 1)])),
      () => writeFileSync(`${npu}.done`, ''),
      () => rmSync(`${npu}.done`),
      () => writeFileSync(join(left, 'lutra.json'), '{'),
    ]) {
      const saved = join(root, 'saved');
      cpSync(left, saved, { recursive: true });
      damage();
      const work = await convert();
      expect(files()).toEqual(whole);
      expect(work.requantised).toBe(0);
      expect(staging()).toEqual([]);
      rmSync(join(root, 'model'), { recursive: true });
      cpSync(saved, left, { recursive: true });
      rmSync(saved, { recursive: true });
    }
  });

  it('is thrown away by one of another source or with other options', async () => {
    await killed(inLayer(1), { transform: 'none' });
    expect(await again()).toEqual(all);
    rmSync(join(root, 'model'), { recursive: true });
    const source = join(root, 'tiny.gguf');
    const bytes = readFileSync(source);
    const other = Buffer.from(bytes);
    other[bytes.length - 1] = (other.at(-1) ?? 0) ^ 1;
    writeFileSync(source, other);
    await killed(inLayer(1));
    writeFileSync(source, bytes);
    expect(await again()).toEqual(all);
  });

  it('is gone on with by one of two that start at once, and both end well', async () => {
    await killed(inLayer(1));
    const works = await Promise.all([convert(), convert()]);
    expect(works.map(({ folded }) => folded).sort((a, b) => a - b)).toEqual([all.folded / 2, all.folded]);
    expect(files()).toEqual(whole);
    expect(readdirSync(root).sort()).toEqual(['model', 'tiny.gguf']);
  });
});
