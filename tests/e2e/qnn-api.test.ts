/** The typed QNN API on both libraries: numbers, asynchrony, binaries, profiles, logs, and what happens to wrong calls and disposed objects. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LutraError, qnn } from '../../lib/index.js';
import { qnnLibrary, root, SOC } from './helpers.js';
import { HTP, LIBRARIES, linear, randoms, silu, steps } from './qnn-libraries.js';

const run = promisify(execFile);

function codeOf(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    if (error instanceof LutraError) return error.code;
    throw error;
  }
  return 'nothing was thrown';
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  return error instanceof LutraError ? error.code : `not a LutraError: ${error}`;
}

/** A library may be faster than this thread, which may not get its turn: tried until `attempt` saw what it waits for. */
async function eventually(attempt: (i: number) => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 50; i++) if (await attempt(i)) return;
  throw new Error('not in 50 attempts');
}

describe.each(LIBRARIES)('$name', (tested) => {
  let library: qnn.Library;
  let backend: qnn.Backend;
  let device: qnn.Device;
  let context: qnn.Context;
  beforeEach(() => {
    library = tested.open();
    backend = library.createBackend();
    device = backend.createDevice(tested.device);
    context = device.createContext();
  });
  afterEach(() => {
    for (const one of [context, device, backend, library]) one.dispose();
  });

  it('says what it is', () => {
    expect(library.info.apiVersion).toMatch(/^2\.\d+\.\d+$/);
    expect(library.info.buildId).not.toBe('');
    expect(Object.keys(qnn.OPS).filter((op) => !backend.operations.includes(op))).toEqual([]);
    expect(library.system.version).toMatch(/^1\.\d+\.\d+$/);
  });

  it('computes an 8-bit linear within one step of the exact integers, synchronously and not', async () => {
    const { builder, x, y, data, expected } = linear(context);
    const graph = builder.finalize({ inputs: [x], outputs: [y] });
    const result = graph.execute({ x: data });
    expect(steps(result.y, expected)).toBeLessThanOrEqual(1);
    expect(new Set(result.y).size).toBeGreaterThan(20);
    const kept = data.slice();
    const promise = graph.executeAsync({ x: data });
    data.fill(0); // the inputs were copied
    expect((await promise).y).toEqual(result.y);
    const own = new Uint8Array(expected.length);
    const { y: written } = graph.execute({ x: kept }, { outputs: { y: own } });
    expect(written).toBe(own);
    expect(own).toEqual(result.y);
  });

  it('computes F16 graphs that were finalized in the background', async () => {
    const builder = context.createGraph('norm');
    const x = builder.input('x', { dtype: 'f16', dims: [3, 16] });
    const gamma = builder.constant('gamma', { dtype: 'f16', dims: [16], data: qnn.toF16(randoms(16, 3)) });
    const beta = builder.constant('beta', { dtype: 'f16', dims: [16], data: new Uint16Array(16) });
    const y = builder.output('y', x);
    builder.op('RmsNorm', { inputs: [x, gamma, beta], outputs: [y], params: { epsilon: 1e-5, axes: [1] } });
    const finalizing = builder.finalizeAsync({ inputs: [x], outputs: [y] });
    expect(codeOf(() => builder.finalize())).toBe('LUTRA_DISPOSED');
    const graph = await finalizing;
    const values = qnn.fromF16(qnn.toF16(randoms(48, 5)));
    const found = qnn.fromF16(graph.execute({ x: qnn.toF16(values) }).y);
    const scale = qnn.fromF16(qnn.toF16(randoms(16, 3)));
    for (let i = 0; i < 48; i++) {
      const row = values.subarray(i - (i % 16), i - (i % 16) + 16);
      const mean = row.reduce((sum, value) => sum + value * value, 0) / 16;
      expect(found[i]).toBeCloseTo((values[i]! / Math.sqrt(mean + 1e-5)) * scale[i % 16]!, 2);
    }
  });

  it('validates without adding, and goes on after a refusal', () => {
    const builder = context.createGraph('g');
    const x = builder.input('x', { dtype: 'f16', dims: [2, 8] });
    const y = builder.output('y', { dtype: 'f16', dims: [2, 8] });
    const wrong = builder.output('z', { dtype: 'u8', dims: [2, 8], encoding: qnn.scaleOffset(1) });
    expect(builder.validate('Relu', { inputs: [x], outputs: [y] })).toBeNull();
    const refusal = builder.validate({ type: 'Relu', inputs: [x], outputs: [wrong] });
    expect(refusal).toBeInstanceOf(LutraError);
    expect(refusal?.code).toBe('LUTRA_QNN_NODE');
    expect(refusal?.message).toMatch(/Relu\(x: F16 \[2, 8\]\) -> \(z: U8 \[2, 8\] scale 1 offset 0\)/);
    expect(builder.validate({ type: 'NoSuchOp', inputs: [x], outputs: [y] })?.code).toBe('LUTRA_QNN_NODE');
    expect(codeOf(() => builder.node({ type: 'NoSuchOp', inputs: [x], outputs: [y] }))).toBe('LUTRA_QNN_NODE');
    builder.op('Relu', { inputs: [x], outputs: [y] });
    expect(codeOf(() => builder.finalize())).toBe('LUTRA_INVALID_ARGUMENT'); // nothing writes z
    builder.node({ name: 'quantize', type: 'Quantize', inputs: [y], outputs: [wrong] });
    const graph = builder.finalize();
    const result = graph.execute({ x: qnn.toF16([-3, -2, -1, 0, 1, 2, 3, 4, -3, -2, -1, 0, 1, 2, 3, 4]) });
    expect([...result.z!].slice(0, 8)).toEqual([0, 0, 0, 0, 1, 2, 3, 4]);
  });

  it('takes a float RmsNorm with a beta only where it is computed right', () => {
    const builder = context.createGraph('beta');
    const x = builder.input('x', { dtype: 'f16', dims: [2, 16] });
    const gamma = builder.constant('gamma', { dtype: 'f16', dims: [16], data: qnn.toF16(randoms(16, 3)) });
    const beta = builder.constant('beta', { dtype: 'f16', dims: [16], data: qnn.toF16(randoms(16, 4)) });
    const node = { inputs: [x, gamma, beta], outputs: [builder.output('y', x)], params: { epsilon: 1e-5, axes: [1] } } as const;
    const refusal = builder.validate('RmsNorm', node);
    if (tested === HTP) {
      expect(refusal).toMatchObject({ code: 'LUTRA_QNN_NODE', message: expect.stringMatching(/leaves the beta of a float RmsNorm out/) });
      expect(refusal?.remedy).not.toBe('');
      expect(codeOf(() => builder.op('RmsNorm', node))).toBe('LUTRA_QNN_NODE');
      return;
    }
    expect(refusal).toBeNull();
    builder.op('RmsNorm', node);
    const values = qnn.fromF16(qnn.toF16(randoms(32, 5)));
    const found = qnn.fromF16(builder.finalize({ inputs: [x], outputs: node.outputs }).execute({ x: qnn.toF16(values) }).y);
    const mean = values.subarray(0, 16).reduce((sum, value) => sum + value * value, 0) / 16;
    for (let i = 0; i < 16; i++) {
      const expected = (values[i]! / Math.sqrt(mean + 1e-5)) * randoms(16, 3)[i]! + randoms(16, 4)[i]!;
      expect(found[i]).toBeCloseTo(expected, 2);
    }
  });

  it('takes tensor parameters and untyped nodes: Conv2d in both notations gives the same', () => {
    const wEncoding = qnn.axis(3, [0.01, 0.02, 0.03, 0.04]);
    const results = [true, false].map((typed) => {
      const builder = context.createGraph(`conv ${typed}`);
      const x = builder.input('x', { dtype: 'u8', dims: [1, 1, 8, 16], encoding: qnn.scaleOffset(0.02, -128) });
      const data = qnn.quantize(randoms(64, 9), 's8', wEncoding, [1, 1, 16, 4]);
      const w = builder.constant('w', { dtype: 's8', dims: [1, 1, 16, 4], encoding: wEncoding, data });
      const y = builder.output('y', { dtype: 'u8', dims: [1, 1, 8, 4], encoding: qnn.scaleOffset(0.05, -128) });
      if (typed) {
        builder.op('Conv2d', { inputs: [x, w], outputs: [y], params: { stride: [1, 1], pad_amount: [[0, 0], [0, 0]] } }); // biome-ignore format: one parameter list
      } else {
        const pads = { dims: [2, 2], values: [0, 0, 0, 0] };
        builder.node({
          type: 'Conv2d',
          inputs: [x, w, null],
          outputs: [y],
          params: { stride: { u32s: [1, 1] }, pad_amount: { u32s: pads } },
        });
      }
      return builder.finalize().execute({ x: qnn.quantize(randoms(128, 2), 'u8', qnn.scaleOffset(0.02, -128)) }).y!;
    });
    expect(results[0]).toEqual(results[1]);
    expect(new Set(results[0] as Uint8Array).size).toBeGreaterThan(5);
  });

  it('gives graphs back out of a binary and out of an image, byte for byte', () => {
    const input = qnn.toF16(randoms(16, 21).map((v) => 8 * v));
    const graph = silu(context);
    const built = graph.execute({ x: input }).y;
    const { builder, x, y, data } = linear(context);
    const codes = builder.finalize({ inputs: [x], outputs: [y] }).execute({ x: data }).y;

    const binary = context.binary();
    const info = library.readBinary(binary);
    expect(info.buildId).toBe(library.info.buildId);
    const described = info.graphs.find(({ name }) => name === 'linear');
    expect(described?.inputs).toMatchObject([{ name: 'x', dtype: 'u8', dims: [4, 32] }]);
    expect(described?.outputs[0]?.encoding).toMatchObject({ kind: 'scaleOffset', offset: -128 });
    expect(described?.outputs[0]?.encoding?.scale).toBeCloseTo(0.05, 6);

    const second = qnn.Context.fromBinary(device, binary);
    expect(second.graphNames.sort()).toEqual(['linear', 'silu']);
    const typed = second.graph('silu', { inputs: { x: 'f16' }, outputs: { y: 'f16' } });
    expect(typed.execute({ x: input }).y).toEqual(built);
    expect(second.graph('linear').execute({ x: data })).toEqual({ y: codes });
    expect(codeOf(() => second.graph('other'))).toBe('LUTRA_NOT_FOUND');
    expect(codeOf(() => second.graph('silu', { inputs: { x: 'u8' }, outputs: { y: 'f16' } }))).toBe('LUTRA_INVALID_ARGUMENT');

    // Without a system interface the signatures do, also after JSON.
    const signatures = JSON.parse(JSON.stringify([graph.signature])) as qnn.GraphSignature[];
    expect(qnn.Context.fromBinary(device, binary, { signatures }).graph('silu').execute({ x: input }).y).toEqual(built);

    const image = context.save({ key: 'k' });
    const loaded = qnn.Context.load(device, image, { key: 'k' });
    expect(loaded.graph('silu').execute({ x: input }).y).toEqual(built);
    expect(codeOf(() => qnn.Context.load(device, image, { key: 'other' }))).toBe('LUTRA_BAD_FILE');
    expect(codeOf(() => qnn.Context.load(device, image))).toBe('LUTRA_BAD_FILE');
  });

  it('refuses every damaged image before the library sees it', () => {
    silu(context);
    const image = context.save();
    for (let i = 0; i < 200; i++) {
      const damaged = image.slice(0, i % 4 === 0 ? Math.floor((image.length * i) / 200) : image.length);
      if (i % 4 !== 0) damaged[Math.floor((i * 7919) % damaged.length)]! ^= 1 << (i % 8);
      expect(codeOf(() => qnn.Context.load(device, damaged))).toBe('LUTRA_BAD_FILE');
    }
    expect(codeOf(() => qnn.Context.fromBinary(device, new Uint8Array(0)))).toBe('LUTRA_BAD_FILE');
    expect(codeOf(() => library.readBinary(new Uint8Array(100)))).toBe('LUTRA_BAD_FILE');
  });

  it('runs overlapping calls in order, refuses a synchronous one meanwhile, and lets the running one finish when disposed of', async () => {
    const inputs = Array.from({ length: 6 }, (_, i) => qnn.toF16(randoms(4096 * 8, i + 1)));
    await eventually(async (attempt) => {
      const graph = silu(context, `big${attempt}`, 4096);
      const order: number[] = [];
      const promises = inputs.map(async (x, i) => {
        const { y } = await graph.executeAsync({ x });
        order.push(i);
        return y;
      });
      const meanwhile = codeOf(() => graph.execute({ x: inputs[0]! }));
      const outputs = await Promise.all(promises);
      expect(order).toEqual([0, 1, 2, 3, 4, 5]);
      for (const [i, x] of inputs.entries()) expect(graph.execute({ x }).y).toEqual(outputs[i]);
      return meanwhile === 'LUTRA_BUSY';
    });
    await eventually(async (attempt) => {
      const graph = silu(context, `late${attempt}`, 4096);
      const late = inputs.map((x) => graph.executeAsync({ x }));
      graph.dispose();
      const settled = await Promise.allSettled(late);
      for (const one of settled) {
        if (one.status === 'rejected') expect(one.reason).toMatchObject({ code: 'LUTRA_DISPOSED' });
      }
      expect(await rejection(graph.executeAsync({ x: inputs[0]! }))).toBe('LUTRA_DISPOSED');
      expect(codeOf(() => graph.execute({ x: inputs[0]! }))).toBe('LUTRA_DISPOSED');
      return settled.at(-1)?.status === 'rejected';
    });
  });

  it('runs graphs of one context from several threads of its own', async () => {
    const graphs = ['a', 'b', 'c'].map((name) => silu(context, name, 64));
    const x = qnn.toF16(randoms(512, 4));
    const expected = graphs[0]!.execute({ x }).y;
    const all = await Promise.all(Array.from({ length: 30 }, (_, i) => graphs[i % 3]!.executeAsync({ x })));
    for (const { y } of all) expect(y).toEqual(expected);
  });

  it('answers LUTRA_BUSY on a context while one of its graphs is finalized in the background', async () => {
    const ready = silu(context);
    const { builder, x, y, data, expected } = linear(context, 'slow', { rows: 128, inputs: 512, outputs: 512 });
    const finalizing = builder.finalizeAsync({ inputs: [x], outputs: [y] });
    const busy = [() => context.createGraph('h'), () => context.binary(), () => ready.execute({ x: new Uint16Array(16) })].map(codeOf);
    const waiting = ready.executeAsync({ x: new Uint16Array(16) });
    const graph = await finalizing;
    expect(busy).toEqual(['LUTRA_BUSY', 'LUTRA_BUSY', 'LUTRA_BUSY']);
    expect((await waiting).y).toEqual(new Uint16Array(16));
    context.createGraph('h');
    expect(steps(graph.execute({ x: data }).y, expected)).toBeLessThanOrEqual(1);
  });

  it('profiles', async () => {
    const profile = backend.createProfile('detailed');
    const { builder, x, y, data } = linear(context, 'profiled', { rows: 256, inputs: 512, outputs: 512 });
    const graph = builder.finalize({ inputs: [x], outputs: [y], profile });
    expect(Array.isArray(profile.events())).toBe(true);
    graph.execute({ x: data }, { profile });
    const events = profile.events();
    expect(events.length).toBeGreaterThan(0);
    const all = events.flatMap((event) => [event, ...event.parts]);
    expect(all.some(({ unit, value }) => unit === 'us' && value > 0)).toBe(true);
    // On a busy machine the execution can be over before this thread gets its turn.
    let refusal: string | undefined;
    for (let attempt = 0; attempt < 50 && refusal !== 'LUTRA_BUSY'; attempt++) {
      const running = graph.executeAsync({ x: data }, { profile });
      refusal = codeOf(() => profile.events());
      await running;
    }
    expect(refusal).toBe('LUTRA_BUSY');
    expect(profile.events().length).toBeGreaterThan(0);
  });

  it('hands the log lines of a refusal to onLog', async () => {
    const lines: [qnn.LogLevel, string][] = [];
    const logging = library.createBackend({ onLog: (level, line) => lines.push([level, line]), logLevel: 'error' });
    const builder = logging.createDevice(tested.device).createContext().createGraph('g');
    const x = builder.input('x', { dtype: 'f16', dims: [2, 8] });
    builder.validate({ type: 'NoSuchOp', inputs: [x], outputs: [builder.output('y', x)] });
    await new Promise((done) => setTimeout(done, 50));
    expect(lines.some(([level, line]) => level === 'error' && line.includes('NoSuchOp'))).toBe(true);
    expect(codeOf(() => library.createBackend({ onLog: () => {}, logLevel: 'loud' as 'warn' }))).toBe('LUTRA_INVALID_ARGUMENT');
  });

  it('keeps everything alive that something else was made from, in any order of disposal', () => {
    const graph = silu(context);
    for (const one of [library, backend, device, context]) one.dispose();
    expect(graph.execute({ x: new Uint16Array(16) }).y).toEqual(new Uint16Array(16));
    graph.dispose();
    graph.dispose();
    expect(codeOf(() => context.createGraph('h'))).toBe('LUTRA_DISPOSED');
    expect(codeOf(() => device.createContext())).toBe('LUTRA_DISPOSED');
    expect(codeOf(() => backend.createDevice())).toBe('LUTRA_DISPOSED');
    expect(codeOf(() => library.createBackend())).toBe('LUTRA_DISPOSED');
  });

  it('has a power vote, or none', () => {
    const vote = device.boost();
    vote?.dispose();
    expect(vote === null || vote instanceof qnn.PowerVote).toBe(true);
  });
});

describe("Qualcomm's runtime", () => {
  it('takes an architecture instead of a SoC, and one choice at a time', async () => {
    const script = `import { qnn } from ${JSON.stringify(join(root, 'dist/index.js'))};
      const backend = qnn.Library.open(${JSON.stringify(qnnLibrary)}).createBackend();
      const device = backend.createDevice({ arch: 75 });
      const builder = device.createContext().createGraph('g');
      const x = builder.input('x', { dtype: 'f16', dims: [1, 8] }), y = builder.output('y', x);
      builder.op('Relu', { inputs: [x], outputs: [y] });
      const code = (call) => { try { call(); return 'ok'; } catch (error) { return error.code; } };
      console.log(JSON.stringify([
        builder.finalize().execute({ x: qnn.toF16([-2, 3, 0, 0, 0, 0, 0, 0]) }).y[1],
        code(() => backend.createDevice({ soc: 69 })), code(() => backend.createDevice({ arch: 75 })),
      ]));`;
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script]);
    expect(JSON.parse(stdout)).toEqual([qnn.toF16([3])[0], 'LUTRA_BUSY', 'ok']);
  });

  it('is not asked about nodes that crash it', () => {
    const context = HTP.open().createBackend().createDevice(HTP.device).createContext();
    const builder = context.createGraph('g');
    const encoding = qnn.scaleOffset(0.01, -128);
    const a = builder.input('a', { dtype: 'u8', dims: [4, 16], encoding });
    const b = builder.constant('b', {
      dtype: 's8',
      dims: [16, 8],
      encoding: qnn.axis(1, new Float32Array(8).fill(0.01)),
      data: new Int8Array(128),
    });
    const y = builder.output('y', { dtype: 'u8', dims: [4, 8], encoding });
    const refusal = builder.validate({ type: 'MatMul', inputs: [a, b], outputs: [y] });
    expect(refusal).toMatchObject({ code: 'LUTRA_QNN_NODE', message: expect.stringContaining('crashes this library') });
    expect(refusal?.remedy).toContain('FullyConnected');
    const flat = builder.output('flat', { dtype: 'u8', dims: [8], encoding });
    expect(
      codeOf(() => builder.validate({ type: 'MatMul', inputs: [a, a], outputs: [flat], params: { transpose_in1: { bool: true } } })),
    ).toBe('LUTRA_INVALID_ARGUMENT');
    expect(codeOf(() => builder.validate({ type: 'ReduceSum', inputs: [a], outputs: [y], params: { keep_dims: { bool: true } } }))).toBe(
      'LUTRA_INVALID_ARGUMENT',
    );
  });
});

describe('examples', () => {
  it.each(['qnn-linear.mjs', 'qnn-context-binary.mjs'])('%s runs on both libraries', async (example) => {
    for (const args of [[], [qnnLibrary, String(SOC)]]) {
      const { stdout } = await run(process.execPath, [join(root, 'examples', example), ...args], { cwd: root });
      expect(stdout).toMatch(/agree: true/);
    }
  });
});
