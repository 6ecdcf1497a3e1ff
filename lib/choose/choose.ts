/**
 * Chooses the precision of every linear, and the form of its ranges, by what it does to the model's output on text that no range was taken from: each candidate alone, on few
 * windows, then combinations as a whole, on more, until what was asked for holds.
 */
import type { Chosen } from '../calibrate/index.js';
import { LutraError } from '../graph/errors.js';
import type { ChoiceRecord, LinearSpec, QualityRow } from '../graph/spec.js';
import { type Candidate, candidatesOf, joined, type Linears } from './candidates.js';
import { bestWithShare, cheapest, type Goal, int8ShareOf, klOf, leastKl, type Pick as Picked, sumOf } from './pick.js';
import { Figures, type TrialOptions, Trials } from './trials.js';

/** What is asked for when nothing is. */
export const DEFAULT_MAX_KL = 0.015;
export const DEFAULT_GOAL: Goal = { maxKl: DEFAULT_MAX_KL };

export interface ChooseOptions extends TrialOptions {
  /** What linears can be: precisions and ranges from a calibration. */
  settings: readonly Chosen[];
  /** null: of what the settings leave open, what has the least KL, unmeasured as a whole. */
  goal: Goal | null;
  /** Whether missing the goal is an error: the best that there is, otherwise. */
  strict: boolean;
  /** Windows of equal length that candidates are measured on alone, and those that combinations are. No range is taken from them. */
  alone: readonly (readonly number[])[];
  together: readonly (readonly number[])[];
  /** Trials and windows that are done, of those that there will be at most. */
  onProgress?: (done: number, total: number) => void;
}

export interface Choice extends Chosen {
  /** null without a goal. */
  record: ChoiceRecord | null;
}

/** Combinations that are measured at most on the way to a bound. */
const MAX_ROUNDS = 6;
/** A bound is met with less than this much room to spare: a cheaper combination is not looked for. */
const CLOSE = 0.93;
/** Of the mean KL of windows: what it must stay below the bound by. */
const STANDARD_ERRORS = 2;

interface Measured {
  pick: Picked;
  row: QualityRow;
  /** KL that text of this kind exceeds with little probability. */
  upper: number;
}

class Chooser {
  readonly #options: ChooseOptions;
  readonly #trials: Trials;
  readonly #groups: readonly Linears[];
  readonly #measured: Measured[] = [];
  readonly #total: number;
  #done = 0;

  constructor(options: ChooseOptions) {
    this.#options = options;
    this.#trials = new Trials(options);
    this.#groups = candidatesOf(options.spec, options.settings);
    const open = this.#open();
    const alone = open.reduce((sum, { options: candidates }) => sum + candidates.length, 0) * options.alone.length;
    this.#total = alone + (options.goal ? (MAX_ROUNDS + 4) * options.together.length : 0);
  }

  async run(): Promise<Choice> {
    const { goal, alone } = this.#options;
    const open = this.#open();
    if (open.length > 0) await this.#trials.measureAlone(open, alone, () => this.#progress());
    if (goal === null) return { ...this.#join(leastKl(this.#groups)), record: null };
    const chosen =
      'maxKl' in goal ? await this.#withKl(goal.maxKl) : await this.#measure(bestWithShare(this.#groups, goal.int8Share), 'chosen');
    if ('int8Share' in goal) this.#checkShare(chosen, goal.int8Share);
    if (!Number.isFinite(chosen.upper)) {
      throw new LutraError(
        'LUTRA_UNSUPPORTED',
        'On the NPU the model computes numbers that F16 does not hold, whatever the precision of its linears',
        'Convert it for the CPU only.',
      );
    }
    for (const [name, pick] of this.#comparisons()) await this.#measure(pick, name);
    return { ...this.#join(chosen.pick), record: this.#record(goal, chosen, await this.#clipped()) };
  }

  /** Where there is something to choose. */
  #open(): Linears[] {
    return this.#groups.filter(({ options }) => options.length > 1);
  }

  #candidates(pick: Picked): Candidate[] {
    return this.#groups.flatMap(({ options }, g) => options[pick[g] ?? 0] ?? []);
  }

  #join(pick: Picked): Chosen {
    return joined(this.#candidates(pick));
  }

  #progress(): void {
    this.#options.onProgress?.(++this.#done, this.#total);
  }

  /** The setting as a whole; one that was measured before is not run again. */
  async #measure(pick: Picked, setting: string): Promise<Measured> {
    const known = this.#measured.find((other) => other.pick.every((option, g) => option === pick[g]));
    if (known) return known;
    const repairPerToken = this.#candidates(pick).reduce((sum, { repairs }) => sum + repairs, 0);
    const { row, windows } = await this.#rowOf(this.#join(pick), {
      setting,
      int8Share: int8ShareOf(this.#groups, pick),
      repairPerToken,
    });
    const measured = {
      pick,
      row,
      // Not a number where F16 overflows.
      upper: Number.isFinite(row.kl)
        ? row.kl + STANDARD_ERRORS * standardError(windows.map(({ kl, predictions }) => kl / predictions))
        : Number.POSITIVE_INFINITY,
    };
    this.#measured.push(measured);
    return measured;
  }

  async #rowOf(
    chosen: Chosen,
    known: Pick<QualityRow, 'setting' | 'int8Share' | 'repairPerToken'>,
  ): Promise<{ row: QualityRow; windows: Figures[] }> {
    const windows = await this.#trials.measureTogether(chosen, this.#options.together, () => this.#progress());
    const all = new Figures();
    for (const each of windows) all.merge(each);
    const { kl, agreed, surprise, predictions } = all;
    const row = { ...known, kl: kl / predictions, top1: agreed / predictions, perplexity: Math.exp(surprise / predictions) };
    return { row, windows };
  }

  /** The cheapest setting whose KL stays below the bound. What single effects add up to is corrected by what the last combination gave. */
  async #withKl(maxKl: number): Promise<Measured> {
    let budget = maxKl;
    let best: Measured | null = null;
    for (let round = 1; round <= MAX_ROUNDS; round++) {
      const pick = cheapest(this.#groups, budget);
      const before = this.#measured.length;
      const found = await this.#measure(pick, `round ${round}`);
      if (this.#measured.length === before) break; // nothing new between what holds and what does not
      if (found.upper <= maxKl && (best === null || this.#cost(found.pick) < this.#cost(best.pick))) best = found;
      if (
        found.upper <= maxKl &&
        (found.upper > CLOSE * maxKl || this.#cost(found.pick) <= this.#cost(cheapest(this.#groups, Number.POSITIVE_INFINITY)))
      )
        break;
      // Between bounds the next guess aims at the middle of what is close.
      budget = klOf(this.#groups, pick) * ((((1 + CLOSE) / 2) * maxKl) / found.upper);
    }
    if (best !== null) return best;
    const least = await this.#measure(leastKl(this.#groups), 'least KL');
    if (least.upper <= maxKl || !this.#options.strict) return least;
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `No choice of precisions has a KL of at most ${maxKl}: the best has ${least.row.kl.toFixed(4)}, with the error of the measurement ${least.upper.toFixed(4)}`,
      'Ask for a larger KL, or give the precisions yourself.',
    );
  }

  #checkShare({ row }: Measured, share: number): void {
    if (row.int8Share >= share - 1e-9 || !this.#options.strict) return;
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `An INT8 share of ${share} cannot be had: the largest is ${row.int8Share.toFixed(3)}`,
      'Ask for a smaller share.',
    );
  }

  /** What the chosen setting is shown beside. */
  #comparisons(): [string, Picked][] {
    const wide = this.#groups.map(({ options }) =>
      Math.max(
        0,
        options.findIndex(({ int8 }) => !int8),
      ),
    );
    return [
      ['8 bits everywhere', bestWithShare(this.#groups, 1)],
      ['16 bits everywhere', wide],
    ];
  }

  /** What 8 bits everywhere are worth when nobody repairs what they clip. */
  async #clipped(): Promise<QualityRow[]> {
    const pick = bestWithShare(this.#groups, 1);
    const repaired = this.#join(pick);
    const known = { setting: '8 bits everywhere, nothing repaired', int8Share: int8ShareOf(this.#groups, pick), repairPerToken: 0 };
    const { row } = await this.#rowOf({ ...repaired, linears: unrepaired(repaired.linears) }, known);
    return Number.isFinite(row.kl) ? [row] : [];
  }

  /** In units of all linears in w8a8. */
  #cost(pick: Picked): number {
    return sumOf(this.#groups, pick, ({ cost }) => cost) / this.#groups.reduce((sum, { macs }) => sum + macs, 0);
  }

  #record(goal: Goal, chosen: Measured, more: readonly QualityRow[]): ChoiceRecord {
    const { together } = this.#options;
    const others = this.#measured.filter((measured) => measured !== chosen && Number.isFinite(measured.upper)).map(({ row }) => row);
    return {
      version: 1,
      goal,
      tokens: together.reduce((sum, window) => sum + window.length, 0),
      cost: this.#cost(chosen.pick),
      table: [{ ...chosen.row, setting: 'chosen' }, ...[...others, ...more].sort((a, b) => b.int8Share - a.int8Share || a.kl - b.kl)],
      unrepaired: [...this.#join(chosen.pick).unrepaired],
    };
  }
}

/** The same ranges, with nothing behind them that repairs what they clip. */
function unrepaired(linears: Readonly<Record<string, LinearSpec>>): Record<string, LinearSpec> {
  const nothing = { precision: 'w8a8', shadow: { input: false, output: false } } as const;
  return Object.fromEntries(
    Object.entries(linears).map(([key, linear]) => [key, linear.precision === 'w8a8s' ? { ...linear, ...nothing } : linear]),
  );
}

/** Of the mean of independent values; 0 of one. */
function standardError(values: readonly number[]): number {
  const n = values.length;
  if (n < 2) return 0;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n);
}

/**
 * Chooses what every linear of a model is. Deterministic for the same files, text and number of threads. Errors: LUTRA_INVALID_ARGUMENT (a goal that cannot be had), LUTRA_IO, errors of the
 * engine; the signal's reason when aborted.
 */
export function choose(options: ChooseOptions): Promise<Choice> {
  return new Chooser(options).run();
}
