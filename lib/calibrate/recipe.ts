/**
 * How ranges are chosen for each kind of linear and precision: data, no code. docs/model-format.md gives the reasons and figures.
 */
import type { CalibrationRecord, LinearKind, LinearName, Precision, Transform } from '../graph/spec.js';
import type { RangeRule } from './ranges.js';

/** Rules of one kind of linear in one precision. */
export interface LinearRecipe {
  input: RangeRule;
  output: RangeRule;
  /** Where one linear of the kind differs. */
  outputs?: Partial<Record<LinearName, RangeRule>>;
  /** What the CPU repairs. With `input`, output ranges are measured on what the clipped input gives. */
  shadow: { input: boolean; output: boolean };
}

/** `null`: the precision has no ranges. */
export type Recipe = Readonly<Record<LinearKind, Readonly<Record<Precision, LinearRecipe | null>>>>;

const NO_SHADOW = { input: false, output: false };
const REPAIR_INPUT = { input: true, output: false };
const REPAIR_BOTH = { input: true, output: true };

/** 16-bit steps are fine enough that a margin costs nothing. */
const U16: RangeRule = { dtype: 'u16', margin: 1.1 };
const U8: RangeRule = { dtype: 'u8' };
const A16: LinearRecipe = { input: U16, output: U16, shadow: NO_SHADOW };
const A8: LinearRecipe = { input: U8, output: U8, shadow: NO_SHADOW };
const GATE_U8: RangeRule = { dtype: 'u8', floor: -8 };

const RECIPE: Recipe = {
  qkv: {
    w8a8: A8,
    w8a8s: { input: { dtype: 's8', share: 0.99 }, output: { dtype: 'u8', share: 0.9999 }, shadow: REPAIR_BOTH },
    w8a16: A16,
    w8f16: null,
  },
  o: {
    w8a8: A8,
    w8a8s: { input: { dtype: 's8', share: 0.995 }, output: U8, shadow: REPAIR_INPUT },
    w8a16: A16,
    w8f16: null,
  },
  gateup: {
    w8a8: { input: U8, output: U8, outputs: { gate: GATE_U8 }, shadow: NO_SHADOW },
    // No repair: it would cost a graph break. The precision parser refuses it.
    w8a8s: null,
    w8a16: A16,
    w8f16: null,
  },
  down: {
    w8a8: A8,
    w8a8s: { input: { dtype: 's8', share: 0.995 }, output: { dtype: 'u8', share: 0.998 }, shadow: REPAIR_BOTH },
    w8a16: A16,
    w8f16: null,
  },
};

/** The residual stream is rotated: what reads a norm has no columns of outliers, so that a range of least error needs no repair. */
const LEAST_ERROR: RangeRule = { dtype: 'u8', leastError: true };
/** A range for each channel; the margin is for what the calibration text does not show, since nothing repairs these outputs. */
const CHANNELS: RangeRule = { dtype: 'u8', channels: { margin: 1.3, least: 0.2, noise: 0 } };
/** The same where one range for all is coarse: in gate or up of six of the 30 layers of SmolLM2. */
const CHANNELS_IF_COARSE: RangeRule = { dtype: 'u8', channels: { margin: 1.3, least: 0.2, noise: 1.5e-3 } };
const ROTATED: Recipe = {
  ...RECIPE,
  qkv: { ...RECIPE.qkv, w8a8: { input: LEAST_ERROR, output: CHANNELS, shadow: NO_SHADOW } },
  gateup: {
    ...RECIPE.gateup,
    w8a8: { input: LEAST_ERROR, output: CHANNELS_IF_COARSE, outputs: { gate: { ...CHANNELS_IF_COARSE, floor: -8 } }, shadow: NO_SHADOW },
  },
};

const STATIC_8: LinearRecipe = { input: U8, output: U8, shadow: NO_SHADOW };
const STATIC_8S: LinearRecipe = { input: U8, output: U8, shadow: REPAIR_INPUT };
const STATIC_16: LinearRecipe = { input: { dtype: 'u16' }, output: { dtype: 'u16' }, shadow: NO_SHADOW };
const STATIC = { w8a8: STATIC_8, w8a8s: STATIC_8S, w8a16: STATIC_16, w8f16: null };

/** Naive static minimum and maximum everywhere: what the recipe is measured against. */
const STATIC_MAX: Recipe = { qkv: STATIC, o: STATIC, gateup: { ...STATIC, w8a8s: null }, down: STATIC };

export const RECIPES: Readonly<Record<CalibrationRecord['method'], Readonly<Record<Transform, Recipe>>>> = {
  recipe: { none: RECIPE, rotate: ROTATED },
  max: { none: STATIC_MAX, rotate: STATIC_MAX },
};
