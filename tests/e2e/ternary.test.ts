/** GGUF files of ternary weights: every value is the file's, and logits are those of the values. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_PRECISION } from '../../lib/convert/precision.js';
import { ternaryRows } from '../../lib/convert/ternary.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { referenceDecoder } from '../reference/decoder.js';
import { Random } from '../reference/random.js';
import { TERNARY, type TernaryName, ternaryBlocks } from '../reference/ternary.js';
import { makeTiny, nmseRows, type TinyModelFiles, tinyTokens } from './tiny.js';

const NAMES = Object.keys(TERNARY) as TernaryName[];
const TOKENS = tinyTokens(6, 19);

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-ternary-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** NMSE of the logits against float64, `piece` tokens at a time. */
async function error({ directory, arch, weights }: TinyModelFiles, load: LoadOptions, piece: number): Promise<number> {
  const model = await loadModel(directory, { contextSize: 64, threads: 2, ...load });
  const session = await model.createSession();
  const logits: number[] = [];
  for (let at = 0; at < TOKENS.length; at += piece)
    logits.push(...(await session.prefill(TOKENS.slice(at, at + piece), { logits: 'all' })));
  await model.dispose();
  return nmseRows(Float32Array.from(logits), referenceDecoder(arch, weights, TOKENS).logits);
}

describe.each(NAMES)('%s', (name) => {
  it('holds every digit in its place', () => {
    const random = new Random(8);
    const ternary = Array.from({ length: 5 * 256 }, () => random.below(3) - 1);
    const scales = [0.5, -0.25, 2 ** -24, 65504, 0];
    const { codes, scales: found, offsets } = ternaryRows('file', 'tensor', name.toUpperCase(), ternaryBlocks(name, ternary, scales));
    expect(Array.from(codes, (code) => code - 2)).toEqual(ternary);
    expect(Array.from(found)).toEqual(scales.flatMap((scale) => [scale, scale]));
    expect(offsets).toBeNull();
  });

  it('computes what its values say, the prompt at once and token by token', async () => {
    const options = { seed: 21, storages: [name], head: 'f16', sizes: { hidden: 256, ffn: 512, headDim: 64 } } as const;
    const model = await makeTiny(root, name, DEFAULT_PRECISION, options);
    expect(model.spec.tensors['layers.1.down']).toEqual({ type: 'w2g128', shape: [256, 512] });
    for (const piece of [TOKENS.length, 1]) {
      expect(await error(model, { reference: true }, piece)).toBeLessThan(1e-9);
      expect(await error(model, { npu: 'none' }, piece)).toBeLessThan(1e-3);
    }
    expect(await error(model, { npu: 'host' }, TOKENS.length)).toBeLessThan(3e-2);
  });
});
