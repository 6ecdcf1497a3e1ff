/** Plans of the tiny model: what they compute (interpreted in float64), how they are cut, and their printed form. */
import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodePlan } from '../../../lib/graph/decode.js';
import { quantLimits } from '../../../lib/graph/dtype.js';
import { encodePlan } from '../../../lib/graph/encode.js';
import { printPlan } from '../../../lib/graph/print.js';
import type { LinearName, QuantRange } from '../../../lib/graph/spec.js';
import { validateGraph } from '../../../lib/graph/validate.js';
import { MODEL_FAMILIES } from '../../../lib/models/families/index.js';
import { gainedSigns, LINEAR_NAMES, linearKey, ROTATION } from '../../../lib/models/index.js';
import { buildCalibrationPlan, buildPlan } from '../../../lib/models/registry.js';
import { matVec, referenceDecoder, rmsNorm } from '../../reference/decoder.js';
import { all, DEFAULT, GOLDENS, goldenPlan, SHADOWED } from '../../reference/golden-plans.js';
import { Interpreter, quantizeS8, roundEven, type W8 } from '../../reference/interpreter.js';
import { foldedWeights, withRotation } from '../../reference/rotated.js';
import { storedWeights, type TinyOptions, type TinyPrecision, tinyModel, type Weight } from '../../reference/tiny.js';

const TOKENS = [1, 17, 4, 90, 33, 33, 2, 61, 5, 44, 80];

/** NMSE that rounding the snapped weights to F32 explains. */
const F32 = 1e-13;

/** Weights that S8 holds (to F32 rounding), so that precision differences come from activations alone. */
function snapped(weights: ReadonlyMap<string, Weight>): Map<string, Weight> {
  return new Map(
    [...weights].map(([name, w]) => {
      if (!/^layers\.\d+\.(q|k|v|o|gate|up|down)$/.test(name)) return [name, w];
      const { codes, scales } = quantizeS8(w);
      return [name, { shape: w.shape, data: Float32Array.from(codes.flatMap((row, o) => [...row].map((c) => c * (scales[o] ?? 0)))) }];
    }),
  );
}

function nmse(got: readonly Float64Array[], want: readonly Float64Array[]): number {
  expect(got.length).toBe(want.length);
  let [error, power] = [0, 0];
  got.forEach((row, t) => {
    row.forEach((v, i) => {
      const w = want[t]?.[i] ?? Number.NaN;
      error += (v - w) ** 2;
      power += w ** 2;
    });
  });
  expect(power).toBeGreaterThan(0);
  return error / power;
}

/** As float weights. */
function asTheyAre({ shape: [rows = 0, cols = 0], data }: Weight): W8 {
  const codes = Array.from({ length: rows }, (_, o) => Float64Array.from(data.subarray(o * cols, (o + 1) * cols)));
  return { codes, scales: new Float32Array(rows).fill(1) };
}

/** Logits of all tokens, run in pieces. */
function runPlan(interpreter: Interpreter, program: 'npu' | 'cpu', pieces: readonly number[]): Float64Array[] {
  let at = 0;
  return pieces.flatMap((n) => {
    at += n;
    return interpreter.run(program, TOKENS.slice(at - n, at));
  });
}

describe('goldens', () => {
  for (const [name, { model, options }] of Object.entries(GOLDENS)) {
    it(name, () => {
      const graph = goldenPlan(model, options);
      validateGraph(graph);
      const text = printPlan(graph);
      const bytes = encodePlan(graph);
      expect(encodePlan(goldenPlan(model, options))).toEqual(bytes);
      expect(printPlan(decodePlan(bytes))).toBe(text);
      expect(encodePlan(decodePlan(bytes))).toEqual(bytes);
      const file = new URL(`../../golden/${name}.txt`, import.meta.url);
      // Set this after looking at the change: the golden is the reviewed form of a plan.
      if (process.env.LUTRA_UPDATE_GOLDENS === '1') writeFileSync(file, text);
      expect(text).toBe(readFileSync(file, 'utf8'));
    });
  }
});

describe('cpu program', () => {
  const variants: Record<string, TinyOptions> = {
    plain: {},
    untied: { arch: { tied: false } },
    'interleaved rotation with factors': { arch: { ropeInterleaved: true, ropeFactors: true } },
    biased: { arch: { qkvBias: true } },
    'one KV head': { arch: { kvHeads: 1 } },
    'as many KV heads as heads': { arch: { kvHeads: 4, layers: 3 } },
    'head dimension apart from hidden': { arch: { headDim: 32 } },
    'gate of ReLU': { arch: { activation: 'relu' } },
    ...Object.fromEntries(MODEL_FAMILIES.map(({ name }) => [`family ${name}`, { arch: { family: name } }])),
  };
  for (const [name, model] of Object.entries(variants)) {
    for (const mode of ['cpu', 'reference'] as const) {
      it(`${name} (${mode}) computes what the reference computes, in pieces and whole`, () => {
        const { spec, weights } = tinyModel(model);
        const want = referenceDecoder(spec.arch, weights, TOKENS);
        for (const pieces of [
          [8, 3],
          [1, 1, 1, 8],
          [5, 6],
        ]) {
          const got = runPlan(new Interpreter(goldenPlan(model, { mode }), weights), 'cpu', pieces);
          expect(nmse(got, want.logits)).toBeLessThan(1e-24);
        }
      });
    }
  }

  it('reads the input in the order of the columns that are stored', () => {
    const model: TinyOptions = { type: 'w4g32z', orders: true, arch: { tied: false } };
    const tiny = tinyModel(model);
    const want = referenceDecoder(tiny.spec.arch, tiny.weights, TOKENS);
    for (const pieces of [
      [8, 3],
      [1, 1, 1, 8],
    ]) {
      const got = runPlan(new Interpreter(goldenPlan(model, { mode: 'cpu' }), storedWeights(tiny)), 'cpu', pieces);
      expect(nmse(got, want.logits)).toBeLessThan(1e-24);
    }
    const wrong = runPlan(new Interpreter(goldenPlan(model, { mode: 'cpu' }), tiny.weights), 'cpu', [8, 3]);
    expect(nmse(wrong, want.logits)).toBeGreaterThan(1e-3);
  });

  it('names tensors as the reference does', () => {
    const { spec, weights } = tinyModel();
    const interpreter = new Interpreter(goldenPlan({}, { mode: 'reference', chunk: 16 }), weights);
    interpreter.run('cpu', TOKENS);
    const { tensors } = referenceDecoder(spec.arch, weights, TOKENS);
    expect(tensors.size).toBeGreaterThan(20);
    for (const [name, rows] of tensors) expect(nmse(interpreter.peek(name), rows), name).toBeLessThan(1e-24);
  });

  it('splits linears of one input when packed and plain weights mix', () => {
    const { spec } = tinyModel({ type: 'q4_0' });
    spec.tensors['layers.0.k'] = { type: 'f32', shape: [32, 64] };
    const graph = buildPlan(spec, { mode: 'cpu', contextSize: 16 });
    const [first, second] = graph.programs[0]?.steps.filter((s) => s.op === 'linear') ?? [];
    expect(first?.outputs.map((id) => graph.tensors[id]?.name)).toEqual(['l0.q', 'l0.v']);
    expect(second?.outputs.map((id) => graph.tensors[id]?.name)).toEqual(['l0.k']);
  });

  it('uses the right arithmetic, cache type and context', () => {
    for (const [mode, exact, kvType] of [
      ['npu', false, 'f16'],
      ['cpu', false, 'f16'],
      ['reference', true, 'f32'],
    ] as const) {
      const graph = goldenPlan({ precision: DEFAULT }, { mode, chunk: 5 });
      expect(graph.config).toMatchObject({ kvType, maxContext: 64, chunk: 5 });
      const linears = graph.programs.flatMap((p) => p.steps.filter((s) => s.op === 'linear'));
      expect(linears.length).toBe(mode === 'npu' ? 10 : 9);
      expect(new Set(linears.map((s) => s.attrs.exact))).toEqual(new Set([exact]));
    }
  });
});

describe('npu program', () => {
  const model = (precision: TinyPrecision, more: TinyOptions = {}) => ({ precision, ...more });

  /** Logits error of the NPU program against the float model with the same (snapped) weights, and the interpreter for its counts. */
  function run(
    options: TinyOptions,
    pieces = [8, 3],
    change: (spec: ReturnType<typeof tinyModel>['spec']) => void = () => {},
  ): { error: number; interpreter: Interpreter } {
    const { spec, weights } = tinyModel(options);
    change(spec);
    const exact = snapped(weights);
    const interpreter = new Interpreter(buildPlan(spec, { mode: 'npu', contextSize: 64 }), exact);
    const got = runPlan(interpreter, 'npu', pieces);
    return { error: nmse(got, referenceDecoder(spec.arch, exact, TOKENS).logits), interpreter };
  }

  it('w8f16 is the float model', () => {
    for (const pieces of [
      [8, 3],
      [3, 8],
    ])
      expect(run(model(all('w8f16')), pieces).error).toBeLessThan(F32);
    for (const { name } of MODEL_FAMILIES) expect(run(model(all('w8f16'), { arch: { family: name } })).error).toBeLessThan(F32);
    expect(run(model(all('w8f16'), { arch: { activation: 'relu' } })).error).toBeLessThan(F32);
    expect(run(model(all('w8f16'), { arch: { qkvBias: true, tied: false, ropeInterleaved: true } })).error).toBeLessThan(F32);
  });

  it.each([64, 96, 160])('rotated, w8f16 with weights that are not quantised is the float model (hidden size %i)', (hidden) => {
    const model: TinyOptions = { precision: all('w8f16'), transform: 'rotate', arch: { hidden, tied: false, qkvBias: true } };
    const { spec, weights } = tinyModel(model);
    const want = referenceDecoder(spec.arch, weights, TOKENS);
    const graph = buildPlan(spec, { mode: 'npu', contextSize: 64 });
    const folded = foldedWeights(spec, weights);
    const interpreter = new Interpreter(graph, withRotation(spec, weights), folded);
    interpreter.quantize = asTheyAre;
    // Prefill in the rotated basis, decode in the model's own: one cache.
    const got = [...runPlan(interpreter, 'npu', [8]), ...TOKENS.slice(8).flatMap((t) => interpreter.run('cpu', [t]))];
    expect(nmse(got, want.logits)).toBeLessThan(F32);
    const unfolded = new Interpreter(graph, withRotation(spec, weights), weights);
    expect(nmse(runPlan(unfolded, 'npu', [8]), want.logits.slice(0, 8))).toBeGreaterThan(0.1);
  });

  it('w8a16 is close when its ranges hold the values', () => {
    const { error } = run(model(all('w8a16')), [8, 3], (spec) => widen(spec, 8));
    expect(error).toBeGreaterThan(1e-12);
    expect(error).toBeLessThan(1e-5);
  });

  it('w8a8s repairs what w8a8 loses to clipping', () => {
    // Input ranges of ±1 clip a third of all normed values.
    const narrow = (spec: Parameters<typeof widen>[0]): void => {
      widen(spec, 1);
      for (const linear of Object.values(spec.linears)) {
        if (linear.input !== null && linear.precision !== 'w8a16') linear.input.scale /= 8;
      }
    };
    const precision = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a8s' } as const;
    const clipped = run(model({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a16', down: 'w8a8' }), [8, 3], (spec) => widenGateUp(spec, narrow));
    for (const outputRepair of [true, false]) {
      const repaired = run(model(precision, { outputRepair }), [8, 3], (spec) => widenGateUp(spec, narrow));
      expect(repaired.interpreter.repairedInputs).toBeGreaterThan(100);
      expect(repaired.error).toBeLessThan(clipped.error / 4);
    }
  });

  it('output repair makes a narrow output range harmless', () => {
    const narrowOutputs = (spec: Parameters<typeof widen>[0]): void => {
      widen(spec, 8);
      for (const [key, linear] of Object.entries(spec.linears))
        if (linear.output !== null && /\.(q|k|v|down)$/.test(key)) linear.output.scale /= 40;
    };
    const precision = { qkv: 'w8a8s', o: 'w8a16', gateup: 'w8a16', down: 'w8a8s' } as const;
    const repaired = run(model(precision, { outputRepair: true }), [8, 3], narrowOutputs);
    const saturated = run(model(precision, { outputRepair: false }), [8, 3], narrowOutputs);
    expect(repaired.interpreter.repairedOutputs).toBeGreaterThan(100);
    expect(repaired.error).toBeLessThan(0.02);
    expect(saturated.error).toBeGreaterThan(5 * repaired.error);
  });

  it('factors give each output a range of its own', () => {
    // One output of gate and up is 100 times as large as the others.
    const { spec, weights } = tinyModel(model({ qkv: 'w8f16', o: 'w8f16', gateup: 'w8a8', down: 'w8f16' }));
    const large = new Map(weights);
    for (const [name, { shape, data }] of weights)
      if (/gate|up/.test(name)) large.set(name, { shape, data: data.map((w, at) => (at < (shape[1] ?? 0) ? 100 * w : w)) });
    const want = referenceDecoder(spec.arch, large, TOKENS).logits;
    const error = (factors: boolean): number => {
      const all = new Map(large);
      for (const [key, linear] of Object.entries(spec.linears)) {
        if (linear.input === null || linear.output === null) continue;
        linear.input.scale = 6 / 127;
        linear.output.scale = factors ? 1 / 127 : 600 / 127;
        const rows = large.get(key)?.shape[0] ?? 0;
        if (factors) linear.factors = true;
        all.set(`${key}.factors`, { shape: [1, rows], data: new Float32Array(rows).fill(6).fill(600, 0, 1) });
      }
      return nmse(runPlan(new Interpreter(buildPlan(spec, { mode: 'npu', contextSize: 64 }), all), 'npu', [8, 3]), want);
    };
    const [one, each] = [error(false), error(true)];
    expect(each).toBeLessThan(one / 20);
  });

  it('signed input ranges mean what unsigned ones mean', () => {
    const unsigned = run(model(SHADOWED), [8, 3]);
    const signed = run(model(SHADOWED, { signedInputs: true }), [8, 3]);
    expect(signed.error).toBe(unsigned.error);
    expect(signed.interpreter.repairedInputs).toBe(unsigned.interpreter.repairedInputs);
  });

  it('prefill and decode share the cache', () => {
    const { spec, weights } = tinyModel(model(all('w8f16')));
    const exact = snapped(weights);
    const interpreter = new Interpreter(buildPlan(spec, { mode: 'npu', contextSize: 64 }), exact);
    const got = [...runPlan(interpreter, 'npu', [8]), ...TOKENS.slice(8).flatMap((t) => interpreter.run('cpu', [t]))];
    expect(nmse(got, referenceDecoder(spec.arch, exact, TOKENS).logits)).toBeLessThan(F32);
  });

  it('has L + 1 segments, and up to 2 L when down is repaired on the CPU', () => {
    const segments = (precision: TinyPrecision, layers: number): number =>
      goldenPlan({ precision, arch: { layers } }, { mode: 'npu' }).segments.length;
    for (const layers of [1, 2, 5]) {
      expect(segments(DEFAULT, layers)).toBe(layers + 1);
      expect(segments(all('w8a8'), layers)).toBe(layers + 1);
      expect(segments(SHADOWED, layers)).toBe(2 * layers);
    }
  });

  it('breaks only where down of that layer is repaired', () => {
    const { spec } = tinyModel({ precision: SHADOWED, arch: { layers: 3 } });
    const other = tinyModel({ precision: DEFAULT, arch: { layers: 3 } }).spec;
    const down = other.linears['layers.1.down'];
    if (down === undefined) throw new Error('no linear');
    spec.linears['layers.1.down'] = down;
    const graph = buildPlan(spec, { mode: 'npu', contextSize: 16 });
    expect(graph.segments.map((s) => s.name)).toEqual(['seg0', 'seg1', 'seg2', 'seg3', 'seg4']);
    const names = graph.segments.map((s) => s.nodes.filter((n) => n.op === 'RmsNorm').map((n) => n.name));
    expect(names).toEqual([['l0.n'], ['l0.fn'], ['l1.n'], ['l1.fn', 'l2.n'], ['l2.fn']]);
  });

  it('hands out F16, or the 8-bit output where it is repaired', () => {
    const graph = goldenPlan({ precision: SHADOWED }, { mode: 'npu' });
    const describe = (ids: readonly number[]): string[] => ids.map((id) => `${graph.tensors[id]?.name} ${graph.tensors[id]?.dtype}`);
    expect(describe(graph.segments[0]?.inputs ?? [])).toEqual(['x f16']);
    expect(describe(graph.segments[0]?.outputs ?? [])).toEqual(['l0.n f16', 'l0.q.u8 u8', 'l0.k.u8 u8', 'l0.v.u8 u8']);
    expect(describe(graph.segments[1]?.inputs ?? [])).toEqual(['l0.a.f16 f16', 'l0.r f16']);
    expect(describe(graph.segments[1]?.outputs ?? [])).toEqual(['l0.h f16', 'l0.m f16', 'l0.down.u8 u8']);
  });
});

describe('calibration plans', () => {
  it.each(MODEL_FAMILIES)(
    'observe the inputs and outputs of every linear, before biases and norms of heads ($name)',
    ({ name: family }) => {
      const { spec, weights } = tinyModel({ arch: { family, qkvBias: true } });
      const { graph, sites } = buildCalibrationPlan(spec, { contextSize: 64, chunk: 16, calibrate: 'inputs' });
      expect(sites.map((s) => s.site)).toEqual(sites.map((_, i) => i));
      expect(sites.filter((s) => s.layer === 1).map((s) => `${s.what} ${s.linears.join()} ${s.tensor}`)).toEqual([
        'input q,k,v l1.n',
        'output q l1.q',
        'output k l1.k',
        'output v l1.v',
        'input o l1.a',
        'output o l1.o',
        'input gate,up l1.fn',
        'output gate l1.gate',
        'output up l1.up',
        'input down l1.m',
        'output down l1.down',
      ]);
      const interpreter = new Interpreter(graph, weights);
      interpreter.run('cpu', TOKENS);
      const { tensors } = referenceDecoder(spec.arch, weights, TOKENS);
      expect(sites.filter((s) => s.what === 'head').map((s) => s.tensor)).toEqual(['n']);
      const last = tensors.get('l1.x') ?? [];
      const normed = last.map((row) => rmsNorm(row, weights.get('norm') ?? { shape: [], data: new Float32Array() }, spec.arch.rmsEps));
      tensors.set('n', normed);
      for (const site of sites)
        expect(nmse(interpreter.observed.get(site.site) ?? [], tensors.get(site.tensor) ?? []), site.tensor).toBeLessThan(1e-24);
    },
  );

  it('observe in the basis of the NPU what a rotated model reads and writes', () => {
    const { spec, weights } = tinyModel({ transform: 'rotate', precision: all('w8a8'), arch: { hidden: 96 } });
    for (const linear of Object.values(spec.linears)) linear.output = null;
    const { graph, sites } = buildCalibrationPlan(spec, { contextSize: 64, chunk: 16, calibrate: 'outputs' });
    const all96 = withRotation(spec, weights);
    for (let layer = 0; layer < spec.arch.layers; layer++) {
      for (const norm of ['attn_norm', 'ffn_norm'] as const) {
        const gains = weights.get(`layers.${layer}.${norm}`)?.data;
        const data = all96.get(ROTATION.signs)?.data.map((sign, i) => sign * (gains?.[i] ?? Number.NaN)) ?? new Float32Array();
        all96.set(gainedSigns(layer, norm), { shape: [data.length], data });
      }
    }
    const interpreter = new Interpreter(graph, all96);
    interpreter.run('cpu', TOKENS);
    const folded = foldedWeights(spec, weights);
    const seen = (what: string, name: LinearName) => {
      const site = sites.find((s) => s.layer === 1 && s.what === what && s.linears.includes(name));
      return interpreter.observed.get(site?.site ?? -1) ?? [];
    };
    for (const name of LINEAR_NAMES) {
      const input = seen(/[qkv]|gate|up/.test(name) && name !== 'down' ? 'rotatedInput' : 'input', name);
      const w = folded.get(linearKey(1, name)) ?? { shape: [], data: new Float32Array() };
      const output = input.map((row) => matVec(w, row));
      expect(nmse(seen('output', name), output), name).toBeLessThan(1e-12);
      const range = spec.linears[linearKey(1, name)]?.input;
      const clipped = input.map((row) => row.map((v) => clip(v, range ?? null)));
      expect(nmse(clipped, input)).toBeGreaterThan(1e-6);
      // What is rounded is off by half a step at most, what is cut off by more.
      const cut = input.map((row, t) =>
        [...row].map((v, i) => Number(Math.abs(v - (clipped[t]?.[i] ?? 0)) > 0.5001 * (range?.scale ?? 0))),
      );
      expect(
        seen('clips', name).map((row) => [...row]),
        name,
      ).toEqual(cut);
      expect(
        nmse(
          seen('clippedOutput', name),
          clipped.map((row) => matVec(w, row)),
        ),
        name,
      ).toBeLessThan(1e-12);
    }
  });

  it('measure W·c beside a float path that stays as it was', () => {
    const { spec, weights } = tinyModel({ precision: { qkv: 'w8a8', o: 'w8a8', gateup: 'w8f16', down: 'w8a16' } });
    for (const linear of Object.values(spec.linears)) {
      linear.output = null;
      if (linear.input !== null) linear.input.scale /= 4;
    }
    const { graph, sites } = buildCalibrationPlan(spec, { contextSize: 64, chunk: 16, calibrate: 'outputs' });
    const interpreter = new Interpreter(graph, weights);
    const want = referenceDecoder(spec.arch, weights, TOKENS);
    expect(nmse(interpreter.run('cpu', TOKENS), want.logits)).toBeLessThan(1e-24);
    const clipped = sites.filter((s) => s.what === 'clippedOutput');
    expect(clipped.filter((s) => s.layer === 0).map((s) => s.linears.join())).toEqual(['q', 'k', 'v', 'o', 'down']);
    for (const site of clipped) {
      const plain = sites.find((s) => s.what === 'output' && s.layer === site.layer && s.linears[0] === site.linears[0]);
      const error = nmse(interpreter.observed.get(site.site) ?? [], interpreter.observed.get(plain?.site ?? -1) ?? []);
      if (site.linears[0] === 'q') expect(error).toBeGreaterThan(1e-3);
      expect(error).toBeLessThan(1);
    }
  });
});

/** Quantised and back. */
function clip(value: number, range: QuantRange | null): number {
  if (range === null) return value;
  const { lo, hi } = quantLimits(range.dtype);
  return (Math.min(hi, Math.max(lo, roundEven(value / range.scale) - range.offset)) + range.offset) * range.scale;
}

type Spec = ReturnType<typeof tinyModel>['spec'];

/** Multiplies all ranges. */
function widen(spec: Spec, factor: number): void {
  for (const linear of Object.values(spec.linears))
    for (const range of [linear.input, linear.output]) if (range !== null) range.scale *= factor;
}

/** Applies `change`, keeping 16-bit gate and up wide enough never to clip. */
function widenGateUp(spec: Spec, change: (spec: Spec) => void): void {
  change(spec);
  for (const linear of Object.values(spec.linears)) {
    if (linear.precision === 'w8a16') for (const range of [linear.input, linear.output]) if (range !== null) range.scale *= 8;
    if (linear.output !== null && linear.precision !== 'w8a16') linear.output.scale *= 4;
  }
}
