/** What can be chosen for the linears of a model, from the settings that were calibrated. */
import type { Chosen } from '../calibrate/index.js';
import type { LinearName, LinearSpec, ModelSpec } from '../graph/spec.js';
import { linearKey, linearShape } from '../models/index.js';
import { isInt8, PRECISION_COST } from './cost.js';
import type { Group, Option } from './pick.js';

/** Linears that take their precision together. */
const KINDS: readonly (readonly LinearName[])[] = [['q', 'k', 'v'], ['o'], ['gate', 'up'], ['down']];

export interface Candidate extends Option {
  /** By `layers.N.NAME`. */
  linears: Record<string, LinearSpec>;
  factors: Map<string, Float32Array>;
  hot: Map<string, Uint32Array>;
  unrepaired: string[];
  /** Multiply-accumulates of CPU repairs for a token. */
  repairs: number;
}

export interface Linears extends Group<Candidate> {
  layer: number;
  names: readonly LinearName[];
}

/** The linears of one kind of one layer in one setting. */
function candidateOf(
  spec: ModelSpec,
  { linears, factors, hot, unrepaired }: Chosen,
  layer: number,
  names: readonly LinearName[],
): Candidate {
  const keys = names.map((name) => linearKey(layer, name));
  const own = Object.fromEntries(keys.flatMap((key) => (linears[key] ? [[key, linears[key]] as const] : [])));
  return {
    linears: own,
    factors: ofKeys(factors, keys),
    hot: ofKeys(hot, keys),
    unrepaired: keys.filter((key) => unrepaired.has(key)),
    cost: names.reduce((sum, name, i) => sum + macsOf(spec, name) * PRECISION_COST[own[keys[i] ?? '']?.precision ?? 'w8f16'], 0),
    int8: Object.values(own).every(isInt8),
    kl: 0,
    repairs: 0,
  };
}

/** The entries of some keys. */
function ofKeys<T>(map: ReadonlyMap<string, T>, keys: readonly string[]): Map<string, T> {
  return new Map([...map].filter(([key]) => keys.includes(key)));
}

export function macsOf({ arch }: ModelSpec, name: LinearName): number {
  const [rows, cols] = linearShape(arch, name);
  return rows * cols;
}

/** Groups of linears with their different candidates, layer by layer. */
export function candidatesOf(spec: ModelSpec, settings: readonly Chosen[]): Linears[] {
  return Array.from({ length: spec.arch.layers }, (_, layer) =>
    KINDS.map((names): Linears => {
      const byForm = new Map<string, Candidate>();
      for (const setting of settings) {
        const candidate = candidateOf(spec, setting, layer, names);
        const form = JSON.stringify(candidate.linears);
        if (!byForm.has(form)) byForm.set(form, candidate);
      }
      return { layer, names, macs: names.reduce((sum, name) => sum + macsOf(spec, name), 0), options: [...byForm.values()] };
    }),
  ).flat();
}

/** All linears with one candidate of each group. */
export function joined(candidates: readonly Candidate[]): Chosen {
  return {
    linears: Object.assign({}, ...candidates.map(({ linears }) => linears)) as Record<string, LinearSpec>,
    factors: new Map(candidates.flatMap(({ factors }) => [...factors])),
    hot: new Map(candidates.flatMap(({ hot }) => [...hot])),
    unrepaired: new Set(candidates.flatMap(({ unrepaired }) => unrepaired)),
  };
}
