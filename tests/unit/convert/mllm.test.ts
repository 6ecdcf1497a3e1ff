/** `.mllm` files become the models that the same tensors are in a checkpoint of Hugging Face, byte for byte. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { convertModel } from '../../../lib/convert/index.js';
import type { ModelSpec } from '../../../lib/graph/spec.js';
import { loadAddon } from '../../../lib/native/loader.js';
import { bf16, f16, f32, type StoredArray, type TinyCheckpoint, tinyCheckpoint, writeCheckpoint } from '../../reference/checkpoint.js';
import { ggmlValues, randomBlocks } from '../../reference/ggml.js';
import { MLLM_TYPES, type MllmArrays, mllmFile, npuMllm, plainMllm } from '../../reference/mllm-writer.js';
import { Random } from '../../reference/random.js';

const addon = loadAddon();
const precision = { qkv: 'w8f16', o: 'w8f16', gateup: 'w8f16', down: 'w8f16' } as const;

let root: string;
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'lutra-mllm-'));
});
afterAll(() => rmSync(root, { recursive: true }));

interface Converted {
  spec: ModelSpec;
  cpu: string;
  npu: string;
  tokenizer: string;
}

async function converted(input: string, config?: string): Promise<Converted> {
  const output = join(root, `model${made++}`);
  const spec = await convertModel({ input, output, addon, precision, ...(config === undefined ? {} : { config }) });
  const digest = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(output, name)))
      .digest('hex');
  return { spec, cpu: digest('cpu.safetensors'), npu: digest('npu.safetensors'), tokenizer: digest('tokenizer.json') };
}

async function fromMllm(version: 1 | 2, tensors: MllmArrays, tiny: TinyCheckpoint): Promise<Converted> {
  const path = join(root, `file${made++}.mllm`);
  writeFileSync(path, mllmFile(version, tensors).bytes);
  // What is beside config.json is not read: there are other tensors in it.
  return converted(path, writeCheckpoint(join(root, `config${made++}`), { ...tiny, tensors: new Map() }));
}

const fromCheckpoint = (tiny: TinyCheckpoint) => converted(writeCheckpoint(join(root, `hf${made++}`), tiny));

function expectSame(a: Converted, b: Converted): void {
  expect([a.cpu, a.npu, a.tokenizer]).toEqual([b.cpu, b.npu, b.tokenizer]);
  const { arch, tensors, linears, tokens, chunk } = a.spec;
  expect({ arch, tensors, linears, tokens, chunk }).toEqual({
    arch: b.spec.arch,
    tensors: b.spec.tensors,
    linears: b.spec.linears,
    tokens: b.spec.tokens,
    chunk: b.spec.chunk,
  });
}

/** Half of the tensors in other types than F16. */
function mixed(tiny: TinyCheckpoint): TinyCheckpoint {
  const random = new Random(3);
  const tensors = new Map<string, StoredArray>();
  for (const [i, [name, { shape }]] of [...tiny.tensors].entries()) {
    const values = random.normals(shape.reduce((a, b) => a * b));
    tensors.set(name, [f16, f32, bf16][i % 3]!(shape, values));
  }
  return { ...tiny, tensors };
}

/** A Qwen2, whose q, k and v have biases. */
function withBiases(tiny: TinyCheckpoint): TinyCheckpoint {
  const random = new Random(4);
  const tensors = new Map(tiny.tensors);
  for (const [name, { shape }] of tiny.tensors) {
    if (/[qkv]_proj\.weight$/.test(name))
      tensors.set(name.replace('.weight', '.bias'), f16([shape[0] ?? 1], random.normals(shape[0] ?? 1)));
  }
  return { ...tiny, tensors, config: { ...tiny.config, model_type: 'qwen2', architectures: ['Qwen2ForCausalLM'] } };
}

describe.each([1, 2] as const)('version %i', (version) => {
  it.each([true, false])('is the checkpoint of the same tensors, head tied: %s', async (tied) => {
    const tiny = mixed(tinyCheckpoint({ tied }));
    expectSame(await fromMllm(version, plainMllm(tiny), tiny), await fromCheckpoint(tiny));
  });

  it.each([false, true])('reads codes of 8 bits as the values that they stand for, widened to F32: %s', async (widened) => {
    const tiny = withBiases(tinyCheckpoint({ tied: true }));
    const { file, checkpoint } = npuMllm(tiny, { widened });
    const [own, reference] = [await fromMllm(version, file, tiny), await fromCheckpoint(checkpoint)];
    expectSame(own, reference);
    expect(own.spec.tensors['layers.0.q']?.type).toBe('f32');
  });

  it.each(['q4_0', 'q4_1', 'q8_0'] as const)('keeps blocks of %s', async (block) => {
    const tiny = tinyCheckpoint({ tied: true, sizes: { hidden: 64, ffn: 96 } });
    const random = new Random(5);
    const [file, tensors] = [plainMllm(tiny), new Map(tiny.tensors)];
    for (const [name, { shape }] of tiny.tensors) {
      if (shape.length !== 2) continue;
      const data = randomBlocks(random, block, shape[0] ?? 1, shape[1] ?? 1);
      file.set(name, { type: MLLM_TYPES[block.toUpperCase() as 'Q4_0'], shape, data });
      tensors.set(name, f32(shape, ggmlValues(block, data)));
    }
    const [own, reference] = [await fromMllm(version, file, tiny), await fromCheckpoint({ ...tiny, tensors })];
    expect([own.npu, own.tokenizer]).toEqual([reference.npu, reference.tokenizer]);
    for (const name of ['embed', 'layers.0.q', 'layers.1.down']) expect(own.spec.tensors[name]?.type).toBe(block);
    expect(own.spec.tensors.norm?.type).toBe('f32');
  });
});

describe('an .mllm file', () => {
  it('is told by its first word, too, and gives the model its name', async () => {
    const tiny = tinyCheckpoint({ tied: true });
    const [path, config] = [join(root, 'weights.bin'), writeCheckpoint(join(root, 'named'), tiny)];
    writeFileSync(path, mllmFile(1, plainMllm(tiny)).bytes);
    expect((await converted(path, config)).spec.name).toBe('weights.bin');
    expectSame(await converted(path, config), await fromCheckpoint(tiny));
  });

  it('may hold codes as a filter of 1 × 1', async () => {
    const tiny = tinyCheckpoint({ tied: true });
    const { file, checkpoint } = npuMllm(tiny);
    for (const [name, one] of file) if (/_proj\.weight$/.test(name)) file.set(name, { ...one, shape: [1, 1, ...one.shape] });
    expectSame(await fromMllm(2, file, tiny), await fromCheckpoint(checkpoint));
  });
});
