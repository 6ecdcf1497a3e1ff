/** The kernels of the built package: the example, and worker threads that end while they multiply. */
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { kernels, qnn } from '../../lib/index.js';
import { Random } from '../reference/random.js';
import { root } from './helpers.js';

const run = promisify(execFile);

describe('the examples', () => {
  it.each(['w1g32', 'w2g64m', 'w3row', 'w4g128z'])('run with %s', async (format) => {
    const { stdout } = await run(process.execPath, [join(root, 'examples', 'kernels-gemv.mjs'), format], { cwd: root });
    expect(stdout).toMatch(/runs here, chosen for 1 to/);
    expect(stdout).toMatch(/agree: true/);
  });

  it('repair a linear', async () => {
    const { stdout } = await run(process.execPath, [join(root, 'examples', 'kernels-shadow.mjs')], { cwd: root });
    expect(stdout).toMatch(/^repaired: \d\.\d+e-\d+, from \d+ of 8192 inputs and \d+ of 2048 outputs$/m);
  });
});

describe('kernels.shadowLinear', () => {
  it.each(['s8', 'u8'] as const)('computes the bits of the host NPU, and repairs them: %s', (dtype) => {
    const [inputs, outputs, rows] = [96, 80, 5];
    const random = new Random(21);
    const codes = Int8Array.from({ length: inputs * outputs }, () => random.below(256) - 128);
    const scales = Float32Array.from({ length: outputs }, () => 0.001 + 0.01 * random.uniform());
    const x = random.normals(rows * inputs, 1.5);
    const signed = dtype === 's8';
    const input = { scale: 0.02, zeroPoint: signed ? -3 : 120, signed };
    // Dequantised without rounding, so that both ways are the same numbers.
    const output = { scale: 3 / 32, zeroPoint: signed ? 5 : 131, signed };
    const linear = { inputs, outputs, codes, scales, input, output };

    using library = qnn.Library.open('host');
    const builder = library.createBackend().createDevice().createContext().createGraph('linear');
    const encoding = ({ scale, zeroPoint }: typeof input) => qnn.scaleOffset(scale, -zeroPoint);
    const from = builder.input('x', { dtype, dims: [rows, inputs], encoding: encoding(input) });
    const to = builder.output('y', { dtype, dims: [rows, outputs], encoding: encoding(output) });
    const data = Int8Array.from(codes, (_, i) => codes[(i % inputs) * outputs + Math.floor(i / inputs)] ?? 0);
    const w = builder.constant('w', { dtype: 's8', dims: [outputs, inputs], encoding: qnn.axis(0, scales), data });
    builder.node({ type: 'FullyConnected', inputs: [from, w], outputs: [to] });
    const graph = builder.finalize({ inputs: [from], outputs: [to] });
    const quantized = graph.execute({ x: qnn.quantize(x, dtype, encoding(input)) }).y as Int8Array | Uint8Array;

    expect(kernels.shadowLinear(linear, x, { repair: false }).y).toEqual(qnn.dequantize(quantized, encoding(output)));
    const repaired = kernels.shadowLinear(linear, x);
    expect(kernels.shadowLinear(linear, x, { quantized })).toEqual(repaired);
    expect(repaired.repairedInputs).toBeGreaterThan(10);
    expect(repaired.repairedOutputs).toBeGreaterThan(10);
  });
});

describe('lutra bench kernels', () => {
  const bench = (...flags: string[]) =>
    run(process.execPath, [
      join(root, 'dist/cli/main.js'),
      'bench',
      'kernels',
      '--no-peers',
      '--rounds',
      '2',
      '--sizes',
      '256x512',
      ...flags,
    ]);

  it('prints a table, and with --json its rows', async () => {
    const { stdout } = await bench('--formats', 'w2g64,w4g64m', '--threads', '1');
    expect(stdout).toMatch(/^read line, 1 thread: \d+\.\d GB\/s/m);
    expect(stdout.match(/^\S+ \* +w2g64 +2\.25 +256 × 512 +1 +1 +(cold|warm) /gm)).toHaveLength(2);
    const { rows } = JSON.parse((await bench('--json', '--formats', 'w2g64', '--n', '4')).stdout) as { rows: { threads: number }[] };
    expect(new Set(rows.map(({ threads }) => threads))).toEqual(new Set([1, 2]));
  });
});

describe('worker threads', () => {
  it('end at any moment of a product, and the threads of their products with them', async () => {
    const code = `
      const { parentPort } = require('node:worker_threads');
      import(${JSON.stringify(join(root, 'dist', 'index.js'))}).then(({ kernels }) => {
        const weight = kernels.pack({ rows: 512, columns: 512, format: 'w2g64', values: new Float32Array(512 * 512).fill(1) });
        const x = new Float32Array(512).fill(1);
        const turn = () => {
          parentPort.postMessage(kernels.gemv(weight, x, { threads: 3 })[0]);
          setImmediate(turn);
        };
        turn();
      });`;
    const threads = () => readdirSync('/proc/self/task').length;
    const ends: number[] = [];
    for (let i = 0; i < 4; i++) {
      const worker = new Worker(code, { eval: true });
      expect(await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))).toBeCloseTo(512, 0);
      await sleep(3 * i);
      await worker.terminate();
      ends.push(threads());
    }
    expect(ends).toEqual(ends.map(() => ends[0]));
  });
});
