/** Where the weights are that the CPU's repairs read: the same bits wherever, and what is not kept in memory is not. */
import { execFile } from 'node:child_process';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parsePrecision } from '../../lib/convert/precision.js';
import { SHADOW_RESIDENCIES } from '../../lib/native/addon.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { reseal } from '../reference/reseal.js';
import { modelDirectory, root as repository } from './helpers.js';
import { makeTiny, type TinyModelFiles, tinyTokens } from './tiny.js';

const EVERYTHING_REPAIRED = parsePrecision('qkv=w8a8s,o=w8a8s,gateup=w8a8,down=w8a8s');
const OPTIONS = { npu: 'host', contextSize: 64, threads: 2 } as const;
const TOKENS = tinyTokens(3, 45);

let root: string;
let files: TinyModelFiles;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'lutra-residency-'));
  files = await makeTiny(root, 'model', EVERYTHING_REPAIRED, { seed: 5 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function logits(directory: string, options: LoadOptions) {
  const model = await loadModel(directory, { ...OPTIONS, ...options });
  try {
    const session = await model.createSession();
    const values = await session.prefill(TOKENS, { logits: 'all' });
    return { values, bytes: session.info().bytes, timings: session.timings() };
  } finally {
    await model.dispose();
  }
}

/** A copy of the model to do something to. */
function copy(name: string): string {
  const directory = join(root, name);
  cpSync(files.directory, directory, { recursive: true });
  return directory;
}

/** Of all linears that are repaired, read from the file. */
function listedChannels(): number {
  return Object.values(files.spec.linears).reduce((sum, { hot }) => sum + (hot ?? 0), 0);
}

describe('shadowResidency', () => {
  it('gives the same bits in every mode, and says what it keeps', async () => {
    const results = await Promise.all(SHADOW_RESIDENCIES.map((shadowResidency) => logits(files.directory, { shadowResidency })));
    const [all, hot, disk] = results;
    expect(all?.timings.repairedInputs).toBeGreaterThan(100);
    expect(all?.timings.repairedOutputs).toBeGreaterThan(10);
    for (const { values, timings } of results) {
      expect(values).toEqual(all?.values);
      expect(timings.repairedInputs).toBe(all?.timings.repairedInputs);
    }
    // q, k, v, o and down of every layer.
    const { hidden, ffn, layers, heads, kvHeads, headDim } = files.arch;
    const weights = layers * (hidden * headDim * (heads + 2 * kvHeads) + heads * headDim * hidden + ffn * hidden);
    for (const { bytes } of results) expect(bytes.shadow).toBe(weights);
    expect([all?.bytes.shadowPinned, disk?.bytes.shadowPinned]).toEqual([0, 0]);
    expect([all?.timings.hotInputs, disk?.timings.hotInputs]).toEqual([0, 0]);
    expect(listedChannels()).toBeGreaterThan(10);
    expect(hot?.bytes.shadowPinned).toBeGreaterThanOrEqual(listedChannels() * kvHeads * headDim);
    expect(hot?.bytes.shadowPinned).toBeLessThan(weights / 4);
    // The text that chose them is not this one, but it is the same model.
    expect(hot?.timings.hotInputs).toBeGreaterThan(((all?.timings.repairedInputs ?? 0) * listedChannels()) / (layers * (4 * hidden + ffn)));
    expect(hot?.timings.hotInputs).toBeLessThan(all?.timings.repairedInputs ?? 0);
  });

  it('is no concern of a plan without repairs, whose logits are others', async () => {
    const [repaired, not] = [await logits(files.directory, {}), await logits(files.directory, { repair: false, shadowResidency: 'disk' })];
    expect(not.bytes.shadow).toBe(0);
    expect(not.timings).toMatchObject({ repairedInputs: 0, repairedOutputs: 0, shadowMs: 0 });
    expect(not.values).not.toEqual(repaired.values);
  });

  it.each(SHADOW_RESIDENCIES)(
    '%s: weights that are truncated under a session are LUTRA_IO, and another model goes on',
    async (shadowResidency) => {
      const directory = copy(`shrinking-${shadowResidency}`);
      const model = await loadModel(directory, { ...OPTIONS, shadowResidency });
      const other = await loadModel(files.directory, { ...OPTIONS, shadowResidency });
      const session = await model.createSession();
      await session.prefill(TOKENS.slice(0, 9));
      truncateSync(join(directory, 'npu.safetensors'), 0);
      for (let i = 0; i < 3; i++) {
        await expect(session.prefill(TOKENS.slice(9, 20))).rejects.toMatchObject({
          code: 'LUTRA_IO',
          message: expect.stringContaining('npu.safetensors'),
          remedy: expect.stringMatching(/./),
        });
      }
      expect((await other.generate([5, 6, 7], { maxTokens: 3, ignoreEos: true }).result()).tokens).toHaveLength(3);
      await model.dispose();
      await other.dispose();
    },
  );

  it('disk: a file that is removed or replaced under a session is still the one that was opened', async () => {
    const directory = copy('vanishing');
    const model = await loadModel(directory, { ...OPTIONS, shadowResidency: 'disk' });
    const session = await model.createSession();
    const file = join(directory, 'npu.safetensors');
    copyFileSync(file, `${file}.new`);
    writeFileSync(`${file}.new`, readFileSync(file).reverse());
    const wanted = (await logits(files.directory, {})).values;
    const again = async () => {
      session.reset();
      return session.prefill(TOKENS, { logits: 'all' });
    };
    renameSync(`${file}.new`, file);
    expect(await again()).toEqual(wanted);
    rmSync(file);
    expect(await again()).toEqual(wanted);
    await model.dispose();
  });

  it.each([
    ['that are not there', (list: Uint32Array) => list.set([9999]), /layers\.1\.down\.hot' names channel 9999 of /],
    ['twice', (list: Uint32Array) => list.set([list[1] ?? 0]), /layers\.1\.down\.hot' names channel \d+ twice/],
  ])('hot: a list that names channels %s is LUTRA_BAD_FILE', async (what, spoil, message) => {
    const directory = copy(`list-${what.length}`);
    const file = join(directory, 'npu.safetensors');
    const bytes = readFileSync(file);
    const header = Number(bytes.readBigUInt64LE());
    const [begin = 0, end = 0] =
      (JSON.parse(bytes.toString('utf8', 8, 8 + header)) as Record<string, { data_offsets: number[] }>)['layers.1.down.hot']
        ?.data_offsets ?? [];
    const list = new Uint32Array(Uint8Array.from(bytes.subarray(8 + header + begin, 8 + header + end)).buffer);
    spoil(list);
    bytes.set(new Uint8Array(list.buffer), 8 + header + begin);
    writeFileSync(file, bytes);
    reseal(directory);
    await expect(logits(directory, { shadowResidency: 'hot' })).rejects.toMatchObject({
      code: 'LUTRA_BAD_FILE',
      message: expect.stringMatching(message),
    });
    // Nobody else reads the list.
    expect((await logits(directory, { shadowResidency: 'disk' })).values).toHaveLength((await logits(files.directory, {})).values.length);
  });
});

describe('memory of a real model', () => {
  it('disk keeps at most 1.02 × what is resident without repairs', async () => {
    const model = modelDirectory('smollm2-135m-int8');
    const script = join(repository, 'tests/bench/residency.mjs');
    const { stdout, code } = await new Promise<{ stdout: string; code: number }>((done) => {
      execFile(process.execPath, [script, '--json', '--model', model, '--tokens', '128'], (error, out) =>
        done({ stdout: out, code: error ? Number(error.code) : 0 }),
      );
    });
    const { ratio, same, rows } = JSON.parse(stdout) as {
      ratio: number;
      same: boolean;
      rows: { mode: string; rss: number; mapped: number; bytes: { shadow: number } }[];
    };
    console.log(
      rows
        .map(({ mode, rss, mapped }) => `${mode}: ${(rss / 1e6).toFixed(1)} MB, ${(mapped / 1e6).toFixed(1)} MB of the NPU's weights`)
        .join('; '),
      `ratio ${ratio.toFixed(4)}`,
    );
    expect(code).toBe(0);
    expect(same).toBe(true);
    expect(ratio).toBeLessThanOrEqual(1.02);
    // It has teeth: what is not given back is seen.
    const [without, all, , disk] = rows;
    const ofRepairs = (row: (typeof rows)[number] | undefined) => (row?.mapped ?? Number.NaN) - (without?.mapped ?? Number.NaN);
    expect(ofRepairs(all)).toBeGreaterThan(0.9 * (all?.bytes.shadow ?? Number.NaN));
    expect(ofRepairs(disk)).toBeLessThan(0.2 * (all?.bytes.shadow ?? Number.NaN));
  });
});
