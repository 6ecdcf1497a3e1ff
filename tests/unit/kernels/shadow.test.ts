/**
 * kernels.shadowLinear against its definition in float64, within bounds that hold for every problem. The same bounds must refuse each way in which such an operator was wrong elsewhere, so that they
 * are known to notice it.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { fromHalf, toHalf } from '../../../lib/graph/half.js';
import { kernels } from '../../../lib/index.js';
import { Random } from '../../reference/random.js';
import { exact, levels, type ShadowProblem, type Steps, shadow } from '../../reference/shadow.js';

/** What a problem is made of. */
interface Kind {
  inputs: number;
  outputs: number;
  rows: number;
  input: kernels.ShadowRange;
  /** Unsigned outputs with a zero point. */
  unsignedOutput?: boolean;
  half?: boolean;
  base?: boolean;
  /** Of the inputs: the part outside of the range, and how far, in steps. */
  outliers: { part: number; steps: number; sign: -1 | 0 | 1 };
  /** Inputs lie on halves of steps. */
  ties?: boolean;
  /** The output's range, in parts of what the NPU's sums reach: below 1 some saturate. */
  range: number;
}

function problem(kind: Kind, random: Random): ShadowProblem {
  const { inputs, outputs, rows, input, outliers } = kind;
  const { scale, low, high } = levels(input);
  const value = () => {
    let steps = low + 0.5 + (high - low - 1) * random.uniform();
    if (random.uniform() < 0.9) steps = clampTo(12 * random.normal(), low, high);
    if (kind.ties) steps = Math.floor(clampTo(20 * random.normal(), low + 1, high - 1)) + 0.5;
    if (random.uniform() < outliers.part) {
      const up = outliers.sign === 0 ? random.below(2) === 1 : outliers.sign === 1;
      const beyond = kind.ties ? 0.5 + random.below(3) : 0.7 + outliers.steps * random.uniform() ** 2;
      steps = up ? high + beyond : low - beyond;
    }
    return steps * scale;
  };
  const values = Float32Array.from({ length: rows * inputs }, value);
  const common = {
    inputs,
    outputs,
    rows,
    input,
    codes: Int8Array.from({ length: inputs * outputs }, () => random.below(256) - 128),
    scales: Float32Array.from({ length: outputs }, () => 0.001 * (0.5 + random.uniform())),
    x: kind.half ? Uint16Array.from(values, toHalf) : values,
    ...(kind.base ? { base: random.normals(rows * outputs, scale) } : {}),
  };
  const most = shadow({ ...common, output: input }).held.reduce((max, sum) => Math.max(max, Math.abs(sum)), 0);
  const step = Math.fround((kind.range * most) / 120);
  return { ...common, output: kind.unsignedOutput ? { scale: step, zeroPoint: 131, signed: false } : { scale: step } };
}

const clampTo = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);

const OUTLIERS = { part: 0.02, steps: 6000, sign: 0 } as const;
const PLAIN: Kind = { inputs: 512, outputs: 40, rows: 3, input: { scale: 0.031 }, outliers: OUTLIERS, range: 0.8 };
const KINDS: Record<string, Kind> = {
  plain: PLAIN,
  'a base': { ...PLAIN, base: true },
  'halves of precision': { ...PLAIN, half: true },
  'halves of precision and a base': { ...PLAIN, half: true, base: true, outputs: 33 },
  'nothing clipped': { ...PLAIN, outliers: { ...OUTLIERS, part: 0 }, range: 1.1 },
  'all outputs saturated': { ...PLAIN, range: 0.001 },
  'outliers just outside': { ...PLAIN, outliers: { part: 0.05, steps: 800, sign: 0 }, range: 1.1 },
  'negative outliers': { ...PLAIN, outliers: { part: 0.02, steps: 400, sign: -1 }, range: 1.1 },
  'outliers beyond F16': { ...PLAIN, input: { scale: 40 }, range: 1.1 },
  ties: { ...PLAIN, input: { scale: 0.25 }, ties: true, outliers: { part: 0.3, steps: 0, sign: 0 }, range: 0.3 },
  'a range far below one': { ...PLAIN, input: { scale: 3.4e-6 } },
  'unsigned inputs': { ...PLAIN, input: { scale: 0.02, zeroPoint: 117, signed: false } },
  'unsigned outputs': { ...PLAIN, unsignedOutput: true, base: true },
  'a zero point at the end': { ...PLAIN, input: { scale: 0.02, zeroPoint: -128 }, unsignedOutput: true },
  'one element': { ...PLAIN, inputs: 1, outputs: 1, rows: 1 },
  'odd sizes': { ...PLAIN, inputs: 77, outputs: 19, rows: 5 },
};

/** Problems of all kinds, the same ones for everything that is tried on them. */
const PROBLEMS = Object.entries(KINDS).flatMap(([name, kind], i) =>
  [0, 1].map((turn) => ({ name: `${name} ${turn}`, p: problem(kind, new Random(100 * i + turn + 1)) })),
);

/**
 * The bounds, of U = Σ s·rint(x/s)·w (x itself where it was cut off):
 *   |y − U| ≤ step/2 of an output that was not saturated, what float sums round of one that was.
 * Hence |y − step·rint(U/step)| ≤ step, and step/2 of saturated ones.
 */
function violations(p: ShadowProblem, y: ArrayLike<number>): number {
  const right = shadow(p);
  const { scale, low, high } = levels(p.output);
  let count = 0;
  for (const [at, u] of right.unrounded.entries()) {
    const saturated = right.codes[at] === low || right.codes[at] === high;
    const float = 3e-6 * (right.magnitude[at]! + Math.abs(u));
    if (!(Math.abs(y[at]! - u) <= (saturated ? 0 : 0.5005 * scale) + float)) count++;
  }
  return count;
}

const run = (p: ShadowProblem, options: kernels.ShadowOptions = {}) => {
  const { rows: _, x, base, ...linear } = p;
  return kernels.shadowLinear(linear, x, { ...(base ? { base } : {}), ...options });
};

const tiers = [...new Set(kernels.list().flatMap(({ available, isa }) => (available ? [isa] : [])))];

describe.each(tiers)('shadowLinear on %s', (isa) => {
  const before = process.env.LUTRA_FORCE_KERNEL;
  afterEach(() => {
    if (before === undefined) delete process.env.LUTRA_FORCE_KERNEL;
    else process.env.LUTRA_FORCE_KERNEL = before;
  });

  it.each(PROBLEMS)('keeps the bounds: $name', ({ p }) => {
    process.env.LUTRA_FORCE_KERNEL = isa;
    const right = shadow(p);
    for (const threads of [1, 2]) {
      const { y, repairedInputs, repairedOutputs } = run(p, { threads });
      expect(violations(p, y)).toBe(0);
      expect([repairedInputs, repairedOutputs]).toEqual([right.repairedInputs, right.repairedOutputs]);
    }
  });

  it.each(PROBLEMS)('repairs what an NPU gave: $name', ({ p }) => {
    process.env.LUTRA_FORCE_KERNEL = isa;
    const { zeroPoint = 0, signed = true } = p.output;
    const quantized = (signed ? Int8Array : Uint8Array).from([...shadow(p).codes].map((code) => code + zeroPoint));
    expect(run(p, { quantized }).y).toEqual(run(p).y);
    expect(violations(p, run(p, { quantized }).y)).toBe(0);
  });
});

/** What such operators did wrong, each as the one step that differs. */
const MISTAKES: Record<string, Partial<Steps>> = {
  'repairs only beyond 8 times the range': { repairs: (steps, low, high) => steps < 8 * low || steps > 8 * high },
  'repairs only positive outliers': { repairs: (steps, _low, high) => steps > high },
  'repairs no inputs': { repairs: () => false },
  'keeps outliers in F16': {
    residual: (x, _steps, end, scale) => fromHalf(toHalf(x)) - end * scale,
    effective: (x, steps, clipped, scale) => (clipped ? fromHalf(toHalf(x)) : steps * scale),
  },
  'takes what was cut off in multiples of 128': { residual: (_x, steps, _end, scale) => Math.floor(steps / 128) * 128 * scale },
  'forgets the step of what was cut off': { residual: (_x, steps, end) => steps - end },
  'adds outliers whole to what the NPU has of them': { residual: (x) => x },
  'rounds halves away from zero': { round: (steps) => Math.sign(steps) * Math.floor(Math.abs(steps) + 0.5) },
  'rounds halves up': { round: (steps) => Math.floor(steps + 0.5) },
  'rounds steps to five decimals': { scale: (scale) => Math.round(scale * 1e5) / 1e5 },
  'reads outputs back with a step that was never set': { outputScale: () => 0 },
  'reads outputs back with NaN for a step': { outputScale: () => Number.NaN },
  'rounds only the element at the block size': { effective: (_x, steps, _clipped, scale, index) => (index === 32 ? steps * scale : 0) },
  'computes saturated outputs from inputs that were not rounded': { effective: (x) => x },
  'computes saturated outputs from inputs that were cut off': {
    effective: (_x, steps, _clipped, scale) => clampTo(steps, -128, 127) * scale,
  },
  'adds the repair of inputs to outputs that were computed anew': { keeps: 1 },
  'leaves saturated outputs as they are': { recomputes: false },
};

describe('the bounds', () => {
  it('accept the definition itself', () => {
    for (const { p, name } of PROBLEMS) expect(violations(p, shadow(p).y), name).toBe(0);
  });

  it.each(Object.entries(MISTAKES))('refuse an operator that %s', (_, change) => {
    expect(PROBLEMS.filter(({ p }) => violations(p, shadow(p, change).y) > 0).length).toBeGreaterThan(0);
  });

  it('refuse steps of zero, which five decimals make of a small range', () => {
    const p = problem(KINDS['a range far below one']!, new Random(5));
    expect(violations(p, shadow(p, MISTAKES['rounds steps to five decimals']).y)).toBe(p.rows * p.outputs);
  });
});

describe('outliers of activations', () => {
  /** 6 channels of outliers, as in a model; the ranges of a percentile, or of what a statistic says. */
  const [inputs, outputs, rows] = [1024, 64, 16];
  const random = new Random(77);
  const hot = [3, 150, 388, 512, 771, 1020];
  const x = random.normals(rows * inputs);
  for (const [i, channel] of hot.entries())
    for (let r = 0; r < rows; r++) x[r * inputs + channel] = -(60 + 56 * i) * (0.5 + random.uniform());
  const codes = Int8Array.from({ length: inputs * outputs }, () => random.below(255) - 127);
  const scales = new Float32Array(outputs).fill(0.0005);
  const error = (scale: number, repair: boolean) => {
    const common = { inputs, outputs, rows, codes, scales, x, input: { scale } };
    const most = shadow({ ...common, output: { scale: 1 } }).held.reduce((max, sum) => Math.max(max, Math.abs(sum)), 0);
    const p = { ...common, output: { scale: most / 127 } };
    const right = exact(p);
    const { y } = run(p, { repair });
    let [off, power] = [0, 0];
    for (const [at, value] of right.entries()) {
      off += (y[at]! - value) ** 2;
      power += value ** 2;
    }
    return Math.sqrt(off / power);
  };
  const largest = (of: (v: number) => number) => x.reduce((max, v) => Math.max(max, of(v)), 0) / 127;

  it('lose the product when they are cut off, which is what a largest value without its sign prevents, and lose nothing when they are repaired', () => {
    const percentile = 3.3 / 127;
    expect(error(percentile, false)).toBeGreaterThan(0.8);
    expect(error(percentile, true)).toBeLessThan(0.02);
    expect(error(largest(Math.abs), false)).toBeLessThan(0.3);
    // The largest of signed values does not see them: said to need no repair, the linear is lost.
    expect(
      error(
        largest((v) => v),
        false,
      ),
    ).toBeGreaterThan(0.8);
    expect(
      error(
        largest((v) => v),
        true,
      ),
    ).toBeLessThan(0.02);
  });
});

describe('shadowLinear', () => {
  const p = problem(KINDS['a base']!, new Random(3));

  it('without repair gives what the NPU gives', () => {
    const right = shadow(p);
    const { y, repairedInputs, repairedOutputs } = run(p, { repair: false });
    for (const [at, code] of right.codes.entries()) expect(y[at]).toBeCloseTo(p.base![at]! + code * p.output.scale, 4);
    expect([repairedInputs, repairedOutputs]).toEqual([0, 0]);
    expect(violations(p, y)).toBeGreaterThan(0);
  });

  it('takes legal codes at the ends for saturated ones, which changes nothing', () => {
    // 127 exactly, −128 exactly and codes in between, nothing clipped.
    const linear = { inputs: 1, outputs: 3, codes: Int8Array.of(127, -128, 5), scales: Float32Array.of(1, 1, 1), input: { scale: 1 } };
    const { y, repairedInputs, repairedOutputs } = kernels.shadowLinear({ ...linear, output: { scale: 1 } }, Float32Array.of(1));
    expect([...y]).toEqual([127, -128, 5]);
    expect([repairedInputs, repairedOutputs]).toEqual([0, 2]);
  });

  it('writes into y and returns it, which may be base, and leaves the rest of its memory alone', () => {
    const memory = new Float32Array(p.base!.length + 20).fill(7);
    const y = memory.subarray(10, 10 + p.base!.length);
    y.set(p.base!);
    expect(run(p, { base: y, y }).y).toBe(y);
    expect(y).toEqual(run(p).y);
    expect([...memory.subarray(0, 10), ...memory.subarray(-10)]).toEqual(new Array(20).fill(7));
  });

  it('takes base in F16, and parts of larger arrays', () => {
    const halves = Uint16Array.from(p.base!, toHalf);
    expect(run(p, { base: halves }).y).toEqual(run({ ...p, base: Float32Array.from(halves, fromHalf) }).y);
    const poisoned = new Int8Array(p.codes.length + 64).fill(-77);
    poisoned.set(p.codes, 31);
    expect(run({ ...p, codes: poisoned.subarray(31, 31 + p.codes.length) }).y).toEqual(run(p).y);
  });

  it('sums as many inputs as there may be without overflow', () => {
    const inputs = 65_536;
    const linear = { inputs, outputs: 2, codes: new Int8Array(2 * inputs).fill(-128), scales: Float32Array.of(1, 1) };
    const x = new Float32Array(inputs).fill(255);
    const range = { scale: 1, zeroPoint: -128 };
    const { y } = kernels.shadowLinear({ ...linear, input: range, output: { scale: 2 ** 25 } }, x);
    expect([...y]).toEqual([-(2 ** 31), -(2 ** 31)]);
  });
});
