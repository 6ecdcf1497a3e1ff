/** Packed weights and their products from TypeScript, against float64 arithmetic written out here, over every format and every kernel of the registry. */
import { setImmediate } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type LowBitFormat, lowBitFormat } from '../../../lib/graph/dtype.js';
import { fromHalf, toHalf } from '../../../lib/graph/half.js';
import { kernels } from '../../../lib/index.js';
import { ggmlValues, randomBlocks } from '../../reference/ggml.js';
import { Random } from '../../reference/random.js';

const all = kernels.list();
const formats = [...new Set(all.flatMap((kernel) => kernel.formats))];
/** A last tile and a last group that are not whole, and a single row. */
const SHAPES = [
  [1, 64],
  [37, 224],
  [16, 288],
] as const;

interface Made {
  weight: kernels.Weight;
  values: Float64Array;
}

const half = (value: number) => fromHalf(toHalf(value));

/** Random codes with their values in float64, by the definitions of docs/kernels.md. */
function lowBit(name: kernels.Format, format: LowBitFormat, rows: number, columns: number, random: Random): Made {
  const group = format.group === 0 ? columns : format.group;
  const groups = Math.ceil(columns / group);
  const codes = Uint8Array.from({ length: rows * columns }, () => random.below(2 ** format.bits));
  const scales = Float32Array.from({ length: rows * groups }, () => (random.uniform() < 0.5 ? -1 : 1) * (0.01 + 0.02 * random.uniform()));
  const offsets = Float32Array.from(scales, () => (format.offset === 'zero' ? random.below(2 ** format.bits) : 0.1 * random.normal()));
  const stored = (value: number) => (format.group === 0 ? value : half(value));
  const k = format.bits === 1 ? 2 : 1;
  const z = format.bits === 1 ? 1 : 2 ** (format.bits - 1);
  const values = Float64Array.from(codes, (code, i) => {
    const at = Math.floor(i / columns) * groups + Math.floor((i % columns) / group);
    const scale = stored(scales[at]!);
    switch (format.offset) {
      case 'none':
        return (k * code - z) * scale;
      case 'minimum':
        return code * scale + stored(offsets[at]!);
      case 'zero':
        return (code - offsets[at]!) * scale;
      default:
        return format.offset satisfies never;
    }
  });
  const common = { rows, columns, format: name as 'w2g64', codes, scales };
  return { weight: kernels.pack(format.offset === 'none' ? common : { ...common, offsets }), values };
}

function made(name: kernels.Format, rows: number, columns: number, random: Random): Made {
  const format = lowBitFormat(name);
  if (format !== undefined) return lowBit(name, format, rows, columns, random);
  const block = name as 'q4_0' | 'q4_1' | 'q8_0';
  const blocks = randomBlocks(random, block, rows, columns);
  return { weight: kernels.pack({ rows, columns, format: block, blocks }), values: Float64Array.from(ggmlValues(block, blocks)) };
}

/** y[n × rows] = x · Wᵀ. */
function product(values: Float64Array, x: Float32Array, rows: number, columns: number): Float64Array {
  const n = x.length / columns;
  return Float64Array.from({ length: n * rows }, (_, i) => {
    const [r, row] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += x[r * columns + c]! * values[row * columns + c]!;
    return sum;
  });
}

/** Σ (value − right)² and Σ right², over as many outputs as are added. */
class Nmse {
  #error = 0;
  #power = 0;

  add(of: Float32Array, right: Float64Array): this {
    expect(of).toHaveLength(right.length);
    for (const [i, value] of right.entries()) {
      this.#error += (of[i]! - value) ** 2;
      this.#power += value ** 2;
    }
    return this;
  }

  get value(): number {
    return this.#error / this.#power;
  }
}

describe.each(formats)('%s', (format) => {
  it('comes back as it was packed, and every kernel multiplies it', () => {
    const random = new Random(7);
    const fitting = all.filter((kernel) => kernel.formats.includes(format) && kernel.available);
    expect(fitting.length).toBeGreaterThan(0);
    const errors = new Map(fitting.map(({ name }) => [name, new Nmse()]));
    const threads = new Nmse();
    for (const [rows, columns] of SHAPES) {
      const { weight, values } = made(format, rows, columns, random);
      expect([weight.format, weight.rows, weight.columns]).toEqual([format, rows, columns]);
      expect(new Nmse().add(kernels.dequantize(weight), values).value).toBeLessThan(1e-13);
      for (const n of [1, 3, 9]) {
        const x = random.normals(n * columns);
        const right = product(values, x, rows, columns);
        for (const [kernel, error] of errors) error.add(kernels.gemv(weight, x, { kernel }), right);
        threads.add(kernels.gemv(weight, x, { threads: 2 }), right);
      }
      weight.dispose();
    }
    for (const [kernel, error] of errors) expect(error.value, kernel).toBeLessThan(1e-4);
    expect(threads.value).toBeLessThan(1e-4);
  });

  it('is the same after a way through bytes', () => {
    const random = new Random(9);
    const { weight } = made(format, 21, 96, random);
    const bytes = weight.toBytes();
    const again = kernels.Weight.fromBytes(bytes);
    expect([again.format, again.rows, again.columns, again.byteLength]).toEqual([format, 21, 96, weight.byteLength]);
    const x = random.normals(96);
    expect(kernels.gemv(again, x)).toEqual(kernels.gemv(weight, x));
    for (let i = 0; i < bytes.length; i += 1 + random.below(bytes.length >> 4)) {
      const damaged = bytes.with(i, bytes[i]! ^ (1 << random.below(8)));
      expect(() => kernels.Weight.fromBytes(damaged), `byte ${i}`).toThrow(expect.objectContaining({ code: 'LUTRA_BAD_FILE' }));
    }
  });
});

describe('bytes under a checksum that fits', () => {
  it('are a weight that multiplies, or LUTRA_BAD_FILE', () => {
    const random = new Random(17);
    let taken = 0;
    for (let i = 0; i < 3000; i++) {
      const { weight } = made(formats[i % formats.length]!, 1 + random.below(20), 64, random);
      const bytes = weight.toBytes().slice();
      weight.dispose();
      const view = new DataView(bytes.buffer);
      // A field of the header becomes another small number, a number near 2^32, or what it was; a few bytes of the data become anything.
      const value = [random.below(100), 2 ** 32 - 1 - random.below(40), 0][random.below(3)]!;
      if (random.below(4) > 0) view.setUint32(8 + 4 * random.below(3), value, true);
      for (let j = 0; j < 4; j++) bytes[64 + random.below(bytes.length - 64)] = random.below(256);
      view.setUint32(20, 0, true);
      view.setUint32(20, crc32(bytes), true);
      try {
        const read = kernels.Weight.fromBytes(bytes);
        expect(kernels.gemv(read, random.normals(read.columns))).toHaveLength(read.rows);
        expect(kernels.dequantize(read)).toHaveLength(read.rows * read.columns);
        read.dispose();
        taken++;
      } catch (error) {
        expect(error).toMatchObject({ code: 'LUTRA_BAD_FILE' });
      }
    }
    expect(taken).toBeGreaterThan(500);
    expect(taken).toBeLessThan(2500);
  });
});

describe('list', () => {
  it('has one choice for every format and number of rows, among kernels that this machine runs', () => {
    for (const format of formats) {
      for (const n of [1, 2, 3, 4, 5, 8, 64, 1000]) {
        const chosen = all.filter((kernel) => kernel.chosen.some((one) => one.format === format && one.from <= n && n <= one.to));
        expect(
          chosen.map(({ name }) => name),
          `${format}, n ${n}`,
        ).toHaveLength(1);
        expect(chosen[0]?.available).toBe(true);
        expect(chosen[0]?.formats).toContain(format);
      }
    }
    expect(formats).toHaveLength(51);
    expect(new Set(all.map(({ name }) => name)).size).toBe(all.length);
  });

  it('runs what it says it has chosen', () => {
    const random = new Random(11);
    for (const format of formats) {
      const { weight } = made(format, 16, 64, random);
      for (const n of [1, 4]) {
        const x = random.normals(n * 64);
        const kernel = all.find(({ chosen }) => chosen.some((one) => one.format === format && one.from <= n && n <= one.to));
        expect(kernels.gemv(weight, x)).toEqual(kernels.gemv(weight, x, { kernel: kernel?.name }));
      }
    }
  });
});

describe('pack, gemv', () => {
  const random = new Random(13);

  it('quantise floats, better where it matters', () => {
    const [rows, columns] = [64, 256];
    const values = random.normals(rows * columns, 0.05);
    const importance = Float32Array.from({ length: columns }, () => Math.exp(2 * random.normal()));
    const weighed = (weight: kernels.Weight) =>
      kernels.dequantize(weight).reduce((sum, value, i) => sum + importance[i % columns]! * (value - values[i]!) ** 2, 0);
    const plain = kernels.pack({ rows, columns, format: 'w3g32m', values });
    const better = kernels.pack({ rows, columns, format: 'w3g32m', values, importance });
    expect(weighed(better)).toBeLessThan(0.85 * weighed(plain));
    expect(new Nmse().add(kernels.dequantize(plain), Float64Array.from(values)).value).toBeLessThan(0.05);
  });

  it('write into y and return it, and leave the rest of its memory alone', () => {
    const { weight } = made('w4g32m', 20, 64, random);
    const memory = new Float32Array(60).fill(7);
    const x = random.normals(128);
    const y = memory.subarray(10, 50);
    expect(kernels.gemv(weight, x, { y, n: 2 })).toBe(y);
    expect(y).toEqual(kernels.gemv(weight, x));
    expect([...memory.subarray(0, 10), ...memory.subarray(50)]).toEqual(new Array(20).fill(7));
  });

  it('give equal results however many threads there are', () => {
    const { weight } = made('w2g64', 1000, 128, random);
    const x = random.normals(128);
    const one = kernels.gemv(weight, x);
    for (const threads of [2, 3, 7, 1]) expect(kernels.gemv(weight, x, { threads })).toEqual(one);
  });

  it('free their memory when nobody refers to them any more', async () => {
    const [rows, columns] = [2048, 2048];
    const codes = new Uint8Array(rows * columns);
    const bytes = kernels.pack({ rows, columns, format: 'w4row', codes, scales: new Float32Array(rows) }).toBytes();
    const before = process.memoryUsage().rss;
    let most = 0;
    for (let i = 0; i < 100; i++) {
      kernels.Weight.fromBytes(bytes);
      await setImmediate();
      most = Math.max(most, process.memoryUsage().rss - before);
    }
    expect(most).toBeLessThan(60 * bytes.length);
  });

  it('end with dispose and with using', () => {
    let kept: kernels.Weight | undefined;
    {
      using weight = made('w2g64', 16, 64, random).weight;
      kept = weight;
      expect(kernels.dequantize(weight)).toHaveLength(1024);
    }
    expect(() => kept.toBytes()).toThrow(expect.objectContaining({ code: 'LUTRA_DISPOSED' }));
    kept.dispose();
  });
});
