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
const CHANNELS: RangeRule = { dtype: 'u8', channels: { margin: 1.3, least: 0.2 } };
const ONE_RANGE: LinearRecipe = { input: LEAST_ERROR, output: U8, shadow: NO_SHADOW };
const BY_CHANNEL: LinearRecipe = { input: LEAST_ERROR, output: CHANNELS, shadow: NO_SHADOW };
/** Steps of o and down are what is left to be noisy: narrower inputs, two to three times as much to repair. */
const ROTATED: Recipe = {
  ...RECIPE,
  o: { ...RECIPE.o, w8a8s: { input: { dtype: 's8', share: 0.99 }, output: U8, shadow: REPAIR_INPUT } },
  down: { ...RECIPE.down, w8a8s: { input: { dtype: 's8', share: 0.985 }, output: { dtype: 'u8', share: 0.998 }, shadow: REPAIR_BOTH } },
  qkv: { ...RECIPE.qkv, w8a8: BY_CHANNEL },
  gateup: { ...RECIPE.gateup, w8a8: { ...ONE_RANGE, outputs: { gate: GATE_U8 } } },
};
/** The other form of the outputs: which one is better differs from layer to layer, so that it is tried ({@link settingsOf}). */
const ROTATED_OTHERWISE: Recipe = {
  ...ROTATED,
  qkv: { ...RECIPE.qkv, w8a8: ONE_RANGE },
  gateup: { ...RECIPE.gateup, w8a8: BY_CHANNEL },
};

const STATIC_8: LinearRecipe = { input: U8, output: U8, shadow: NO_SHADOW };
const STATIC_8S: LinearRecipe = { input: U8, output: U8, shadow: REPAIR_INPUT };
const STATIC_16: LinearRecipe = { input: { dtype: 'u16' }, output: { dtype: 'u16' }, shadow: NO_SHADOW };
const STATIC = { w8a8: STATIC_8, w8a8s: STATIC_8S, w8a16: STATIC_16, w8f16: null };

/** Naive static minimum and maximum everywhere: what the recipe is measured against. */
const STATIC_MAX: Recipe = { qkv: STATIC, o: STATIC, gateup: { ...STATIC, w8a8s: null }, down: STATIC };

const RECIPES: Readonly<Record<CalibrationRecord['method'], Readonly<Record<Transform, Recipe>>>> = {
  recipe: { none: RECIPE, rotate: ROTATED },
  max: { none: STATIC_MAX, rotate: STATIC_MAX },
};

/** Precision of every kind of linear, and the rules of their ranges. */
export interface Setting {
  precision: Readonly<Record<LinearKind, Precision>>;
  recipe: Recipe;
}

const ALL_16: Setting['precision'] = { qkv: 'w8a16', o: 'w8a16', gateup: 'w8a16', down: 'w8a16' };
const ALL_8: Setting['precision'] = { qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8a8' };
const REPAIRED_8: Setting['precision'] = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a8', down: 'w8a8s' };

const KINDS = Object.keys(ALL_8) as LinearKind[];

/** Between them, what a linear of a kind can be: to be tried one by one. `precision`: only what these precisions leave open, the first of them where nothing is tried. */
export function settingsOf(
  method: CalibrationRecord['method'],
  transform: Transform,
  precision: Setting['precision'] | null,
): readonly Setting[] {
  const recipe = RECIPES[method][transform];
  const others = method === 'recipe' && transform === 'rotate' ? [ROTATED_OTHERWISE] : [];
  const given = (all: Setting['precision']): Setting[] =>
    [recipe, ...others.filter((other) => KINDS.some((kind) => other[kind][all[kind]] !== recipe[kind][all[kind]]))].map((rules) => ({
      precision: all,
      recipe: rules,
    }));
  if (precision !== null) return given(precision);
  const repaired = others.length > 0 ? [recipe, { ...recipe, o: RECIPE.o, down: RECIPE.down }] : [recipe];
  return [...given(ALL_8), ...repaired.map((rules) => ({ precision: REPAIRED_8, recipe: rules })), { precision: ALL_16, recipe }];
}
