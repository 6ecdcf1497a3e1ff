import { describe, expect, it } from 'vitest';
import { profilePage } from '../../../lib/calibrate/page/page.js';
import { asText, figure, linearAxis, logAxis, niceTicks } from '../../../lib/calibrate/page/svg.js';
import type { CalibrationProfile, Peak, ProfileSite } from '../../../lib/calibrate/profile.js';
import type { ModelSpec } from '../../../lib/graph/spec.js';
import { LINEAR_NAMES } from '../../../lib/models/index.js';
import { tinyModel } from '../../reference/tiny.js';

const HOSTILE = '</title><script>alert(1)</script>&"\'';

function site(what: ProfileSite['what'], layer: number, linears: ProfileSite['linears'], size: number): ProfileSite {
  const peak: Peak = { value: 90 * size, channel: 2, token: 5, window: 0, position: 5, file: 0, text: HOSTILE, before: 'a\n\u0007b' };
  return {
    what,
    layer,
    linears,
    count: 24,
    min: -size,
    max: 90 * size,
    meanSquare: size,
    p99: size,
    p999: 2 * size,
    p9999: 80 * size,
    peak,
    outliers: [peak],
    outlierChannels: 1,
    histogram: { first: 0, counts: [24] },
    channels: { squares: [1, 1, 1], min: [-size, -size, 0], max: [size, size, 90 * size], peakToken: [0, 1, 5] },
  };
}

function profile(layers: number, size = 1): CalibrationProfile {
  const all = Array.from({ length: layers }, (_, layer) => layer);
  return {
    format: 1,
    kind: 'lutra calibration',
    model: { name: HOSTILE, layers, hidden: 3, cpuSha256: 'a'.repeat(64) },
    text: { files: [{ name: HOSTILE, bytes: 1234, sha256: 'b'.repeat(64) }], windows: 1, windowTokens: 8, tokens: 8 },
    sites: [
      ...all.flatMap((layer) => [
        site('input', layer, ['q', 'k', 'v'], size),
        site('input', layer, ['o'], size),
        site('input', layer, ['gate', 'up'], size),
        site('input', layer, ['down'], size),
        ...LINEAR_NAMES.map((name) => site('output', layer, [name], size)),
      ]),
      site('head', layers, [], size),
    ],
  };
}

/** Every element that is opened is closed, in order. */
function checkNesting(html: string): void {
  const open: string[] = [];
  for (const [, closing, name = '', selfClosed] of html.matchAll(/<(\/?)([a-z][\w]*)[^>]*?(\/?)>/g)) {
    if (selfClosed || name === 'meta') continue;
    if (!closing) open.push(name);
    else expect(open.pop()).toBe(name);
  }
  expect(open).toEqual([]);
}

const numbersOf = (html: string) => [...html.matchAll(/ (?:c?[xy][12]?|width|height)="([^"]*)"/g)].map(([, value]) => Number(value));

describe('profilePage', () => {
  const { spec } = tinyModel({ precision: { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a8', down: 'w8f16' } });
  const choice: NonNullable<NonNullable<ModelSpec['calibration']>['choice']> = {
    version: 1,
    goal: { maxKl: 0.015 },
    tokens: 100,
    cost: 1,
    table: [
      { setting: HOSTILE, kl: 0.01, top1: 0.9, perplexity: 12, int8Share: 1, repairPerToken: 1234 },
      { setting: 'all=w8a16', kl: 0.005, top1: 0.95, perplexity: 11, int8Share: 0, repairPerToken: 0 },
    ],
    unrepaired: [],
  };
  const chosen: ModelSpec = { ...spec, calibration: { text: 'x', textSha256: 'x', tokens: 8, method: 'recipe', choice } };

  it.each<[string, CalibrationProfile, ModelSpec | null]>([
    ['of a model that chose its precisions', profile(2), chosen],
    ['of a model without a choice', profile(2), spec],
    ['of a model for the CPU', profile(2), { ...spec, linears: {} }],
    ['without a model', profile(2), null],
    ['of one layer', profile(1), null],
    ['of many layers', profile(126), null],
    ['of a model of zeros', profile(2, 0), null],
    ['of a model with large values', profile(2, 1e30), null],
  ])('%s: markup that nests, finite places, no script, nothing from elsewhere', (_, made, model) => {
    const html = profilePage(made, model);
    checkNesting(html);
    expect(numbersOf(html).every(Number.isFinite)).toBe(true);
    expect(html).not.toMatch(/NaN|Infinity|undefined|<script|https?:|url\(|@import/);
    expect(html).toContain('prefers-color-scheme: dark');
    expect(html.match(/<svg /g)?.length).toBeGreaterThanOrEqual(15);
  });

  it('has the table of qualities, and the precision of every linear', () => {
    const html = profilePage(profile(2), chosen);
    for (const part of ['all=w8a16', '0.0100', '90.0 %', '1,234', 'KL asked for: 0.015']) expect(html).toContain(part);
    expect(html.match(/class="fill w8/g)).toHaveLength(spec.arch.layers * LINEAR_NAMES.length);
    expect(profilePage(profile(2), { ...chosen, calibration: null })).toContain('not chosen by measurement');
    expect(profilePage(profile(2), null)).toContain('no NPU weights');
  });
});

describe('axes', () => {
  it('hold every value and have few lines', () => {
    for (const values of [[1], [0.02, 300], [0, 5], [1e-9, 1e12], [0], [7e5]]) {
      const { at, ticks } = logAxis(values, 'x');
      expect(ticks.length).toBeGreaterThan(1);
      expect(ticks.length).toBeLessThan(9);
      for (const value of values) expect(at(value)).toBeGreaterThanOrEqual(8);
      for (const value of values) expect(at(value)).toBeLessThanOrEqual(166);
    }
    for (const to of [0.013, 1, 7, 29, 1000]) expect(niceTicks(to, 6).length).toBeLessThanOrEqual(7);
    expect(niceTicks(29, 6)).toEqual([0, 5, 10, 15, 20, 25]);
    expect(linearAxis(0.011, 'x').ticks).toHaveLength(3);
  });

  it('write figures', () => {
    expect([0, 1, 23456, 234_567, 0.0123456, 1e-7, -Math.PI].map(figure)).toEqual(['0', '1', '23,456', '2.3e5', '0.0123', '1e-7', '-3.14']);
    expect(asText('<a>\n\u0007')).toBe('&lt;a&gt;⏎·');
  });
});
