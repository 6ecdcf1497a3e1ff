/** Tiny random models through the whole path, from GGUF to logits: eager, plan, float64 reference and float64 interpreter must agree. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parsePrecision } from '../../lib/convert/precision.js';
import { eagerGraph, type Graph, type Tensor } from '../../lib/graph/index.js';
import { buildPlan } from '../../lib/models/index.js';
import type { NativeEngine } from '../../lib/native/addon.js';
import { loadModel } from '../../lib/runtime/model.js';
import { trace } from '../../lib/runtime/trace.js';
import { referenceDecoder } from '../reference/decoder.js';
import { Interpreter } from '../reference/interpreter.js';
import { foldedWeights, withRotation } from '../reference/rotated.js';
import { type Storage, TINY } from '../unit/convert/tiny-gguf.js';
import { nmse, qnnLibrary, SOC } from './helpers.js';
import { CHUNK, factorsOf, interleaveHeads, makeTiny, nmseRows, openTiny, type TinyModelFiles, tinyTokens, VOCAB } from './tiny.js';

const CONTEXT = 64;
const PRECISIONS = [
  'all=w8a8',
  'qkv=w8a8s,o=w8a8s,gateup=w8a8,down=w8a8s',
  'all=w8a16',
  'all=w8f16',
  'qkv=w8a8s,o=w8a8s,gateup=w8a16,down=w8a16',
  'qkv=w8f16,o=w8a16,gateup=w8a8,down=w8a8s',
  'rotated all=w8f16',
  'rotated all=w8a8',
  'rotated qkv=w8a8s,o=w8a8s,gateup=w8a8,down=w8a8s',
] as const;

let root: string;
const models = new Map<string, TinyModelFiles>();
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'lutra-tiny-'));
  for (const [i, precision] of PRECISIONS.entries()) {
    // A packed lm_head would quantise its input: more noise than all of the NPU in 16 bits.
    const options = { seed: 40 + i, storages: ['q4_1', 'q8_0', 'q4_0'] as const, head: 'f16' as const, tied: i % 2 === 0 };
    const rotated = precision.startsWith('rotated ');
    // A hidden size that is no power of two, so that the rotation has a matrix.
    const shape = rotated ? { sizes: { ...TINY, hidden: 96, headDim: 24 } } : {};
    const parsed = parsePrecision(precision.replace('rotated ', ''));
    models.set(precision, await makeTiny(root, `npu${i}`, parsed, { ...options, ...shape }, { transform: rotated ? 'rotate' : 'none' }));
  }
});
afterAll(() => rm(root, { recursive: true, force: true }));

function modelOf(precision: string): TinyModelFiles {
  const model = models.get(precision);
  if (model === undefined) throw new Error(`no model of ${precision}`);
  return model;
}

/** What runs plans of the model in float64. */
function interpreterOf(model: TinyModelFiles, graph: Graph): Interpreter {
  const { spec, weights } = model;
  if (spec.transform === 'none') return new Interpreter(graph, weights);
  return new Interpreter(graph, new Map([...withRotation(spec, weights), ...factorsOf(model)]), foldedWeights(spec, weights));
}

function float64(model: TinyModelFiles, tokens: readonly number[]): Float64Array[] {
  return referenceDecoder(model.arch, model.weights, tokens).logits;
}

/** Logits of all tokens from an empty cache, in pieces of a call each. */
async function logitsOf(
  engine: NativeEngine,
  program: 'npu' | 'cpu',
  tokens: readonly number[],
  pieces = [tokens.length],
): Promise<Float32Array> {
  engine.truncate(0);
  const out = new Float32Array(tokens.length * VOCAB);
  let at = 0;
  for (const piece of pieces) {
    out.set(await engine.prefill(Uint32Array.from(tokens.slice(at, at + piece)), 'all', program), at * VOCAB);
    at += piece;
  }
  expect(at).toBe(tokens.length);
  return out;
}

/** Equal bit for bit, NaN excluded. */
function expectSame(got: Float32Array, want: Float32Array, what = ''): void {
  expect(got.length, what).toBe(want.length);
  const first = got.findIndex((v, i) => v !== want[i]);
  expect(first === -1 ? 'equal' : `differs at ${first}: ${got[first]} and ${want[first]}`, what).toBe('equal');
}

function rowsOf(values: Float32Array, cols: number): Float64Array[] {
  return Array.from({ length: values.length / cols }, (_, r) => Float64Array.from(values.subarray(r * cols, (r + 1) * cols)));
}

/** The integer that stands for a real. */
function codeOf({ quant }: Tensor, value: number): number {
  return quant.kind === 'scale' ? Math.round(value / quant.scale) - quant.offset : Number.NaN;
}

/** Holds one op to NUMERICS' bounds; returns the share of equal values. `wideSteps`: of 16 bits; Qualcomm's sums drop low bits, always downwards: 3 steps at K = 96. */
function checkOp(op: string, tensor: Tensor, got: readonly Float64Array[], want: readonly Float64Array[], wideSteps: number): number {
  const what = `${op} ${tensor.name}`;
  if (tensor.quant.kind === 'scale') {
    const steps = want.flatMap((row, r) => [...row].map((w, i) => Math.abs(w - (got[r]?.[i] ?? Number.NaN))));
    const most = Math.max(...steps);
    if (op === 'Reshape') expect(most, what).toBe(0);
    expect(most, what).toBeLessThanOrEqual(tensor.dtype === 'u16' ? wideSteps : 1);
    return steps.filter((s) => s === 0).length / steps.length;
  }
  const error = nmseRows(Float32Array.from(got.flatMap((row) => [...row])), want);
  // F32 steps round to 2^-24, but attention reads an F16 cache and lm_head's kernel sums in F32.
  expect(error, what).toBeLessThanOrEqual(tensor.dtype === 'f16' || op === 'attention' ? 1e-6 : 1e-11);
  return Number.NaN;
}

describe('the float64 decoder', () => {
  it('gives the same in pairs on the rows as GGUF has them and in halves on the rows as lutra has them', async () => {
    const { arch, weights, interleaved } = modelOf('all=w8a8');
    const tokens = tinyTokens(5, 11);
    const halves = referenceDecoder(arch, weights, tokens).logits;
    const pairs = referenceDecoder({ ...arch, ropeInterleaved: true }, interleaved, tokens).logits;
    expect(nmseRows(Float32Array.from(pairs.flatMap((row) => [...row])), halves)).toBeLessThan(1e-13);
    // The test has teeth: halves on the file's order are another model.
    const wrong = referenceDecoder(arch, interleaved, tokens).logits;
    expect(nmseRows(Float32Array.from(wrong.flatMap((row) => [...row])), halves)).toBeGreaterThan(1e-3);
    const q = weights.get('layers.0.q');
    expect(q && interleaveHeads(q, TINY.headDim).data).toEqual(interleaved.get('layers.0.q')?.data);
  });
});

describe('CPU programs', () => {
  const storages: Storage[] = ['q4_0', 'q4_1', 'q8_0', 'f16', 'f32', 'bf16'];
  const cases = [
    ...storages.flatMap((storage) => [
      { name: `${storage} tied`, storages: [storage], tied: true, ropeFactors: false },
      { name: `${storage} untied`, storages: [storage], tied: false, ropeFactors: true },
    ]),
    {
      name: 'all storages in one file',
      storages: ['q4_1', 'q8_0', 'f16', 'q4_0', 'f32', 'bf16'] as Storage[],
      tied: false,
      ropeFactors: false,
    },
  ];

  it.each(cases)('$name: reference mode is the float64 decoder, cpu mode is near, eager is the same', async ({ name, ...options }) => {
    const model = await makeTiny(root, name.replaceAll(' ', '-'), null, { seed: 9, ...options });
    const tokens = tinyTokens(6, 29);
    const want = float64(model, tokens);
    const error: Partial<Record<'reference' | 'cpu', number>> = {};
    for (const mode of ['reference', 'cpu'] as const) {
      const graph = buildPlan(model.spec, { mode, contextSize: CONTEXT });
      const engine = await openTiny(model, graph);
      const logits = await logitsOf(engine, 'cpu', tokens);
      error[mode] = nmseRows(logits, want);
      const eager = await openTiny(model, eagerGraph(graph), { keepActivations: true });
      expectSame(await logitsOf(eager, 'cpu', tokens), logits);
      await Promise.all([engine.dispose(), eager.dispose()]);
    }
    expect(error.reference).toBeLessThanOrEqual(1e-9);
    // 8-bit activations for packed weights, an F16 cache for all.
    expect(error.cpu).toBeGreaterThan(1e-10);
    expect(error.cpu).toBeLessThanOrEqual(storages.slice(3).includes(options.storages[0] as Storage) ? 1e-5 : 1e-3);
  });
});

describe('NPU programs', () => {
  it.each(PRECISIONS)('%s: op by op is the plan, bit for bit, in every value', async (precision) => {
    const model = modelOf(precision);
    const tokens = tinyTokens(8, 21);
    const graph = buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT });
    const eagerly = eagerGraph(graph);
    expect(eagerly.segments.length).toBeGreaterThan(graph.segments.length + 20);
    const [plan, eager] = [
      await openTiny(model, graph, { keepActivations: true }),
      await openTiny(model, eagerly, { keepActivations: true }),
    ];
    expect(eager.info().segments.every(({ nodes }) => nodes === 1)).toBe(true);
    expectSame(await logitsOf(eager, 'npu', tokens), await logitsOf(plan, 'npu', tokens));
    const outputs = new Set(graph.programs.find(({ name }) => name === 'npu')?.steps.flatMap((step) => step.outputs));
    expect(outputs.size).toBeGreaterThan(20);
    for (const id of outputs) {
      const name = graph.tensors[id]?.name ?? '';
      expectSame(eager.peek(name), plan.peek(name), name);
    }
    await Promise.all([plan.dispose(), eager.dispose()]);
  });

  const both = PRECISIONS.flatMap((precision) => [
    { precision, on: 'the host NPU', npu: { kind: 'host' } as const },
    { precision, on: "Qualcomm's runtime", npu: { kind: 'library', path: qnnLibrary, soc: SOC } as const },
  ]);

  it.each(both)('$precision on $on: every op is its float64 form on the values that it was given', async ({ precision, npu }) => {
    const model = modelOf(precision);
    const graph = eagerGraph(buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT }));
    const engine = await openTiny(model, graph, { keepActivations: true, npu });
    const interpreter = interpreterOf(model, graph);
    /** Rows by op and type. */
    const seen = new Map<string, { equal: number; all: number }>();
    interpreter.onValue = (tensor, rows, op) => {
      const got = rowsOf(engine.peek(tensor.name), tensor.dims.at(-1) ?? 1).slice(0, rows.length);
      const integers = tensor.quant.kind === 'scale' ? got.map((row) => row.map((v) => codeOf(tensor, v))) : got;
      const share = checkOp(op, tensor, integers, rows, npu.kind === 'host' ? 2 : 4);
      const key = `${op} ${tensor.dtype}`;
      const { equal, all } = seen.get(key) ?? { equal: 0, all: 0 };
      seen.set(key, { equal: equal + share * rows.length, all: all + rows.length });
      return integers;
    };
    // 1 row after 8 + 8: the last chunk has one, and attention over one row is a kernel of its own.
    const tokens = tinyTokens(10, 2 * CHUNK + 1);
    for (let at = 0; at < tokens.length; at += CHUNK) {
      const piece = tokens.slice(at, at + CHUNK);
      await engine.prefill(Uint32Array.from(piece), 'all', 'npu');
      interpreter.run('npu', piece);
    }
    expect(seen.size).toBeGreaterThan(10);
    for (const [key, { equal, all }] of seen) if (/ [us]8$/.test(key)) expect(equal / all, key).toBeGreaterThanOrEqual(0.95);
    if (precision.includes('w8a8s')) expect(Math.min(interpreter.repairedInputs, interpreter.repairedOutputs)).toBeGreaterThan(0);
    await engine.dispose();
  });

  it.each(PRECISIONS)('%s: the plan is as near to its float64 interpretation as quantisation allows', async (precision) => {
    const model = modelOf(precision);
    const tokens = tinyTokens(10, 3 * CHUNK);
    const graph = buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT });
    const interpreter = interpreterOf(model, graph);
    const engine = await openTiny(model, graph);
    const want: Float64Array[] = [];
    for (let at = 0; at < tokens.length; at += CHUNK) want.push(...interpreter.run('npu', tokens.slice(at, at + CHUNK)));
    const implementation = nmseRows(await logitsOf(engine, 'npu', tokens), want);
    const quantisation = nmseRows(Float32Array.from(want.flatMap((row) => [...row])), float64(model, tokens));
    console.log(
      `${precision}: NMSE to interpreter ${implementation.toExponential(1)}, of interpreter to float ${quantisation.toExponential(1)}`,
    );
    // Rounding to F16 between the linears flips single steps of 8 bits, and each is noise of the size of quantisation's own.
    expect(implementation).toBeLessThanOrEqual(precision.includes('w8a8') ? quantisation : 1e-5);
    expect(quantisation).toBeLessThan(0.05);
    await engine.dispose();
  });

  it('shows every value through loadModel, Session.peek and trace', async () => {
    const { directory } = modelOf(PRECISIONS[4]);
    const model = await loadModel(directory, { eager: true, npu: 'host', contextSize: CONTEXT, threads: 1 });
    const session = await model.createSession();
    await session.prefill(tinyTokens(3, 5));
    expect(session.peek('l1.fn')).toHaveLength(5 * TINY.hidden);
    expect(() => session.peek('cpu.l1.fn')).toThrow(expect.objectContaining({ code: 'LUTRA_NOT_FOUND' }));
    await session.step(7);
    expect(session.peek('cpu.l1.fn')).toHaveLength(TINY.hidden);
    expect(() => session.peek('l1.fn')).toThrow(expect.objectContaining({ code: 'LUTRA_NOT_FOUND' }));
    await model.dispose();
    const plain = await loadModel(directory, { npu: 'host', contextSize: CONTEXT, threads: 1 });
    const other = await plain.createSession();
    await other.prefill(tinyTokens(3, 5));
    expect(() => other.peek('l1.x')).toThrow(expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT' }));
    await plain.dispose();

    const { program, tokens, values } = await trace(directory, 'hello world 12 34', { npu: 'host', contextSize: CONTEXT, threads: 1 });
    expect(program).toBe('npu');
    expect(tokens).toBeGreaterThan(2);
    expect(values.filter(({ difference }) => difference !== null && difference > 0)).toEqual([]);
    expect(values.filter(({ difference }) => difference === null).length).toBeGreaterThan(20);
    expect(values.every(({ rms, min, max }) => rms > 0 && min < max)).toBe(true);
    expect(values.at(-1)).toMatchObject({ tensor: 'logits', op: 'linear', where: 'cpu', rows: 1, cols: VOCAB, difference: 0 });
  });
});

describe('lengths around multiples of the chunk', () => {
  /** Rows of the calls; a chunk of one row has its own attention kernel, which sums in another order. */
  const splits = (length: number): number[][] => [[length], new Array<number>(length).fill(1), length > 5 ? [3, length - 3] : [length]];
  const hasSingleRow = (pieces: readonly number[]): boolean => pieces.some((piece) => piece % CHUNK === 1);
  const lengths = [1, 7, 8, 9, 16, 17, 18];

  /** Logits in one chunk of 32 rows, then cut in all ways into chunks of 8: bit-equal, or to rounding when a single row is among the pieces. */
  async function expectChunkingIsInvisible(
    whole: NativeEngine,
    chunked: NativeEngine,
    program: 'npu' | 'cpu',
    bound: number,
  ): Promise<void> {
    for (const length of lengths) {
      const tokens = tinyTokens(100 + length, length);
      const want = await logitsOf(whole, program, tokens);
      for (const pieces of splits(length)) {
        const got = await logitsOf(chunked, program, tokens, pieces);
        if (length === 1 || !hasSingleRow(pieces)) expectSame(got, want, `${length} as ${pieces}`);
        else expect(nmse(got, want), `${length} as ${pieces}`).toBeLessThanOrEqual(bound);
      }
      expect(chunked.length()).toBe(length);
    }
  }

  it.each(PRECISIONS)('%s: chunk by chunk, in one chunk and token by token give the same logits', async (precision) => {
    const model = modelOf(precision);
    const open = (chunk: number) => openTiny(model, buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT, chunk }));
    const [whole, chunked] = [await open(32), await open(CHUNK)];
    await expectChunkingIsInvisible(whole, chunked, 'npu', 1e-5);
    for (const length of lengths) {
      await logitsOf(chunked, 'npu', tinyTokens(1, length));
      expect(chunked.timings().graphCalls).toBe(Math.ceil(length / CHUNK) * chunked.info().segments.length);
    }
    await Promise.all([whole.dispose(), chunked.dispose()]);
  });

  it.each(['cpu', 'reference'] as const)('%s mode: the same, with another number of threads', async (mode) => {
    const model = modelOf(PRECISIONS[0]);
    const open = (chunk: number, threads: number) =>
      openTiny(model, buildPlan(model.spec, { mode, contextSize: CONTEXT, chunk }), { threads });
    const [whole, chunked] = [await open(32, 2), await open(CHUNK, 1)];
    await expectChunkingIsInvisible(whole, chunked, 'cpu', mode === 'cpu' ? 1e-5 : 0);
    await Promise.all([whole.dispose(), chunked.dispose()]);
  });

  it('a truncated cache continues as if the rest had never been', async () => {
    const model = modelOf(PRECISIONS[4]);
    const engine = await openTiny(model, buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT }));
    const [kept, forgotten, next] = [tinyTokens(1, 13), tinyTokens(2, 20), tinyTokens(3, 11)];
    const want = (await logitsOf(engine, 'npu', [...kept, ...next])).slice(13 * VOCAB);
    engine.truncate(0);
    await engine.prefill(Uint32Array.from([...kept, ...forgotten]), 'none', 'npu');
    engine.truncate(13);
    expect(engine.length()).toBe(13);
    expectSame(await engine.prefill(Uint32Array.from(next), 'all', 'npu'), want);
    expect(() => engine.truncate(25)).toThrow(expect.objectContaining({ code: 'LUTRA_INVALID_ARGUMENT' }));
    await engine.dispose();
  });

  it('prefill on the NPU and decode on the CPU share one cache, and both stay near float', async () => {
    const model = modelOf('all=w8f16');
    const engine = await openTiny(model, buildPlan(model.spec, { mode: 'npu', contextSize: CONTEXT }));
    const tokens = tinyTokens(4, 30);
    const want = float64(model, tokens);
    engine.truncate(0);
    await engine.prefill(Uint32Array.from(tokens.slice(0, 20)), 'none', 'npu');
    for (let t = 20; t < 30; t++) {
      const logits = await engine.prefill(Uint32Array.of(tokens[t] ?? 0), 'last', 'cpu');
      expect(nmseRows(logits, want.slice(t, t + 1))).toBeLessThan(1e-3);
    }
    await engine.dispose();
  });
});
