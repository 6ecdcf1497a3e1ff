/**
 * Finds the static ranges of a model's NPU linears by running the float model over a text.
 *
 * Two passes: the first sees what linears read and write. Where an input is clipped and repaired, the NPU computes W·clamp(x) rather than W·x,
 * so the second pass measures the outputs of those linears with their clipped inputs beside the float model.
 */
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, LinearKind, LinearName, LinearSpec, ModelSpec } from '../graph/spec.js';
import { type CalibrationSite, LINEAR_NAMES, linearKey } from '../models/index.js';
import { hotChannels } from './hot.js';
import { type CalibrationAddon, ObservedModel } from './observe.js';
import { channelFactors, chooseRange, cutsOff, type RangeRule, UNIT_RANGE } from './ranges.js';
import type { LinearRecipe, Setting } from './recipe.js';
import { SiteStatistics } from './statistics.js';

export interface CalibrationOptions {
  /** Architecture and CPU tensors; its `linears` are not looked at. */
  spec: ModelSpec;
  /** Paths of cpu.safetensors and, when the spec has a transform, of what its tensors are in. */
  files: readonly string[];
  /** Token ids of the calibration text; the first `windows` runs of `windowTokens` are used, each with an empty KV cache. */
  tokens: readonly number[];
  windows: number;
  windowTokens: number;
  /** What ranges are wanted for; none for an empty list. */
  settings: readonly Setting[];
  /** Whether the second moments of the linears' inputs are wanted, too. */
  moments?: boolean;
  addon: CalibrationAddon;
  threads: number;
  signal?: AbortSignal;
  /** Windows done of all windows of all passes. */
  onProgress?: (done: number, total: number) => void;
}

/** What a text tells of a model. */
export interface Calibrated {
  /** Of each setting. */
  chosen: Chosen[];
  /** E[x²] of every input column of the linears and of lm_head, by the name of its tensor; empty when not asked for. */
  moments: Map<string, Float32Array>;
}

/** Statistics by `layers.N.NAME` and what was observed. */
export type Observed = Map<string, SiteStatistics>;

const KIND_OF: Readonly<Record<LinearName, LinearKind>> = {
  q: 'qkv',
  k: 'qkv',
  v: 'qkv',
  o: 'o',
  gate: 'gateup',
  up: 'gateup',
  down: 'down',
};

/** Where the statistics of lm_head's input are. */
const HEAD = 'input of lm_head';

function observedKey(what: CalibrationSite['what'], layer: number, name: LinearName): string {
  return `${what} of ${linearKey(layer, name)}`;
}

/** Rules of one linear; null when its precision has no ranges. */
function recipeOf({ precision, recipe }: Setting, name: LinearName): LinearRecipe | null {
  const kind = KIND_OF[name];
  const found = recipe[kind][precision[kind]];
  if (!found && precision[kind] !== 'w8f16') {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `Linears of kind ${kind} cannot have precision ${precision[kind]}`,
      'Choose another precision.',
    );
  }
  return found;
}

function outputRule(recipe: LinearRecipe, name: LinearName): RangeRule {
  return recipe.outputs?.[name] ?? recipe.output;
}

function statisticsOf(observed: Observed, what: CalibrationSite['what'], layer: number, name: LinearName): SiteStatistics {
  return statisticsAt(observed, observedKey(what, layer, name));
}

function statisticsAt(observed: Observed, key: string): SiteStatistics {
  const statistics = observed.get(key);
  if (!statistics) throw new LutraError('LUTRA_INTERNAL', `the calibration plan does not observe the ${key}`);
  return statistics;
}

/** Ranges of the linears by `layers.N.NAME`, factors of outputs that have a range for each channel, and channels of repaired inputs that are clipped most often. */
export interface Chosen {
  linears: Record<string, LinearSpec>;
  factors: Map<string, Float32Array>;
  /** Linears whose ranges cut off some of what was seen, without repair. */
  unrepaired: Set<string>;
  /** Channels of repaired inputs that are clipped most often. */
  hot: Map<string, Uint32Array>;
}

/** The specs of all linears with the ranges that the statistics give; `clipped` tells whether the second pass has run. */
export function chooseLinears(layers: number, setting: Setting, observed: Observed, clipped: boolean): Chosen {
  const chosen: Chosen = { linears: {}, factors: new Map(), unrepaired: new Set(), hot: new Map() };
  for (let layer = 0; layer < layers; layer++) {
    for (const name of LINEAR_NAMES) {
      const key = linearKey(layer, name);
      const recipe = recipeOf(setting, name);
      const seen = (what: CalibrationSite['what']) => statisticsOf(observed, what, layer, name);
      const input = observed.has(observedKey('rotatedInput', layer, name)) ? 'rotatedInput' : 'input';
      const output = recipe?.shadow.input && clipped ? 'clippedOutput' : 'output';
      const factors = recipe && channelFactors(seen(output), outputRule(recipe, name));
      if (factors) chosen.factors.set(key, factors);
      const ranges = recipe && {
        input: chooseRange(seen(input), recipe.input),
        output: factors ? UNIT_RANGE : chooseRange(seen(output), outputRule(recipe, name)),
      };
      if (recipe && ranges) {
        const inputCut = !recipe.shadow.input && cutsOff(seen(input), ranges.input, recipe.input);
        const outputCut = !recipe.shadow.output && !factors && cutsOff(seen(output), ranges.output, outputRule(recipe, name));
        if (inputCut || outputCut) chosen.unrepaired.add(key);
      }
      const hot = recipe?.shadow.input && clipped ? hotChannels(seen('clips').squares) : null;
      if (hot) chosen.hot.set(key, hot);
      chosen.linears[key] = {
        precision: setting.precision[KIND_OF[name]],
        input: ranges?.input ?? null,
        output: ranges?.output ?? null,
        ...(factors ? { factors: true } : {}),
        shadow: recipe ? { ...recipe.shadow } : { input: false, output: false },
        layout: recipe?.shadow.input ? 'conv' : 'fc',
      };
    }
  }
  return chosen;
}

function checkWindows(options: CalibrationOptions): void {
  const { windows, windowTokens, tokens, spec } = options;
  for (const [name, value] of Object.entries({ windows, windowTokens })) {
    if (!Number.isInteger(value) || value < 1)
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `Calibration: ${name} is ${value}`, 'Give a whole number above 0.');
  }
  if (windowTokens > spec.arch.maxContext) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `Calibration windows of ${windowTokens} tokens do not fit the context of ${spec.arch.maxContext}`,
      'Choose shorter windows.',
    );
  }
  if (tokens.length < windowTokens) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The calibration text has ${tokens.length} tokens, one window needs ${windowTokens}`,
      'Give a longer text.',
    );
  }
}

/** Runs one calibration plan over the windows. */
async function observe(
  options: CalibrationOptions,
  calibrate: 'inputs' | 'outputs',
  linears: Record<string, LinearSpec>,
  onWindow: () => void,
): Promise<Observed> {
  const { windows, windowTokens, tokens } = options;
  const model = await ObservedModel.open({ ...options, calibrate, linears });
  try {
    for (let window = 0; window < windows; window++) {
      const from = window * windowTokens;
      if (from + windowTokens > tokens.length) break;
      await model.run(Uint32Array.from(tokens.slice(from, from + windowTokens)));
      onWindow();
    }
    return collect(model.observations(), model.sites);
  } finally {
    await model.dispose();
  }
}

function collect(observations: readonly Float64Array[], sites: readonly CalibrationSite[]): Observed {
  const observed: Observed = new Map();
  for (const { site, layer, linears, what } of sites) {
    const values = observations[site];
    if (!values) throw new LutraError('LUTRA_INTERNAL', `site ${site} of the calibration plan was not observed`);
    const statistics = new SiteStatistics(values, `${what} of layer ${layer}, ${linears.join(', ')}`);
    if (what === 'head') observed.set(HEAD, statistics);
    for (const name of linears) observed.set(observedKey(what, layer, name), statistics);
  }
  return observed;
}

function momentsOf({ layers, tied }: ArchSpec, observed: Observed): Map<string, Float32Array> {
  const moments = new Map<string, Float32Array>();
  for (let layer = 0; layer < layers; layer++) {
    for (const name of LINEAR_NAMES) moments.set(linearKey(layer, name), statisticsOf(observed, 'input', layer, name).columnMoments());
  }
  return moments.set(tied ? 'embed' : 'lm_head', statisticsAt(observed, HEAD).columnMoments());
}

/**
 * The specs of all NPU linears of a model in each setting, and the second moments of their inputs. Resolves without running anything when neither ranges nor moments are wanted.
 * Errors: LUTRA_INVALID_ARGUMENT (windows, precision), LUTRA_BAD_FILE (the model computes NaN or infinity), errors of the engine; the
 * signal's reason when aborted.
 */
export async function calibrate(options: CalibrationOptions): Promise<Calibrated> {
  const { settings } = options;
  const { layers } = options.spec.arch;
  const recipes = settings.flatMap((setting) => LINEAR_NAMES.map((name) => recipeOf(setting, name)));
  const moments = new Map<string, Float32Array>();
  if (!recipes.some((recipe) => recipe !== null) && !options.moments)
    return { chosen: settings.map((setting) => chooseLinears(layers, setting, new Map(), false)), moments };
  checkWindows(options);
  // Settings with the same repairs share a second pass.
  const repairs = settings.map((setting) => JSON.stringify(LINEAR_NAMES.map((name) => repairedRule(setting, name))));
  const passes = 1 + new Set(repairs.filter((_, i) => repairsAny(settings[i]))).size;
  const total = passes * Math.min(options.windows, Math.floor(options.tokens.length / options.windowTokens));
  let done = 0;
  const onWindow = () => options.onProgress?.(++done, total);
  const first = await observe(options, 'inputs', {}, onWindow);
  const clipped = new Map<string, Observed>();
  const chosen: Chosen[] = [];
  for (const [i, setting] of settings.entries()) {
    const once = chooseLinears(layers, setting, first, false);
    const repair = repairs[i] ?? '';
    if (repairsAny(setting) && !clipped.has(repair)) {
      const shadowed = Object.fromEntries(Object.entries(once.linears).filter(([, linear]) => linear.shadow.input));
      clipped.set(repair, await observe(options, 'outputs', shadowed, onWindow));
    }
    const second = clipped.get(repair);
    chosen.push(second ? chooseLinears(layers, setting, new Map([...first, ...second]), true) : once);
  }
  return { chosen, moments: options.moments ? momentsOf(options.spec.arch, first) : moments };
}

/** The rule of an input that is repaired; null: it is not. */
function repairedRule(setting: Setting, name: LinearName): RangeRule | null {
  const recipe = recipeOf(setting, name);
  return recipe?.shadow.input ? recipe.input : null;
}

function repairsAny(setting: Setting | undefined): boolean {
  return setting !== undefined && LINEAR_NAMES.some((name) => repairedRule(setting, name) !== null);
}
