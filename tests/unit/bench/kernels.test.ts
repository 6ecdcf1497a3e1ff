/** Rows of the kernel benchmark, whatever their times; the model that onnxruntime-node is measured with. */
import { describe, expect, it } from 'vitest';
import { type BenchRow, benchKernels, quantile } from '../../../lib/bench/kernels.js';
import { matMulNBitsModel } from '../../../lib/bench/onnx.js';
import { ratiosOf } from '../../../lib/bench/ratio.js';
import { TUNED_FORMATS, TUNED_ROWS, tuningOf } from '../../../lib/bench/tune.js';
import { kernels } from '../../../lib/index.js';

describe('benchKernels', () => {
  it('has a row for every kernel that takes a format, cold and warm, for each number of threads', async () => {
    const rounds = 3;
    const progress: number[] = [];
    const { rows, readLoops, peer } = await benchKernels({
      sizes: [
        { rows: 64, columns: 256 },
        { rows: 48, columns: 96 },
      ],
      formats: ['w2g64m', 'w4row', 'q4_1'],
      threads: [1, 2],
      n: [1, 5],
      rounds,
      peers: false,
      arenaBytes: 2 ** 24,
      onProgress: (done) => progress.push(done),
    });
    const usable = kernels.list().filter(({ available }) => available);
    const fast = usable.filter(({ isa }) => isa !== 'portable');
    const measured = fast.length > 0 ? fast : usable;
    for (const format of ['w2g64m', 'w4row', 'q4_1'] as const) {
      const names = measured.filter(({ formats }) => formats.includes(format)).map(({ name }) => name);
      const of = rows.filter((row) => row.format === format);
      expect(new Set(of.map(({ kernel }) => kernel))).toEqual(new Set(names));
      expect(of).toHaveLength(names.length * 2 * 2 * 2 * 2);
      for (const n of [1, 5]) expect(new Set(of.filter((row) => row.n === n && row.chosen).map(({ kernel }) => kernel)).size).toBe(1);
    }
    for (const row of rows) {
      expect(row.p10us).toBeGreaterThan(0);
      expect(row.medianUs).toBeGreaterThanOrEqual(row.p10us);
      expect(row.gbPerSecond).toBeCloseTo((row.rows * row.columns * row.bitsPerWeight) / 8000 / row.p10us, 6);
      expect(row.readLineGbPerSecond).toBeGreaterThan(0.1);
      expect(row.nmse).toBeLessThan(1e-4);
    }
    expect(rows.find(({ format }) => format === 'w2g64m')).toMatchObject({ bits: 2, group: 64, bitsPerWeight: 2.5, engine: 'lutra' });
    expect(rows.find(({ format }) => format === 'q4_1')).toMatchObject({ bits: 4, group: 32, bitsPerWeight: 5 });
    expect(Object.keys(readLoops)).toEqual(['1', '2']);
    expect(peer).toBeNull();
    expect(progress).toEqual([1, 2, 3, 4, 5, 6]);
  });

  it('takes quantiles of samples in any order', () => {
    expect(quantile([5, 1, 4, 2, 3], 0.5)).toBe(3);
    expect(quantile([5, 1, 4, 2, 3], 0.1)).toBe(1);
    expect(quantile([7], 0.99)).toBe(7);
  });
});

describe('tuningOf', () => {
  const kernel = (family: 'lut' | 'dot', isa: string, chosen: kernels.Choice[] = []): kernels.Kernel => ({
    ...{ name: `${family}-${isa}`, family, isa, bits: [1, 2, 3], formats: TUNED_FORMATS, available: true, chosen },
  });
  const list = [kernel('lut', 'x', [{ format: 'w2g128', from: 1, to: 3 }]), kernel('dot', 'x'), kernel('dot', 'y')];
  const shape = { engine: 'lutra', isa: null, bitsPerWeight: 2, group: 128, rows: 16, columns: 128, threads: 1, mode: 'cold' } as const;
  const rates = { medianUs: 1, gbPerSecond: 1, readLineGbPerSecond: 1, nmse: 0, chosen: false };
  /** Dot products take 100 µs whatever n is, on y 10 µs; look-ups `lookUp` µs a row. */
  const measured = (lookUp: Record<string, number>): BenchRow[] =>
    TUNED_FORMATS.flatMap((format, i) =>
      TUNED_ROWS.flatMap((n) => [
        { ...shape, ...rates, kernel: 'lut-x', format, bits: i + 1, n, p10us: n * (lookUp[format] ?? 1) },
        { ...shape, ...rates, kernel: 'dot-x', format, bits: i + 1, n, p10us: 100 },
        { ...shape, ...rates, kernel: 'dot-y', format, bits: i + 1, n, p10us: 10 },
      ]),
    );

  it('finds where dot products overtake, tier by tier', () => {
    expect(tuningOf(measured({ w1g128: 1, w2g128: 30, w3g128: 200 }), list, 'x')).toEqual([
      { isa: 'x', bits: 1, measured: Number.POSITIVE_INFINITY, registry: 1 },
      { isa: 'x', bits: 2, measured: 4, registry: 4 },
      { isa: 'x', bits: 3, measured: 1, registry: 1 },
      { isa: 'y', bits: 1, measured: 10, registry: null },
      { isa: 'y', bits: 2, measured: 1, registry: null },
      { isa: 'y', bits: 3, measured: 1, registry: null },
    ]);
  });

  it('is not misled by one sample that was disturbed', () => {
    const rows = measured({ w1g128: 1, w2g128: 30, w3g128: 200 }).map((row) =>
      row.kernel === 'lut-x' && row.format === 'w1g128' && row.n === 3 ? { ...row, p10us: 300 } : row,
    );
    expect(tuningOf(rows, list, 'x')[0]).toMatchObject({ bits: 1, measured: Number.POSITIVE_INFINITY });
  });
});

describe('ratiosOf', () => {
  const row = (engine: BenchRow['engine'], format: string, bits: number, p10us: number, change: Partial<BenchRow> = {}): BenchRow => ({
    ...{ engine, kernel: 'k', isa: null, format, bits, bitsPerWeight: bits, group: 128, rows: 16, columns: 128, n: 1, threads: 1 },
    ...{ mode: 'cold', chosen: true, p10us, medianUs: p10us, gbPerSecond: 1, readLineGbPerSecond: 2, nmse: 0, ...change },
  });

  it('holds the best chosen kernel against the other engine, like against like', () => {
    const rows = [
      row('lutra', 'w4g128', 4, 50),
      row('lutra', 'q4_1', 4, 40),
      row('lutra', 'w4g32', 4, 10, { chosen: false }),
      row('lutra', 'w4g64', 4, 20, { threads: 2 }),
      row('lutra', 'w3g128', 3, 5),
      row('onnxruntime-node', '4 bits', 4, 80),
      row('onnxruntime-node', '4 bits', 4, 80, { mode: 'warm' }),
    ];
    expect(ratiosOf(rows)).toEqual([
      { engine: 'onnxruntime-node', bits: 4, rows: 16, columns: 128, n: 1, threads: 1, mode: 'cold', format: 'q4_1', ratio: 2 },
    ]);
  });
});

/** Fields of a protobuf message: [number, integer or bytes]. */
function fieldsOf(message: Uint8Array): [number, number | Uint8Array][] {
  const fields: [number, number | Uint8Array][] = [];
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < message.length) {
    const key = varint();
    const value = varint();
    expect([0, 2]).toContain(key % 8);
    if (key % 8 === 0) {
      fields.push([key >> 3, value]);
      continue;
    }
    fields.push([key >> 3, message.subarray(at, at + value)]);
    at += value;
  }
  expect(at).toBe(message.length);
  return fields;
}

describe('the ONNX model', () => {
  const parts = (message: Uint8Array, field: number) =>
    fieldsOf(message).flatMap(([number, value]) => (number === field && value instanceof Uint8Array ? [value] : []));
  const integers = (message: Uint8Array, field: number) =>
    fieldsOf(message).flatMap(([number, value]) => (number === field && typeof value === 'number' ? [value] : []));
  const texts = (message: Uint8Array, field: number) => parts(message, field).map((bytes) => new TextDecoder().decode(bytes));

  it('has a node with weights of its own for each product', () => {
    const [rows, columns, block, bits] = [32, 256, 128, 2];
    const weights = [1, 2, 3].map((seed) => ({
      codes: new Uint8Array((rows * columns * bits) / 8).fill(seed),
      scales: new Float32Array((rows * columns) / block).fill(seed),
    }));
    const model = matMulNBitsModel({ bits, block, rows, columns, n: 1, weights });
    const [graph = new Uint8Array()] = parts(model, 7);
    const nodes = parts(graph, 1);
    expect(nodes.map((node) => [texts(node, 1), texts(node, 2), texts(node, 4), texts(node, 7)])).toEqual(
      [0, 1, 2].map((i) => [['x', `w${i}`, `s${i}`], [`y${i}`], ['MatMulNBits'], ['com.microsoft']]),
    );
    const attributes = parts(nodes[0]!, 5).map((attribute) => [texts(attribute, 1)[0], integers(attribute, 3)[0]]);
    expect(Object.fromEntries(attributes)).toEqual({ K: columns, N: rows, bits, block_size: block, accuracy_level: 4 });
    const tensors = parts(graph, 5).map((tensor) => [texts(tensor, 8)[0], integers(tensor, 1), parts(tensor, 9)[0]?.length]);
    expect(tensors).toEqual(
      [0, 1, 2].flatMap((i) => [
        [`w${i}`, [rows, 2, 32], 2048],
        [`s${i}`, [rows, 2], 256],
      ]),
    );
    expect(parts(graph, 12).map((output) => texts(output, 1)[0])).toEqual(['y0', 'y1', 'y2']);
  });
});
