/**
 * Every family that is imported, against the logits that Hugging Face's transformers computes from the same files (tests/golden/checkpoints/make.py): tiny checkpoints of random
 * weights with what is special about the family.
 */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IMPORT_FAMILIES } from '../../lib/convert/families/index.js';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import { parsePrecision } from '../../lib/convert/precision.js';
import type { ModelSpec } from '../../lib/graph/spec.js';
import { loadAddon } from '../../lib/native/loader.js';
import { contrast } from '../../lib/runtime/evaluate.js';
import { type LoadOptions, loadModel } from '../../lib/runtime/model.js';
import { f32 } from '../reference/checkpoint.js';
import { asF32, GOLDEN_CHECKPOINTS, goldenCheckpoint, writeGoldenCheckpoint, writeGoldenGguf } from '../reference/golden-checkpoints.js';
import { Random } from '../reference/random.js';
import { nmse, qnnLibrary, row, SOC } from './helpers.js';
import { logitsInPieces } from './tiny.js';

const GOLDENS = GOLDEN_CHECKPOINTS.map(goldenCheckpoint);

const REPAIRED = parsePrecision('all=w8a8s,gateup=w8a16');

let root: string;
let text: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-architectures-'));
  text = join(root, 'text.txt');
  // The goldens are of random bytes, so the ranges are of characters of one and two bytes.
  const random = new Random(7);
  await writeFile(text, String.fromCodePoint(...Array.from({ length: 2000 }, () => 0x21 + random.below(0x7df))));
});
afterAll(() => rm(root, { recursive: true, force: true }));

let directories = 0;

interface Converted {
  directory: string;
  spec: ModelSpec;
}

async function convert(input: string, more: Partial<ConvertOptions> = {}): Promise<Converted> {
  const directory = join(root, String(directories++));
  const calibration = { calibrationText: text, calibrationWindows: 16, calibrationWindowTokens: 64 };
  const spec = await convertModel({
    input,
    output: directory,
    addon: loadAddon(),
    precision: null,
    chunk: 8,
    threads: 1,
    ...calibration,
    ...more,
  });
  return { directory, spec };
}

/** Logits of all positions, with the prompt in these pieces. */
async function logitsOf(
  { directory }: Converted,
  load: LoadOptions,
  tokens: readonly number[],
  pieces: readonly number[],
): Promise<Float32Array> {
  const model = await loadModel(directory, { contextSize: 128, threads: 2, ...load });
  try {
    return await logitsInPieces(await model.createSession(), tokens, pieces);
  } finally {
    await model.dispose();
  }
}

it('every family that is imported has a golden', () => {
  const types = new Set(GOLDENS.map(({ config }) => config.model_type));
  expect([...types].sort()).toEqual(IMPORT_FAMILIES.map(({ huggingFace }) => huggingFace.modelType).sort());
});

describe.each(GOLDENS)('$name', (golden) => {
  const { name, directory, tokens, logits, config } = golden;
  const WHOLE = [tokens.length];
  let model: Converted;
  beforeAll(async () => {
    model = await convert(directory);
  });

  it('has the logits of transformers, the prompt at once, in pieces and token by token, in chunks of two lengths', async () => {
    const ways: [Converted, number[]][] = [
      [model, WHOLE],
      [await convert(directory, { chunk: 5 }), WHOLE],
      [model, [7, 1, tokens.length - 8]],
      [model, tokens.map(() => 1)],
    ];
    const errors: number[] = [];
    for (const [from, pieces] of ways) errors.push(nmse(await logitsOf(from, { reference: true }, tokens, pieces), logits));
    console.log(`${name}: NMSE ${errors.map((one) => one.toExponential(1)).join(', ')}`);
    expect(Math.max(...errors)).toBeLessThan(1e-9);
  });

  /** Error and mean KL of a conversion against `want`. */
  async function distance(
    from: Converted,
    load: LoadOptions,
    pieces: readonly number[],
    want: Float32Array,
  ): Promise<{ nmse: number; kl: number }> {
    const got = await logitsOf(from, load, tokens, pieces);
    const of = (values: Float32Array, i: number) => row(values, i, config.vocab_size);
    const kl = tokens.reduce((sum, _, i) => sum + contrast(of(got, i), of(want, i), 0).divergence, 0) / tokens.length;
    return { nmse: nmse(got, want), kl };
  }

  it('is near them with its linears on the NPU, and on the CPU', async () => {
    const npu = await convert(directory, { precision: parsePrecision('all=w8a16') });
    const found = {
      whole: await distance(npu, { npu: 'host' }, WHOLE, logits),
      pieces: await distance(npu, { npu: 'host' }, [7, 1, tokens.length - 8], logits),
      cpu: await distance(npu, { npu: 'none' }, WHOLE, logits),
    };
    console.log(name, JSON.stringify(found));
    // Weights of 8 bits alone cost an NMSE of 1.0e-4 to 1.5e-4 (w8f16); ranges of 16 bits that hold all values add next to nothing. Mean KL of the logits 3e-6 to 5.2e-4.
    for (const { nmse, kl } of [found.whole, found.pieces]) {
      expect(nmse).toBeLessThan(3e-4);
      expect(kl).toBeLessThan(1e-3);
    }
    // Weights as they are, a KV cache of halves.
    expect(found.cpu.nmse).toBeLessThan(1e-6);
  });

  it("is near them with 8-bit activations that the CPU repairs, on the host NPU and on Qualcomm's runtime", async () => {
    const repaired = await convert(directory, { precision: REPAIRED });
    const htp: LoadOptions = { npu: { library: qnnLibrary, soc: SOC }, cache: join(root, 'contexts') };
    const found = [await distance(repaired, { npu: 'host' }, WHOLE, logits), await distance(repaired, htp, WHOLE, logits)];
    console.log(name, JSON.stringify(found));
    // Measured: NMSE 3.9e-4 to 5e-4, mean KL 1e-5 to 1.9e-3.
    for (const { nmse, kl } of found) {
      expect(nmse).toBeLessThan(1e-3);
      expect(kl).toBeLessThan(3e-3);
    }
  });

  it('is near them with the residual stream of the NPU rotated', async () => {
    const rotated = await convert(directory, { precision: REPAIRED, transform: 'rotate' });
    const found = await distance(rotated, { npu: 'host' }, WHOLE, logits);
    console.log(name, 'rotated', JSON.stringify(found));
    expect(found.nmse).toBeLessThan(1e-3);
    expect(found.kl).toBeLessThan(3e-3);
  });

  it('is the same from a GGUF file of the same values', async () => {
    const path = join(root, `${name}.gguf`);
    if (!writeGoldenGguf(path, golden)) {
      expect(IMPORT_FAMILIES.find(({ huggingFace }) => huggingFace.modelType === config.model_type)?.gguf).toBeNull();
      return;
    }
    const precision = parsePrecision('all=w8a16');
    const [own, gguf] = [await convert(directory, { precision }), await convert(path, { precision })];
    expect(gguf.spec.arch).toEqual(own.spec.arch);
    expect(gguf.spec.linears).toEqual(own.spec.linears);
    expect(gguf.spec.hashes.npu).toEqual(own.spec.hashes.npu);
    expect(gguf.spec.hashes.cpu.tensors).toEqual(own.spec.hashes.cpu.tensors);
    expect(gguf.spec.tokens.eos).toEqual(own.spec.tokens.eos);
    expect(nmse(await logitsOf(gguf, { reference: true }, tokens, WHOLE), logits)).toBeLessThan(1e-9);
    const written = JSON.parse(await readFile(join(gguf.directory, 'config.json'), 'utf8')) as { model_type: string };
    expect(written.model_type).toBe(config.model_type);
  });
});

describe.each(GOLDENS.filter(({ tensors }) => [...tensors.keys()].some((key) => key.endsWith('.k_proj.bias'))))(
  'biases of $name',
  (golden) => {
    it('cost the ranges nothing however large they are: they are added behind them', async () => {
      const large = new Map(
        [...golden.tensors].map(([key, array]) => {
          if (!key.endsWith('.k_proj.bias')) return [key, array];
          return [
            key,
            f32(
              array.shape,
              new Float32Array(asF32(array).buffer).map((value) => value * 30),
            ),
          ];
        }),
      );
      const { name, directory, tokens, logits } = golden;
      const changed = await convert(writeGoldenCheckpoint(join(root, name), { ...golden, tensors: large }), { precision: REPAIRED });
      const same = await convert(directory, { precision: REPAIRED });
      for (const linear of ['q', 'k', 'v'])
        expect(changed.spec.linears[`layers.0.${linear}`]).toEqual(same.spec.linears[`layers.0.${linear}`]);
      const want = await logitsOf(changed, { reference: true }, tokens, [tokens.length]);
      expect(nmse(want, logits)).toBeGreaterThan(1e-2);
      const error = nmse(await logitsOf(changed, { npu: 'host' }, tokens, [tokens.length]), want);
      console.log(`${name}: NMSE ${error.toExponential(2)}`);
      // More than the 4.5e-4 of the golden itself, since errors of q are multiplied by the larger k.
      expect(error).toBeLessThan(1e-2);
    });
  },
);
