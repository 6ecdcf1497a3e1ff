/** Linears of quantised checkpoints: every value is the one that the format means, bit for bit. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readArch } from '../../../lib/convert/huggingface/arch.js';
import { openBitnet } from '../../../lib/convert/huggingface/bitnet.js';
import { Checkpoint } from '../../../lib/convert/huggingface/checkpoint.js';
import { Fields } from '../../../lib/convert/huggingface/fields.js';
import { type LowBitMatrix, openGrouped } from '../../../lib/convert/huggingface/grouped.js';
import { readQuantization } from '../../../lib/convert/huggingface/quantization.js';
import { Scratch } from '../../../lib/convert/scratch.js';
import { DTYPES } from '../../../lib/graph/dtype.js';
import { loadAddon } from '../../../lib/native/loader.js';
import {
  bitnetLinear,
  type GroupedOptions,
  groupedLinear,
  i32,
  type StoredArray,
  type TinyLinear,
  tinyCheckpoint,
  writeCheckpoint,
} from '../../reference/checkpoint.js';
import { Random } from '../../reference/random.js';

const addon = loadAddon();

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'lutra-checkpoint-'));
});
afterAll(() => rmSync(root, { recursive: true }));

let directories = 0;

/** Hands an opened checkpoint of one linear, called `x`, on. */
async function opened<T>(
  linears: GroupedOptions | undefined,
  tensors: ReadonlyMap<string, StoredArray>,
  use: (checkpoint: Checkpoint) => Promise<T>,
): Promise<T> {
  const tiny = tinyCheckpoint(linears ? { linears } : {});
  const named = new Map([...tensors].map(([part, array]) => [`x.${part}`, array]));
  const checkpoint = await Checkpoint.open(writeCheckpoint(join(root, String(directories++)), { ...tiny, tensors: named }));
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

function openedLinear(options: GroupedOptions, { tensors }: Pick<TinyLinear, 'tensors'>, rows: number, cols: number): Promise<Read> {
  return opened(options, tensors, async (checkpoint) => {
    const quantization = readQuantization(checkpoint.config, undefined);
    if (quantization.method !== 'grouped') throw new Error(quantization.method);
    return read(await openGrouped(checkpoint, quantization.format, 'x', rows, cols), rows, cols);
  });
}

interface Read {
  type: LowBitMatrix['type'];
  order: Uint32Array | null;
  /** Of what is packed, columns as they are stored. */
  stored: Float32Array;
  /** What conversion takes as the source's values. */
  floats: Float32Array;
}

async function read({ type, order, source }: LowBitMatrix, rows: number, cols: number): Promise<Read> {
  const [stored, floats] = [new Float32Array(rows * cols), new Float32Array(rows * cols)];
  for await (const slab of source.slabs({ addon, scratch: new Scratch() })) {
    const packed = new Uint8Array(slab.stored().buffer);
    stored.set(addon.dequantizePacked(DTYPES[type].code, packed, slab.rows, cols), slab.first * cols);
    floats.set(slab.floats(), slab.first * cols);
  }
  return { type, order, stored, floats };
}

/** Columns of `values` [rows, cols] in another order. */
function ordered(values: Float32Array, cols: number, order: Uint32Array | null): Float32Array {
  return values.map((_, i) => values[i - (i % cols) + (order?.[i % cols] ?? i % cols)] ?? Number.NaN);
}

type Case = GroupedOptions & { cols: number; rows?: number; type: string };

const gptq = (bits: 2 | 3 | 4, group: number, cols: number, type: string, more: Partial<Case> = {}): Case => ({
  method: 'gptq',
  bits,
  group,
  symmetric: !type.endsWith('z'),
  cols,
  type,
  ...more,
});

const CASES: Case[] = [
  gptq(4, 128, 384, 'w4g128z'),
  gptq(4, 128, 384, 'w4g128'),
  gptq(4, 128, 320, 'w4g128z'),
  gptq(4, 64, 192, 'w4g64z', { actOrder: true }),
  gptq(4, 32, 160, 'w4g32', { actOrder: true }),
  gptq(4, 32, 96, 'w4g32z', { method: 'gptq_v2', actOrder: true }),
  gptq(4, 128, 320, 'w4g128z', { actOrder: true }),
  gptq(4, 256, 640, 'w4g128z', { actOrder: true }),
  gptq(4, 96, 288, 'w4g32z'),
  gptq(4, 192, 576, 'w4g64'),
  gptq(4, -1, 96, 'w4rowz', { scales: 'F32' }),
  gptq(4, 128, 64, 'w4row'),
  gptq(4, 64, 128, 'w4g64z', { scales: 'BF16' }),
  gptq(3, 128, 384, 'w3g128z'),
  gptq(3, 64, 192, 'w3g64z', { method: 'gptq_v2' }),
  gptq(3, 32, 224, 'w3g32', { actOrder: true }),
  gptq(3, -1, 96, 'w3rowz', { method: 'gptq_v2' }),
  gptq(2, 64, 320, 'w2g64z', { actOrder: true }),
  gptq(2, 128, 384, 'w2g128'),
  gptq(2, 32, 96, 'w2g32z', { method: 'gptq_v2' }),
  gptq(4, 128, 384, 'w4g128z', { method: 'awq' }),
  gptq(4, 64, 192, 'w4g64z', { method: 'awq', rows: 72 }),
  gptq(4, 32, 160, 'w4g32z', { method: 'awq', scales: 'F32' }),
  gptq(4, -1, 128, 'w4rowz', { method: 'awq' }),
];

describe('GPTQ and AWQ', () => {
  it.each(
    CASES.map(
      (one) =>
        [
          `${one.method} ${one.bits} bits, group ${one.group} of ${one.cols}${one.actOrder ? ', act-order' : ''}: ${one.type}`,
          one,
        ] as const,
    ),
  )('%s', async (_name, { cols, rows = 64, type, ...options }) => {
    const linear = groupedLinear(new Random(cols + rows), rows, cols, options);
    const found = await openedLinear(options, linear, rows, cols);
    expect(found.type).toBe(type);
    expect(found.floats).toEqual(linear.values);
    expect(found.stored).toEqual(ordered(linear.values, cols, found.order));
    expect(found.order !== null).toBe(options.actOrder === true && options.group !== -1);
    // Inputs of a group stay in the order that they have.
    if (found.order) {
      const groups = Array.from(found.order, (input) => linear.groups[input] ?? -1);
      expect(groups).toEqual([...groups].sort((a, b) => a - b));
      expect(Array.from(found.order).sort((a, b) => a - b)).toEqual(Array.from({ length: cols }, (_, i) => i));
    }
  });

  it('reads words as they are written down', async () => {
    // 4 bits, inputs from the lowest nibble on; zero points are stored one too small, 15 meaning 0.
    const tensors = new Map<string, StoredArray>([
      [
        'qweight',
        i32(
          [4, 8],
          Uint32Array.from({ length: 32 }, (_, i) => (Math.floor(i / 8) === 0 ? 0x76543210 : 0xfedcba98)),
        ),
      ],
      ['qzeros', i32([1, 1], Uint32Array.of(0xf6543210))],
      ['scales', { dtype: 'F16', shape: [1, 8], data: new Uint8Array(new Uint16Array(8).fill(0x3800).buffer) }],
      ['g_idx', i32([32], new Int32Array(32))],
    ]);
    const options: GroupedOptions = { method: 'gptq', bits: 4, group: 32, symmetric: false };
    const { floats } = await openedLinear(options, { tensors }, 8, 32);
    const zeros = [1, 2, 3, 4, 5, 6, 7, 0];
    const codes = Array.from({ length: 32 }, (_, i) => (i < 8 ? i : 8 + (i % 8)));
    expect(Array.from(floats)).toEqual(zeros.flatMap((zero) => codes.map((code) => (code - zero) / 2)));
  });

  it('takes a missing or empty g_idx for the order of the inputs when there is no act-order', async () => {
    const options: GroupedOptions = { method: 'gptq', bits: 4, group: 32, symmetric: false };
    const linear = groupedLinear(new Random(5), 32, 96, options);
    linear.tensors.set('g_idx', i32([96], new Int32Array(96)));
    expect((await openedLinear(options, linear, 32, 96)).floats).toEqual(linear.values);
    linear.tensors.delete('g_idx');
    expect((await openedLinear(options, linear, 32, 96)).floats).toEqual(linear.values);
  });
});

describe('config.json', () => {
  const read = (changes: Record<string, unknown>) => readArch(new Fields('config.json', { ...tinyCheckpoint().config, ...changes }));

  it('divides the frequencies of Llama 3 as their wavelengths say', () => {
    const [factor, low, high, context, theta, dim] = [32, 1, 4, 8192, 500_000, 64];
    const scaling = { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: context };
    const expected = Array.from({ length: dim / 2 }, (_, i) => {
      const frequency = theta ** ((-2 * i) / dim);
      const wavelength = (2 * Math.PI) / frequency;
      if (wavelength < context / high) return 1;
      if (wavelength > context / low) return factor;
      const smooth = (context / wavelength - low) / (high - low);
      return frequency / (((1 - smooth) * frequency) / factor + smooth * frequency);
    });
    for (const rope of [
      { rope_theta: theta, rope_scaling: { rope_type: 'llama3', ...scaling } },
      { rope_theta: null, rope_parameters: { rope_type: 'llama3', rope_theta: theta, ...scaling } },
    ]) {
      const { arch, ropeFactors } = read({ ...rope, head_dim: dim });
      expect(arch).toMatchObject({ ropeTheta: theta, ropeFactors: true });
      expect(ropeFactors).toHaveLength(32);
      ropeFactors?.forEach((divisor, i) => {
        expect(divisor / (expected[i] ?? 0)).toBeCloseTo(1, 6);
      });
      expect(new Set(ropeFactors).size).toBeGreaterThan(4);
    }
  });

  it('has the defaults of a Llama configuration', () => {
    const { arch, ropeFactors } = read({
      head_dim: undefined,
      num_key_value_heads: undefined,
      rope_theta: undefined,
      tie_word_embeddings: undefined,
    });
    expect(arch).toMatchObject({ headDim: 16, kvHeads: 4, ropeTheta: 10_000, tied: false, qkvBias: false, ropeFactors: false });
    expect(ropeFactors).toBeNull();
  });
});

describe('BitNet', () => {
  it.each([
    [true, 64, 96],
    [false, 68, 100],
  ])('scale divides: %s', async (inverse, rows, cols) => {
    const linear = bitnetLinear(new Random(rows), rows, cols, inverse);
    const found = await opened(undefined, linear.tensors, async (checkpoint) =>
      read(openBitnet(checkpoint, inverse, 'x', rows, cols), rows, cols),
    );
    expect(found).toMatchObject({ type: 'w2row', order: null });
    expect(found.floats).toEqual(linear.values);
    expect(found.stored).toEqual(linear.values);
    expect(new Set(linear.values).size).toBe(3);
  });
});
