/** Checkpoints of Hugging Face through the whole path, from safetensors files to logits: all modes against the float64 decoder on the values that the format means. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import { parsePrecision } from '../../lib/convert/precision.js';
import type { ModelSpec } from '../../lib/graph/spec.js';
import { loadAddon } from '../../lib/native/loader.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { type TinyCheckpoint, type TinyCheckpointOptions, tinyCheckpoint, writeCheckpoint } from '../reference/checkpoint.js';
import { referenceDecoder } from '../reference/decoder.js';
import { reseal } from '../reference/reseal.js';
import { logitsInPieces, nmseRows, tinyText, tinyTokens } from './tiny.js';

const TOKENS = tinyTokens(4, 27);

let root: string;
let text: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-checkpoint-'));
  text = join(root, 'text.txt');
  await writeFile(text, tinyText(7, 400));
});
afterAll(() => rm(root, { recursive: true, force: true }));

interface Converted extends TinyCheckpoint {
  directory: string;
  spec: ModelSpec;
}

async function convert(name: string, options: TinyCheckpointOptions, more: Partial<ConvertOptions> = {}, shards = 1): Promise<Converted> {
  const checkpoint = tinyCheckpoint(options);
  const directory = join(root, name);
  const spec = await convertModel({
    input: writeCheckpoint(join(root, `${name}-hf`), checkpoint, shards),
    output: directory,
    addon: loadAddon(),
    precision: null,
    calibrationText: text,
    calibrationWindows: 4,
    calibrationWindowTokens: 64,
    chunk: 8,
    threads: 1,
    ...more,
  });
  return { ...checkpoint, directory, spec };
}

/** NMSE of the logits against float64, with the prompt in these pieces. */
async function error({ directory, spec, weights }: Converted, load: LoadOptions, pieces: readonly number[]): Promise<number> {
  const model = await loadModel(directory, { contextSize: 64, threads: 2, ...load });
  try {
    const logits = await logitsInPieces(await model.createSession(), TOKENS, pieces);
    return nmseRows(logits, referenceDecoder(spec.arch, weights, TOKENS).logits);
  } finally {
    await model.dispose();
  }
}

const WHOLE = [TOKENS.length];
const SINGLE = TOKENS.map(() => 1);

const MODELS: Record<string, TinyCheckpointOptions> = {
  'F16 as it is': { tied: true },
  'GPTQ of 4 bits with act-order': {
    linears: { method: 'gptq', bits: 4, group: 32, symmetric: false, actOrder: true },
    quantisedHead: true,
  },
  'GPTQ of 3 bits with act-order': { linears: { method: 'gptq_v2', bits: 3, group: 32, symmetric: false, actOrder: true } },
  'GPTQ of 2 bits, symmetric': { linears: { method: 'gptq', bits: 2, group: 64, symmetric: true }, tied: true },
  AWQ: { linears: { method: 'awq', bits: 4, group: 32, symmetric: false } },
  'BitNet in Llama blocks': { linears: { method: 'bitnet', inverse: true } },
  'BitNet with a scale that multiplies': { linears: { method: 'bitnet', inverse: false }, tied: true },
};

describe.each(Object.entries(MODELS))('%s', (name, options) => {
  let model: Converted;
  beforeAll(async () => {
    model = await convert(name.replaceAll(' ', '-'), { seed: name.length, ...options }, {}, 3);
  });

  it('computes what its values say', async () => {
    expect(await error(model, { reference: true }, WHOLE)).toBeLessThan(1e-9);
    expect(await error(model, { reference: true }, SINGLE)).toBeLessThan(1e-9);
  });

  it('computes it with 8-bit activations too, the prompt at once and token by token', async () => {
    expect(await error(model, { npu: 'none' }, WHOLE)).toBeLessThan(1e-3);
    expect(await error(model, { npu: 'none' }, SINGLE)).toBeLessThan(1e-3);
    expect(await error(model, { npu: 'none' }, [8, 1, 3, 15])).toBeLessThan(1e-3);
  });
});

describe('an act-order', () => {
  const options: TinyCheckpointOptions = { seed: 12, linears: { method: 'gptq', bits: 4, group: 32, symmetric: false, actOrder: true } };

  it('is stored once for linears of one input that share it, and read by the NPU as its weights were', async () => {
    const model = await convert('npu', options, { precision: parsePrecision('all=w8a16') });
    const { tensors } = model.spec;
    expect(tensors['layers.1.q']).toEqual({ type: 'w4g32z', shape: [64, 64], order: 'layers.1.q.order' });
    expect(tensors['layers.1.k']?.order).toBe('layers.1.q.order');
    expect(tensors['layers.1.v']?.order).toBe('layers.1.v.order');
    expect(tensors['layers.0.up']?.order).toBe('layers.0.up.order');
    expect(tensors['layers.1.up']?.order).toBe('layers.1.gate.order');
    expect(tensors['layers.1.down']?.order).toBe('layers.1.down.order');
    expect(model.spec.hashes.cpu.tensors).toHaveProperty(['layers.1.q.order']);
    expect(model.spec.hashes.cpu.tensors).not.toHaveProperty(['layers.1.k.order']);
    // The weights of the NPU are rounded to 8 bits.
    expect(await error(model, { npu: 'host' }, WHOLE)).toBeLessThan(2e-2);
  });

  it('is gone when the weights are quantised anew', async () => {
    const model = await convert('anew', options, { cpuWeights: 'w4g32' });
    expect(model.spec.tensors['layers.0.q']).toEqual({ type: 'w4g32m', shape: [64, 64] });
    expect(Object.keys(model.spec.hashes.cpu.tensors).filter((name) => name.endsWith('.order'))).toEqual([]);
    expect(await error(model, { reference: true }, WHOLE)).toBeLessThan(0.1);
    expect(await error(model, { reference: true }, WHOLE)).toBeGreaterThan(1e-6);
  });

  it('that was changed on the disk is noticed at load', async () => {
    const model = await convert('damaged', options);
    const file = join(model.directory, 'cpu.safetensors');
    const bytes = await readFile(file);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE()))) as Record<string, { data_offsets: number[] }>;
    const at = 8 + Number(bytes.readBigUInt64LE()) + (header['layers.0.q.order']?.data_offsets[0] ?? 0);
    bytes[at + 2] = (bytes[at + 2] ?? 0) ^ 1;
    await writeFile(file, bytes);
    await expect(loadModel(model.directory, { npu: 'none' })).rejects.toMatchObject({
      code: 'LUTRA_BAD_FILE',
      message: expect.stringContaining('layers.0.q.order'),
    });
    // With digests that fit, it names a column that is not there.
    reseal(model.directory);
    const loaded = await loadModel(model.directory, { npu: 'none', contextSize: 64 });
    await expect(loaded.createSession()).rejects.toMatchObject({
      code: 'LUTRA_BAD_FILE',
      message: expect.stringMatching(/layers\.0\.q\.order names column 65\d\d\d of 64/),
    });
    await loaded.dispose();
  });
});

describe('the rest of a checkpoint', () => {
  it('gives name, tokens, tokenizer and template', async () => {
    const { directory, spec } = await convert('rest', { tied: true });
    expect(spec).toMatchObject({ name: 'rest-hf', tokens: { bos: 1, eos: [2, 0], addBos: true }, source: { file: 'rest-hf' } });
    const model = await loadModel(directory, { npu: 'none', contextSize: 64 });
    const ids = model.tokenizer.encode('hello world');
    expect(model.tokenizer.decode(ids)).toBe('hello world');
    expect(ids.length).toBeLessThan(11);
    expect(model.tokenizer.applyChatTemplate([{ role: 'user', content: 'hi' }])).toBe('hi');
    await model.dispose();
  });
});
