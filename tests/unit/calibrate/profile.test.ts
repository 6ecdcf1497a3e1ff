import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Identity, readCheckpoint, writeCheckpoint } from '../../../lib/calibrate/checkpoint.js';
import {
  type CalibrationProfile,
  MOST_OUTLIERS,
  profileBytes,
  readProfile,
  siteOf,
  statisticsOfSite,
  tokensOfPeaks,
} from '../../../lib/calibrate/profile.js';
import { binOf, COLUMN_VALUES, SITE_VALUES, SiteStatistics } from '../../../lib/calibrate/statistics.js';
import { sealText } from '../../../lib/files/sealed.js';
import { LINEAR_NAMES } from '../../../lib/models/index.js';
import { Random } from '../../reference/random.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'profile-'));
});
afterEach(() => rmSync(root, { recursive: true }));

const TOKENS = 32;
const COLUMNS = 20;

/** What an `observe` step counts of TOKENS rows; channel 3 and 11 are large. */
function statistics(seed: number): SiteStatistics {
  const random = new Random(seed);
  const values = new Float64Array(SITE_VALUES + COLUMN_VALUES * COLUMNS);
  const [squares, minima, maxima, rows] = [0, 1, 2, 3].map((i) =>
    values.subarray(SITE_VALUES + i * COLUMNS, SITE_VALUES + (i + 1) * COLUMNS),
  ) as [Float64Array, Float64Array, Float64Array, Float64Array];
  minima.fill(Number.POSITIVE_INFINITY);
  maxima.fill(Number.NEGATIVE_INFINITY);
  for (let row = 0; row < TOKENS; row++) {
    for (let column = 0; column < COLUMNS; column++) {
      const x = Math.fround(random.normal() * (column === 3 ? 100 : column === 11 ? 30 : 1));
      if (Math.abs(x) > Math.max(-minima[column]!, maxima[column]!)) rows[column] = row;
      minima[column] = Math.min(minima[column]!, x);
      maxima[column] = Math.max(maxima[column]!, x);
      squares[column]! += x * x;
      values[4 + binOf(x)]! += 1;
    }
  }
  values.set([TOKENS * COLUMNS, Math.min(...minima), Math.max(...maxima), squares.reduce((sum, one) => sum + one, 0)]);
  return new SiteStatistics(values, 'x');
}

const place = { file: 0, token: 0, text: 'otter', before: 'an ' };

function profile(): CalibrationProfile {
  const site = (
    what: 'input' | 'output' | 'head',
    layer: number,
    linears: CalibrationProfile['sites'][number]['linears'],
    seed: number,
  ) => {
    const one = statistics(seed);
    return siteOf({ what, layer, linears }, one, new Map(tokensOfPeaks(one).map((token) => [token, place])), 16);
  };
  return {
    format: 1,
    kind: 'lutra calibration',
    model: { name: 'tiny', layers: 1, hidden: COLUMNS, cpuSha256: 'a'.repeat(64) },
    text: { files: [{ name: 'book.txt', bytes: 100, sha256: 'b'.repeat(64) }], windows: 2, windowTokens: 16, tokens: TOKENS },
    sites: [
      site('input', 0, [...LINEAR_NAMES], 1),
      ...LINEAR_NAMES.map((name, i) => site('output', 0, [name], i + 2)),
      site('head', 1, [], 20),
    ],
  };
}

describe('siteOf', () => {
  it('names the channels that stand out, and where', () => {
    const one = statistics(5);
    const { peak, outliers, outlierChannels, p99, p999, max, min } = siteOf(
      { what: 'input', layer: 0, linears: ['q'] },
      one,
      new Map([[one.peakRows[3]!, place]]),
      16,
    );
    expect(outliers.map(({ channel }) => channel)).toEqual([3, 11]);
    expect(outlierChannels).toBe(2);
    const token = one.peakRows[3]!;
    expect(peak).toMatchObject({ channel: 3, token, window: Math.floor(token / 16), position: token % 16, text: 'otter', before: 'an ' });
    expect(Math.fround(peak.value)).toBe(Math.max(-one.min, one.max));
    expect(p99 <= p999 && p999 <= Math.max(-min, max)).toBe(true);
    expect(outliers.length).toBeLessThanOrEqual(MOST_OUTLIERS);
  });
});

describe('the file of a profile', () => {
  it('is read back as it was, to the last bit of the statistics', async () => {
    const path = join(root, 'c.json');
    const made = profile();
    writeFileSync(path, profileBytes(made));
    const { ...read } = await readProfile(path);
    expect(read).toEqual(made);
    expect(statisticsOfSite(read.sites[0]!)).toEqual(new SiteStatistics(rawOf(statistics(1)), 'x'));
    expect(profileBytes(read)).toEqual(profileBytes(made));
  });

  it('notices every changed byte', async () => {
    const path = join(root, 'c.json');
    const bytes = profileBytes(profile());
    const random = new Random(9);
    for (let i = 0; i < 60; i++) {
      const damaged = Buffer.from(bytes);
      damaged[random.below(bytes.length)]! ^= 1 << random.below(8);
      writeFileSync(path, damaged);
      await expect(readProfile(path)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    }
    for (const length of [0, 1, 100, bytes.length - 1]) {
      writeFileSync(path, bytes.subarray(0, length));
      await expect(readProfile(path)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    }
  });

  type Change = (value: CalibrationProfile) => object;
  const inSite =
    (change: (site: CalibrationProfile['sites'][number]) => void): Change =>
    (value) => {
      change(value.sites[0]!);
      return value;
    };
  const wrong: [string, Change, string?][] = [
    ['another format', (value) => ({ ...value, format: 2 }), 'LUTRA_UNSUPPORTED'],
    ['another kind', (value) => ({ ...value, kind: 'x' })],
    ['no model', ({ model: _, ...value }) => value],
    ['a model without a digest', (value) => ({ ...value, model: { ...value.model, cpuSha256: 'x' } })],
    ['layers that are no count', (value) => ({ ...value, model: { ...value.model, layers: -1 } })],
    ['more layers than sites', (value) => ({ ...value, model: { ...value.model, layers: 2 } })],
    ['no text', (value) => ({ ...value, text: null })],
    ['no files', (value) => ({ ...value, text: { ...value.text, files: [] } })],
    ['a file without a digest', (value) => ({ ...value, text: { ...value.text, files: [{ name: 'x', bytes: 1 }] } })],
    ['other tokens than windows', (value) => ({ ...value, text: { ...value.text, windows: 3 } })],
    ['no sites', (value) => ({ ...value, sites: [] })],
    ['sites that are numbers', (value) => ({ ...value, sites: [1] })],
    ['no input of lm_head', (value) => ({ ...value, sites: value.sites.slice(0, -1) })],
    ['no output of a linear', (value) => ({ ...value, sites: value.sites.filter(({ linears }) => linears[0] !== 'up') })],
    ['an unknown linear', inSite((site) => site.linears.push('x' as 'q'))],
    [
      'a layer beyond',
      inSite((site) => {
        site.layer = 7;
      }),
    ],
    [
      'another count',
      inSite((site) => {
        site.count++;
      }),
    ],
    [
      'a histogram of fewer values',
      inSite((site) => {
        site.histogram.counts[0]!++;
      }),
    ],
    [
      'a histogram beyond its bins',
      inSite((site) => {
        site.histogram.first = 7679;
      }),
    ],
    [
      'a bin that is no count',
      inSite((site) => {
        site.histogram.counts[0] = 0.5;
      }),
    ],
    [
      'a range upside down',
      inSite((site) => {
        site.min = site.max + 1;
      }),
    ],
    [
      'a range that is a text',
      inSite((site) => {
        site.max = '1' as unknown as number;
      }),
    ],
    [
      'squares below 0',
      inSite((site) => {
        site.channels.squares[0] = -1;
      }),
    ],
    [
      'channels of two lengths',
      inSite((site) => {
        site.channels.min.pop();
      }),
    ],
    [
      'a largest value beyond the text',
      inSite((site) => {
        site.channels.peakToken[0] = TOKENS;
      }),
    ],
    [
      'no outliers',
      inSite((site) => {
        site.outliers = null as unknown as [];
      }),
    ],
    [
      'an outlier of a channel beyond',
      inSite((site) => {
        site.outliers[0]!.channel = COLUMNS;
      }),
    ],
    [
      'an outlier of a file beyond',
      inSite((site) => {
        site.peak.file = 1;
      }),
    ],
  ];
  it.each(wrong)('with %s is refused', async (_, change, code = 'LUTRA_BAD_FILE') => {
    const path = join(root, 'c.json');
    writeFileSync(path, sealText(JSON.stringify(change(profile()), null, 1)));
    await expect(readProfile(path)).rejects.toMatchObject({ code, message: expect.stringContaining(path) });
  });
});

/** The numbers that statistics were made of. */
function rawOf(one: SiteStatistics): Float64Array {
  const sum = one.squares.reduce((all, square) => all + square, 0);
  return Float64Array.from([one.count, one.min, one.max, sum, ...one.bins, ...one.squares, ...one.minima, ...one.maxima, ...one.peakRows]);
}

describe('checkpoints', () => {
  const identity: Identity = { weights: 'w', plan: 'p', texts: ['t', 'u'], windows: null, windowTokens: 16 };
  const values = [Float64Array.of(1, Math.PI, -0), Float64Array.of(Number.MAX_VALUE)];

  it('are read back to the last bit', async () => {
    const path = join(root, 'c.checkpoint');
    expect(await readCheckpoint(path, identity)).toBeNull();
    await writeCheckpoint(path, identity, { done: 64, values });
    expect(await readCheckpoint(path, identity)).toEqual({ done: 64, values });
  });

  it.each<[string, Partial<Identity>, RegExp]>([
    ['model', { weights: 'x' }, /another model/],
    ['plan', { plan: 'x' }, /version of lutra/],
    ['text', { texts: ['u', 't'] }, /another text/],
    ['number of windows', { windows: 8 }, /another number of windows/],
    ['length of windows', { windowTokens: 8 }, /another length/],
  ])('of another %s are refused', async (_, change, message) => {
    const path = join(root, 'c.checkpoint');
    await writeCheckpoint(path, { ...identity, ...change }, { done: 64, values });
    await expect(readCheckpoint(path, identity)).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    });
  });

  it('that are damaged are refused', async () => {
    const path = join(root, 'c.checkpoint');
    await writeCheckpoint(path, identity, { done: 64, values });
    const bytes = readFileSync(path);
    const changed = Buffer.from(bytes);
    changed[bytes.length - 3]! ^= 1;
    for (const content of [
      changed,
      bytes.subarray(0, -8),
      Buffer.concat([bytes, Buffer.alloc(8)]),
      Buffer.from('{}\n'),
      Buffer.from('x'),
      Buffer.alloc(0),
    ]) {
      writeFileSync(path, content);
      await expect(readCheckpoint(path, identity)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    }
  });
});
