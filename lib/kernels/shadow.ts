/** One 8-bit linear of the NPU with the CPU's repair of what its static ranges cut off. */
import { LutraError } from '../graph/errors.js';
import type { NativeRange } from '../native/kernels-addon.js';
import { loadAddon } from '../native/loader.js';
import { boolean, type Check, checkOptions, integer, show } from '../runtime/options.js';

/** How 8 bits hold a value: code = rint(value / scale) + zeroPoint, ties to even, cut off at the ends of the codes. */
export interface ShadowRange {
  /** Of one step. */
  readonly scale: number;
  /** The code of 0. Default 0. */
  readonly zeroPoint?: number;
  /** Codes −128 … 127 (the default), or 0 … 255. */
  readonly signed?: boolean;
}

/** A linear as the NPU has it: weights, and the ranges that a calibration chose. */
export interface ShadowLinear {
  readonly inputs: number;
  readonly outputs: number;
  /** [inputs × outputs]: a row holds what one input gives to every output. */
  readonly codes: Int8Array;
  /** Value = code · scale of its output. */
  readonly scales: Float32Array;
  readonly input: ShadowRange;
  readonly output: ShadowRange;
}

export interface ShadowOptions {
  /** Added to the outputs, [rows × outputs]; F16 as a Uint16Array of its bits. */
  readonly base?: Float32Array | Uint16Array;
  /** What the NPU gave for x, [rows × outputs] codes: Int8Array when the output's range is signed, else Uint8Array. Absent: computed here. */
  readonly quantized?: Int8Array | Uint8Array;
  /** Default true. False: the NPU's outputs as they are, what lies outside of the ranges lost. */
  readonly repair?: boolean;
  /** Where the result is written, which may be base; absent: a new array. */
  readonly y?: Float32Array;
  /** Default 1: the calling thread. */
  readonly threads?: number;
}

export interface ShadowResult {
  /** [rows × outputs] */
  readonly y: Float32Array;
  /** Elements of x that the input's range cut off, and whose rest was added. */
  readonly repairedInputs: number;
  /** Outputs at an end of their codes, which were computed anew. */
  readonly repairedOutputs: number;
}

const anything: Check = () => undefined;

const LINEAR: Record<keyof ShadowLinear, Check> = {
  inputs: integer(1, 65_536),
  outputs: integer(1, 2 ** 32 - 1),
  codes: anything, // arrays are checked by the addon
  scales: anything,
  input: anything,
  output: anything,
};

const RANGE: Record<keyof ShadowRange, Check> = {
  scale: (value) => (typeof value === 'number' && value > 0 && Number.isFinite(value) ? undefined : 'a positive number'),
  zeroPoint: integer(-128, 255),
  signed: boolean,
};

const OPTIONS: Record<keyof ShadowOptions, Check> = {
  base: anything,
  quantized: anything,
  repair: boolean,
  y: anything,
  threads: integer(1, 256),
};

function rangeOf(side: 'input' | 'output', range: ShadowRange): NativeRange {
  if (range === undefined) {
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `The linear has no range of its ${side}s.`, `Give ${side}: { scale }.`);
  }
  checkOptions(`the range of the ${side}s`, range, RANGE);
  const { scale, zeroPoint = 0, signed = true } = range;
  if (scale === undefined)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `The range of the ${side}s has no scale.`, 'Give the step of a code.');
  return { scale, zeroPoint, signed };
}

/**
 * y = base + x · W as the NPU computes it in 8 bits under static ranges, with the CPU's repair: what the input's range cut off an element is multiplied with its row of W and added, and outputs that came to
 * an end of their codes are computed anew from x. x holds rows of `inputs` values, F32 or F16 (a Uint16Array of its bits). Throws LUTRA_INVALID_ARGUMENT, before anything is computed.
 */
export function shadowLinear(linear: ShadowLinear, x: Float32Array | Uint16Array, options: ShadowOptions = {}): ShadowResult {
  checkOptions('the linear of shadowLinear', linear, LINEAR);
  checkOptions('shadowLinear', options, OPTIONS);
  const { inputs, outputs, codes, scales } = linear;
  if (inputs === undefined || outputs === undefined) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `A linear of ${show(inputs)} inputs and ${show(outputs)} outputs.`,
      'Give both numbers.',
    );
  }
  const ranges = { input: rangeOf('input', linear.input), output: rangeOf('output', linear.output) };
  const { base = null, quantized = null, repair = true, y = null, threads = 1 } = options;
  return loadAddon().kernels.shadowLinear(codes, scales, inputs, outputs, x, ranges, base, quantized, y, repair, threads);
}
