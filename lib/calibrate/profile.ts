/**
 * What a text tells of a model, as one JSON file: docs/calibration.md describes it. One site is one line, and the file ends with its checksum as lutra.json does.
 */
import { isObject, jsonObject, readBytes } from '../files/read.js';
import { sealOf, sealText } from '../files/sealed.js';
import { LutraError } from '../graph/errors.js';
import type { LinearName } from '../graph/spec.js';
import { type CalibrationSite, LINEAR_NAMES } from '../models/index.js';
import { BINS, COLUMN_VALUES, SITE_VALUES, SiteStatistics } from './statistics.js';
import type { Place } from './text.js';

/** Version of the file. */
export const PROFILE_FORMAT = 1;

/** A file of more than a 100 B model makes less. */
const MAX_PROFILE_BYTES = 2 ** 29 - 1;

/** A value of one channel far from the others, or the largest of all. */
export interface Peak {
  /** The magnitude. */
  value: number;
  channel: number;
  /** Index of the token among those that were run. */
  token: number;
  /** Which window that is in, and where in it. */
  window: number;
  position: number;
  /** Index into `text.files`, what the token stands for, and the text before it. */
  file: number;
  text: string;
  before: string;
}

/** One tensor of the float model. */
export interface ProfileSite {
  /** input: what the linears read; output: what the linear writes; head: what lm_head reads. */
  what: 'input' | 'output' | 'head';
  /** From 0; of `head` the number of layers. */
  layer: number;
  linears: LinearName[];
  count: number;
  min: number;
  max: number;
  meanSquare: number;
  /** Magnitudes that 99, 99.9 and 99.99 % of the values do not exceed. */
  p99: number;
  p999: number;
  p9999: number;
  peak: Peak;
  /** Channels whose largest magnitude is more than {@link OUTLIER} times that of the channel in the middle: the largest ones, at most {@link MOST_OUTLIERS}. */
  outliers: Peak[];
  /** How many such channels there are. */
  outlierChannels: number;
  /** Values by magnitude from bin `first` on (lib/calibrate/statistics.ts says which bin is which magnitude); all others are 0. */
  histogram: { first: number; counts: number[] };
  /** Of every channel: sum of squares, smallest and largest value, index of the token with the largest magnitude. */
  channels: { squares: number[]; min: number[]; max: number[]; peakToken: number[] };
}

export interface CalibrationProfile {
  format: typeof PROFILE_FORMAT;
  kind: 'lutra calibration';
  model: { name: string; layers: number; hidden: number; cpuSha256: string };
  text: { files: { name: string; bytes: number; sha256: string }[]; windows: number; windowTokens: number; tokens: number };
  sites: ProfileSite[];
}

export const OUTLIER = 4;
export const MOST_OUTLIERS = 8;

/** The channels of a site that stand out, largest first, and the one with the largest magnitude of all. */
export function outliersOf({ peaks }: SiteStatistics): { channels: number[]; largest: number } {
  const sorted = peaks.slice().sort();
  const limit = OUTLIER * (sorted[sorted.length >> 1] ?? 0);
  const order = Array.from(peaks.keys()).sort((a, b) => (peaks[b] ?? 0) - (peaks[a] ?? 0) || a - b);
  return { channels: order.filter((channel) => (peaks[channel] ?? 0) > limit), largest: order[0] ?? 0 };
}

/** Indices of the tokens whose text {@link siteOf} wants. */
export function tokensOfPeaks(statistics: SiteStatistics): number[] {
  const { channels, largest } = outliersOf(statistics);
  return [largest, ...channels.slice(0, MOST_OUTLIERS)].map((channel) => statistics.peakRows[channel] ?? 0);
}

/** Nine digits tell all 32-bit floats apart. */
const short = (value: number): number => Number(value.toPrecision(9));

export function siteOf(
  { what, layer, linears }: Pick<CalibrationSite, 'layer' | 'linears'> & { what: ProfileSite['what'] },
  statistics: SiteStatistics,
  places: ReadonlyMap<number, Place>,
  windowTokens: number,
): ProfileSite {
  const { channels, largest } = outliersOf(statistics);
  const peak = (channel: number): Peak => {
    const token = statistics.peakRows[channel] ?? 0;
    const { file = 0, text = '', before = '' } = places.get(token) ?? {};
    const window = Math.floor(token / windowTokens);
    return { value: short(statistics.peaks[channel] ?? 0), channel, token, window, position: token % windowTokens, file, text, before };
  };
  const first = statistics.bins.findIndex((count) => count > 0);
  const end = statistics.bins.findLastIndex((count) => count > 0) + 1;
  return {
    what,
    layer,
    linears: [...linears],
    count: statistics.count,
    min: short(statistics.min),
    max: short(statistics.max),
    meanSquare: statistics.meanSquare,
    p99: short(statistics.percentile(0.99)),
    p999: short(statistics.percentile(0.999)),
    p9999: short(statistics.percentile(0.9999)),
    peak: peak(largest),
    outliers: channels.slice(0, MOST_OUTLIERS).map(peak),
    outlierChannels: channels.length,
    histogram: { first, counts: Array.from(statistics.bins.subarray(first, end)) },
    channels: {
      squares: Array.from(statistics.squares),
      min: Array.from(statistics.minima, short),
      max: Array.from(statistics.maxima, short),
      peakToken: Array.from(statistics.peakRows),
    },
  };
}

/** The statistics that a site was made from. */
export function statisticsOfSite({ what, layer, linears, count, min, max, histogram, channels }: ProfileSite): SiteStatistics {
  const columns = channels.squares.length;
  const sum = channels.squares.reduce((all, one) => all + one, 0);
  const values = new Float64Array(SITE_VALUES + COLUMN_VALUES * columns);
  values.set([count, Math.fround(min), Math.fround(max), sum]);
  values.set(histogram.counts, 4 + histogram.first);
  const { squares, min: minima, max: maxima, peakToken } = channels;
  for (const [i, list] of [squares, minima.map(Math.fround), maxima.map(Math.fround), peakToken].entries())
    values.set(list, SITE_VALUES + i * columns);
  return new SiteStatistics(values, `${what} of layer ${layer}, ${linears.join(', ')}`);
}

/** The file of a profile. */
export function profileBytes({ sites, ...head }: CalibrationProfile): Buffer {
  const opening = JSON.stringify(head, null, 1).replace(/\n\}$/, ',\n "sites": [\n');
  return sealText(`${opening}${sites.map((site) => `  ${JSON.stringify(site)}`).join(',\n')}\n ]\n}`);
}

/** Says what is wrong with a value by where it is, or nothing. */
type Problem = string | undefined;

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isHash = (value: unknown): boolean => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

function listOf(value: unknown, length: number | undefined, test: (item: unknown) => boolean): value is unknown[] {
  return Array.isArray(value) && (length === undefined || value.length === length) && value.every(test);
}

function frameProblem(value: Record<string, unknown>): Problem {
  const { model, text, sites } = value;
  if (!isObject(model) || typeof model.name !== 'string' || !isHash(model.cpuSha256)) return "'model' is no description of a model";
  if (!isCount(model.layers) || !isCount(model.hidden)) return "'model' has no counts of layers and channels";
  if (!isObject(text) || !isCount(text.windows) || !isCount(text.windowTokens) || !isCount(text.tokens)) return "'text' has no counts";
  if (text.tokens === 0 || text.tokens !== text.windows * text.windowTokens) return `'text' has ${text.tokens} tokens in its windows`;
  const isFile = (file: unknown) => isObject(file) && typeof file.name === 'string' && isCount(file.bytes) && isHash(file.sha256);
  if (!listOf(text.files, undefined, isFile) || text.files.length === 0) return "'text.files' does not say which files";
  return Array.isArray(sites) && sites.length > 0 ? undefined : "'sites' is no list";
}

function isPeak(value: unknown, columns: number, tokens: number, files: number): boolean {
  if (!isObject(value) || !isNumber(value.value) || typeof value.text !== 'string' || typeof value.before !== 'string') return false;
  const below = (count: unknown, limit: number) => isCount(count) && count < limit;
  return (
    below(value.channel, columns) &&
    below(value.token, tokens) &&
    below(value.file, files) &&
    isCount(value.window) &&
    isCount(value.position)
  );
}

function siteProblem(site: unknown, { text, model }: Pick<CalibrationProfile, 'text' | 'model'>): Problem {
  if (!isObject(site)) return 'is no object';
  const { what, layer, linears, count, min, max, meanSquare, histogram, channels } = site;
  if (what !== 'input' && what !== 'output' && what !== 'head') return `is of ${JSON.stringify(what)}`;
  if (!isCount(layer) || layer > model.layers || (what === 'head') !== (layer === model.layers))
    return `is of layer ${JSON.stringify(layer)}`;
  if (!listOf(linears, undefined, (name) => LINEAR_NAMES.includes(name as LinearName))) return 'has unknown linears';
  if (!isObject(channels) || !Array.isArray(channels.squares) || channels.squares.length === 0) return 'has no channels';
  const columns = channels.squares.length;
  if (count !== columns * text.tokens) return `has ${JSON.stringify(count)} values in ${columns} channels`;
  const numbers = [min, max, meanSquare, site.p99, site.p999, site.p9999];
  if (!numbers.every(isNumber) || (min as number) > (max as number) || (meanSquare as number) < 0) return 'has a range that is none';
  if (!listOf(channels.squares, columns, (value) => isNumber(value) && value >= 0)) return 'has squares that are none';
  if (!listOf(channels.min, columns, isNumber) || !listOf(channels.max, columns, isNumber)) return 'has ranges of channels that are none';
  if (!listOf(channels.peakToken, columns, (token) => isCount(token) && token < text.tokens)) return 'has largest values beyond the text';
  if (!isObject(histogram) || !isCount(histogram.first) || !listOf(histogram.counts, undefined, isCount)) return 'has no histogram';
  if (histogram.first + histogram.counts.length > BINS) return 'has a histogram with too many bins';
  const counted = (histogram.counts as number[]).reduce((sum, one) => sum + one, 0);
  if (counted !== count) return `has a histogram of ${counted} values, not ${count}`;
  const peaks = [site.peak, ...(Array.isArray(site.outliers) ? (site.outliers as unknown[]) : [undefined])];
  if (!isCount(site.outlierChannels) || !peaks.every((peak) => isPeak(peak, columns, text.tokens, text.files.length)))
    return 'has outliers that are none';
  return undefined;
}

/** What every profile has once: inputs and outputs of all linears. */
function missingSite({ model, sites }: CalibrationProfile): Problem {
  const seen = new Set(sites.flatMap(({ what, layer, linears }) => linears.map((name) => `${what} of layer ${layer}, ${name}`)));
  for (let layer = 0; layer < model.layers; layer++) {
    for (const name of LINEAR_NAMES) {
      for (const what of ['input', 'output'])
        if (!seen.has(`${what} of layer ${layer}, ${name}`)) return `lacks the ${what} of layer ${layer}, ${name}`;
    }
  }
  return sites.some(({ what }) => what === 'head') ? undefined : 'lacks the input of lm_head';
}

/** Checks what was parsed. Throws LUTRA_BAD_FILE. */
function checked(value: Record<string, unknown>, bad: (what: string) => LutraError): CalibrationProfile {
  const frame = frameProblem(value);
  if (frame) throw bad(frame);
  const profile = value as object as CalibrationProfile;
  for (const [i, site] of profile.sites.entries()) {
    const problem = siteProblem(site, profile);
    if (problem) throw bad(`site ${i} ${problem}`);
  }
  const missing = missingSite(profile);
  if (missing) throw bad(missing);
  return profile;
}

/** Reads a profile. Errors: LUTRA_NOT_FOUND, LUTRA_BAD_FILE (damaged, changed, no profile), LUTRA_UNSUPPORTED (another format), LUTRA_IO. */
export async function readProfile(path: string): Promise<CalibrationProfile> {
  const remedy = 'Make it again: lutra calibrate DIR --text FILE';
  const bytes = await readBytes(path, MAX_PROFILE_BYTES, { remedy });
  const bad = (what: string) => new LutraError('LUTRA_BAD_FILE', `${path}: ${what}.`, remedy);
  const seal = sealOf(bytes);
  // Before anything is made of the content: a damaged number may look like another format.
  if (seal !== 'absent' && seal.stored !== seal.found)
    throw bad(`it is damaged or was changed: it carries the checksum ${seal.stored}, its bytes have ${seal.found}`);
  const { checksum: _, ...value } = jsonObject(bytes, path, { remedy });
  if (value.kind !== 'lutra calibration') throw bad('it is no calibration of lutra');
  if (value.format !== PROFILE_FORMAT) {
    const what = `${path} has format ${JSON.stringify(value.format)}, this version reads format ${PROFILE_FORMAT}.`;
    throw new LutraError('LUTRA_UNSUPPORTED', what, remedy);
  }
  if (seal === 'absent') throw bad('it is damaged or was changed: it does not end with its checksum');
  return checked(value, bad);
}
