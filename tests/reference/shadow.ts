/**
 * The shadow linear step by step in float64: an 8-bit product under static ranges, and the repair of what they cut off. Each step can be replaced, which is how tests make the mistakes
 * that a right one must be told from.
 */
import { fromHalf } from '../../lib/graph/half.js';
import type { kernels } from '../../lib/index.js';

export interface ShadowProblem extends kernels.ShadowLinear {
  readonly rows: number;
  readonly x: Float32Array | Uint16Array;
  readonly base?: Float32Array;
}

/** Half to even, as the NPU and the kernels do it. */
export function toEven(v: number): number {
  const floor = Math.floor(v);
  const rest = v - floor;
  return rest === 0.5 ? floor + (floor % 2 === 0 ? 0 : 1) : Math.round(v);
}

export interface Steps {
  /** x in steps of its range. */
  round(steps: number): number;
  /** The range's scale as it is used. */
  scale(scale: number): number;
  /** Whether an input is repaired. */
  repairs(steps: number, low: number, high: number): boolean;
  /** What the repair adds for it, in units of x. `steps`: x rounded, `end`: the end that it was cut off at. */
  residual(x: number, steps: number, end: number, scale: number): number;
  /** What a saturated output is computed from. */
  effective(x: number, steps: number, clipped: boolean, scale: number, index: number): number;
  /** What a saturated output keeps of the row's repair: 0 or 1. */
  keeps: number;
  /** The step that outputs are read back with. */
  outputScale(scale: number): number;
  /** Whether an output at an end of its codes is computed anew. */
  recomputes: boolean;
}

export const RIGHT: Steps = {
  round: toEven,
  scale: (scale) => scale,
  repairs: (steps, low, high) => steps < low || steps > high,
  residual: (x, _steps, end, scale) => x - end * scale,
  effective: (x, steps, clipped, scale) => (clipped ? x : steps * scale),
  keeps: 0,
  outputScale: (scale) => scale,
  recomputes: true,
};

interface Levels {
  scale: number;
  low: number;
  high: number;
}

/** The ends of a range in steps from zero. */
export function levels({ scale, zeroPoint = 0, signed = true }: kernels.ShadowRange): Levels {
  const low = signed ? -128 : 0;
  return { scale: Math.fround(scale), low: low - zeroPoint, high: low + 255 - zeroPoint };
}

export const xOf = ({ x }: ShadowProblem): Float64Array => Float64Array.from(x, (v) => (x instanceof Uint16Array ? fromHalf(v) : v));

const clamp = (v: number, low: number, high: number) => Math.min(Math.max(v, low), high);

export interface Outputs {
  y: Float64Array;
  /** What y is before any rounding of outputs: all of them computed anew. */
  unrounded: Float64Array;
  /** The product of the inputs as they were cut off. */
  held: Float64Array;
  /** Of the NPU's outputs, in steps from zero. */
  codes: Float64Array;
  /** Σ |x · w| of each output: what rounding errors of sums are measured by. */
  magnitude: Float64Array;
  repairedInputs: number;
  repairedOutputs: number;
}

export function shadow(p: ShadowProblem, change: Partial<Steps> = {}): Outputs {
  const steps = { ...RIGHT, ...change };
  const { inputs, outputs, rows, codes, scales } = p;
  const [input, output] = [levels(p.input), levels(p.output)];
  const [s, so] = [steps.scale(input.scale), steps.scale(output.scale)];
  const x = xOf(p);
  const result: Outputs = {
    y: new Float64Array(rows * outputs),
    unrounded: new Float64Array(rows * outputs),
    held: new Float64Array(rows * outputs),
    codes: new Float64Array(rows * outputs),
    magnitude: new Float64Array(rows * outputs),
    repairedInputs: 0,
    repairedOutputs: 0,
  };
  for (let r = 0; r < rows; r++) {
    const held = result.held.subarray(r * outputs, (r + 1) * outputs);
    const [add, whole] = [new Float64Array(outputs), new Float64Array(outputs)];
    for (let k = 0; k < inputs; k++) {
      const value = x[r * inputs + k]!;
      const npu = clamp(toEven(Math.fround(value / s)), input.low, input.high) * s;
      const own = steps.round(Math.fround(value / s));
      const clipped = steps.repairs(own, input.low, input.high);
      const residual = clipped ? steps.residual(value, own, clamp(own, input.low, input.high), s) : 0;
      const effective = steps.effective(value, own, clipped, s, k);
      result.repairedInputs += clipped ? 1 : 0;
      for (let o = 0; o < outputs; o++) {
        const w = codes[k * outputs + o]! * scales[o]!;
        held[o]! += npu * w;
        add[o]! += residual * w;
        whole[o]! += effective * w;
        result.magnitude[r * outputs + o]! += Math.abs(value * w);
      }
    }
    for (let o = 0; o < outputs; o++) {
      const at = r * outputs + o;
      const code = clamp(toEven(held[o]! / so), output.low, output.high);
      const anew = steps.recomputes && (code === output.low || code === output.high);
      result.codes[at] = code;
      result.repairedOutputs += anew ? 1 : 0;
      const base = p.base?.[at] ?? 0;
      result.unrounded[at] = base + whole[o]!;
      result.y[at] = base + (anew ? whole[o]! + steps.keeps * add[o]! : code * steps.outputScale(so) + add[o]!);
    }
  }
  return result;
}

/** base + Σ x · w of unrounded, uncut inputs. */
export function exact(p: ShadowProblem): Float64Array {
  const x = xOf(p);
  return Float64Array.from({ length: p.rows * p.outputs }, (_, at) => {
    const [r, o] = [Math.floor(at / p.outputs), at % p.outputs];
    let sum = 0;
    for (let k = 0; k < p.inputs; k++) sum += x[r * p.inputs + k]! * p.codes[k * p.outputs + o]!;
    return (p.base?.[at] ?? 0) + sum * p.scales[o]!;
  });
}
