import { describe, expect, it } from 'vitest';
import { type CalibrationEngine, type CalibrationOptions, calibrate, type Setting, settingsOf } from '../../../lib/calibrate/index.js';
import { channelFactors, chooseRange, signedRange, unsignedRange } from '../../../lib/calibrate/ranges.js';
import { BINS, binOf, binStart, SITE_VALUES, SiteStatistics } from '../../../lib/calibrate/statistics.js';
import { decodePlan } from '../../../lib/graph/index.js';
import type { ModelSpec, QuantRange } from '../../../lib/graph/spec.js';
import { buildCalibrationPlan, checkSpec } from '../../../lib/models/index.js';
import { Random } from '../../reference/random.js';
import { tinyModel } from '../../reference/tiny.js';

/** The site of ones and zeros, so many ones in each column. */
function clips(counts: readonly number[]): Float64Array {
  const out = new Float64Array(SITE_VALUES + 4 * counts.length);
  out[0] = 1000;
  out.set(counts, SITE_VALUES);
  return out;
}

/** A site as an `observe` step counts it. */
function site(values: Iterable<number>): Float64Array {
  const out = new Float64Array(SITE_VALUES);
  out[1] = Number.POSITIVE_INFINITY;
  out[2] = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    const x = Math.fround(value);
    out[0]! += 1;
    out[1] = Math.min(out[1]!, x);
    out[2] = Math.max(out[2]!, x);
    out[3]! += x * x;
    const bits = new Uint32Array(Float32Array.of(Math.abs(x)).buffer)[0] ?? 0;
    out[4 + Math.min(Math.max((bits >> 16) - (97 << 7), 0), 7679)]! += 1;
  }
  return out;
}

describe('SiteStatistics', () => {
  it('has 128 bins an octave from 2^-30 on', () => {
    expect(BINS).toBe(60 * 128);
    expect(binStart(0)).toBe(0);
    expect(binStart(128)).toBe(2 ** -29);
    expect(binStart(30 * 128)).toBe(1);
    expect(binStart(30 * 128 + 64)).toBe(1.5);
    expect(binOf(-1.5)).toBe(30 * 128 + 64);
    expect([binOf(0), binOf(1e-20), binOf(1e30), binOf(Number.POSITIVE_INFINITY)]).toEqual([0, 0, BINS - 1, BINS - 1]);
    const random = new Random(3);
    for (let i = 0; i < 2000; i++) {
      const value = random.normal() * 2 ** (random.below(50) - 25);
      const bin = binOf(value);
      expect(Math.abs(value)).toBeGreaterThanOrEqual(binStart(bin));
      expect(Math.abs(value)).toBeLessThan(binStart(bin + 1));
    }
  });

  it.each([
    ['normal', (random: Random) => random.normal()],
    ['heavy tailed', (random: Random) => random.normal() / Math.max(random.uniform(), 1e-4)],
    ['one-sided', (random: Random) => random.uniform() ** 3],
  ])('finds percentiles of %s data to a bin', (_, draw) => {
    const random = new Random(7);
    const values = Float32Array.from({ length: 50_000 }, () => draw(random));
    const statistics = new SiteStatistics(site(values), 'x');
    const sorted = values.map(Math.abs).sort();
    for (const p of [0.01, 0.5, 0.9, 0.98, 0.995, 0.999, 0.9999, 1]) {
      const exact = sorted[Math.min(Math.ceil(p * sorted.length) - 1, sorted.length - 1)] ?? 0;
      expect(Math.abs(statistics.percentile(p) / exact - 1), `p ${p}`).toBeLessThan(1 / 100);
      const above = sorted.filter((value) => value > exact).length;
      const width = sorted.filter((value) => binOf(value) === binOf(exact)).length;
      expect(Math.abs(statistics.countAbove(exact) - above)).toBeLessThanOrEqual(width);
    }
    expect(statistics.percentile(1)).toBe(sorted.at(-1));
    expect(statistics.largest).toBe(sorted.at(-1));
    expect(statistics.countAbove(sorted.at(-1)! * 2)).toBe(0);
    expect(statistics.meanSquare).toBeCloseTo(values.reduce((sum, value) => sum + value * value, 0) / values.length, 3);
  });

  it('refuses nothing, and values that are not finite', () => {
    expect(() => new SiteStatistics(new Float64Array(SITE_VALUES), 'x')).toThrow(expect.objectContaining({ code: 'LUTRA_INTERNAL' }));
    expect(() => new SiteStatistics(new Float64Array(10).fill(1), 'x')).toThrow(expect.objectContaining({ code: 'LUTRA_INTERNAL' }));
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const values = site([1, 2]);
      values[2] = bad;
      expect(() => new SiteStatistics(values, 'input of layer 3')).toThrow(/input of layer 3/);
    }
  });
});

describe('ranges', () => {
  const real = (q: number, { scale, offset }: QuantRange) => (q + offset) * scale;

  it('hold zero exactly and both ends to half a step', () => {
    const random = new Random(11);
    for (let i = 0; i < 500; i++) {
      const [low, high] = [random.normal() * 10, random.normal() * 10].sort((a, b) => a - b) as [number, number];
      for (const dtype of ['u8', 'u16'] as const) {
        const range = unsignedRange(dtype, low, high);
        const top = dtype === 'u8' ? 255 : 65535;
        expect(Number.isInteger(range.offset) && range.offset <= 0 && range.offset >= -top).toBe(true);
        expect(Object.is(range.offset, -0)).toBe(false);
        expect(Math.abs(real(0, range) - Math.min(low, 0))).toBeLessThanOrEqual(range.scale * 0.501);
        expect(Math.abs(real(top, range) - Math.max(high, 0))).toBeLessThanOrEqual(range.scale * 0.51);
        expect(Math.fround(range.scale)).toBe(range.scale);
      }
    }
    expect(signedRange(127)).toEqual({ dtype: 's8', scale: 1, offset: 0 });
    expect(unsignedRange('u8', 0, 0).scale).toBeGreaterThan(0);
    expect(signedRange(0).scale).toBeGreaterThan(0);
  });

  it('follow their rules', () => {
    const values = [...Array.from({ length: 990 }, (_, i) => (i % 2 ? 1 : -1) * (i / 990)), 50, -20, 30, 40, 25, 26, 27, 28, 29, 31];
    const statistics = new SiteStatistics(site(values), 'x');
    expect(chooseRange(statistics, { dtype: 'u8' }).scale).toBeCloseTo(70 / 255, 5);
    expect(chooseRange(statistics, { dtype: 'u16', margin: 1.1 }).scale).toBeCloseTo(77 / 65535, 7);
    expect(chooseRange(statistics, { dtype: 's8', share: 0.99 }).scale).toBeCloseTo(1 / 127, 3);
    expect(chooseRange(statistics, { dtype: 's8', share: 0.5 }).scale).toBeCloseTo(0.5 / 127, 3);
    expect(chooseRange(statistics, { dtype: 'u8', share: 0.99 }).scale).toBeCloseTo(2 / 255, 3);
    expect(chooseRange(statistics, { dtype: 'u8', floor: -8 }).scale).toBeCloseTo(58 / 255, 5);
    expect(chooseRange(statistics, { dtype: 'u8', floor: -800 }).scale).toBeCloseTo(70 / 255, 5);
  });
});

describe('ranges of least error', () => {
  /** Mean square error of the values under an encoding, computed value by value. */
  function errorOf(values: readonly number[], { scale, offset }: QuantRange): number {
    const error = (x: number) => (Math.min(255, Math.max(0, Math.round(x / scale) - offset)) + offset) * scale - x;
    return values.reduce((sum, x) => sum + error(x) ** 2, 0) / values.length;
  }

  it.each([
    ['both signs', 1, (random: Random) => random.normal()],
    ['one sign', 1, (random: Random) => Math.abs(random.normal())],
    ['heavy tails', 0.97, (random: Random) => random.normal() * Math.exp(random.normal())],
  ])('%s: no range that was tried is better by more than a fifth, which is what magnitudes without signs cost', (_, ofWhole, draw) => {
    const random = new Random(5);
    const values = Array.from({ length: 20_000 }, () => draw(random));
    const statistics = new SiteStatistics(site(values), 'x');
    const best = errorOf(values, chooseRange(statistics, { dtype: 'u8', leastError: true }));
    const ratios = Array.from({ length: 60 }, (_, i) => 2 ** (-0.1 * i));
    const all = ratios.map((r) => errorOf(values, unsignedRange('u8', statistics.min * r, statistics.max * r)));
    expect(best).toBeLessThan(1.2 * Math.min(...all));
    expect(best).toBeLessThanOrEqual(ofWhole * (all[0] ?? 0));
  });

  it('counts what is cut off', () => {
    const statistics = new SiteStatistics(site([-1, 2, 8]), 'x');
    expect(statistics.clippingError(-1, 4)).toBeCloseTo(16 / 3, 0);
    expect(statistics.clippingError(-2, 9)).toBe(0);
  });
});

describe('factors of channels', () => {
  const values = [...Array.from({ length: 1000 }, (_, i) => Math.sin(i)), 64];
  const statistics = new SiteStatistics(
    Float64Array.from([...site(values), ...[1, 1, 1], ...[-1, -1, 0], ...[64, 0, 0], ...[1000, 0, 0]]),
    'x',
  );
  const rule = { dtype: 'u8', channels: { margin: 1.25, least: 0.125 } } as const;

  it('cover each column with a margin, and none less than a share of the largest', () => {
    const small = new SiteStatistics(Float64Array.from([...site([1, -2]), ...[1, 4], ...[1, -2], ...[1, -2], ...[0, 0]]), 'x');
    expect([...(channelFactors(small, rule) ?? [])]).toEqual([1.25, 2.5]);
    expect([...(channelFactors(statistics, rule) ?? [])]).toEqual([80, 8, 8]);
  });

  it('are for rules that want some', () => {
    expect(channelFactors(statistics, { dtype: 'u8' })).toBeNull();
  });
});

/** One setting. */
const given = (precision: Setting['precision'], method: 'recipe' | 'max' = 'recipe') => settingsOf(method, 'none', precision);

/** What the first setting gives. */
async function linearsOf(options: CalibrationOptions): Promise<ModelSpec['linears']> {
  return (await calibrate(options)).chosen[0]?.linears ?? {};
}

interface Fake {
  events: string[];
  options: CalibrationOptions;
}

/** Inputs of a layer spread over [−8, 8] with a spike at 100; outputs over [−4, 4] with one at 50; clipped ones without it. */
function fake(overrides: Partial<CalibrationOptions> = {}, spoil?: (pass: number, engine: CalibrationEngine) => void): Fake {
  const { spec } = tinyModel({ precision: null });
  const events: string[] = [];
  const random = new Random(13);
  const spread = (size: number, spike: number[]) =>
    site([...Array.from({ length: 20_000 }, () => (random.uniform() * 2 - 1) * size), ...spike]);
  const seen = {
    input: spread(8, [100]),
    output: spread(4, [50]),
    clippedOutput: spread(4, []),
    rotatedInput: spread(8, []),
    head: spread(2, []),
    clips: clips([2, 90, 0, 7]),
  };
  let pass = 0;
  const options: CalibrationOptions = {
    spec,
    files: ['/model/cpu.safetensors'],
    tokens: Array.from({ length: 100 }, (_, i) => i % 90),
    windows: 3,
    windowTokens: 16,
    settings: given({ qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a16' }),
    threads: 1,
    addon: {
      openEngine: async ({ plan, files, npu }) => {
        pass++;
        const mode = decodePlan(plan).programs.some(({ steps }) => steps.some(({ op }) => op === 'quantize')) ? 'outputs' : 'inputs';
        events.push(`open ${mode} ${files.join()} ${npu.kind}`);
        const { sites } = buildCalibrationPlan(pass === 1 ? { ...spec, linears: {} } : { ...spec, linears: lastLinears(options) }, {
          contextSize: 16,
          chunk: 16,
          calibrate: mode,
        });
        const engine: CalibrationEngine = {
          prefill: async (tokens, logits, program) => {
            events.push(`prefill ${tokens[0]}+${tokens.length} ${logits} ${program}`);
            return new Float32Array();
          },
          truncate: (length) => events.push(`truncate ${length}`),
          observations: () => sites.map(({ what }) => seen[what]),
          restoreObservations: () => {},
          stop: () => events.push('stop'),
          dispose: async () => {
            events.push('dispose');
          },
        };
        spoil?.(pass, engine);
        return engine;
      },
    },
    ...overrides,
  };
  return { events, options };
}

/** Any ranges will do to find out the order of the sites. */
function lastLinears(options: CalibrationOptions): ModelSpec['linears'] {
  const range: QuantRange = { dtype: 's8', scale: 1, offset: 0 };
  const names = (['q', 'k', 'v', 'o', 'down'] as const).filter(
    (name) => options.settings[0]?.precision[name === 'o' || name === 'down' ? name : 'qkv'] === 'w8a8s',
  );
  return Object.fromEntries(
    Array.from({ length: options.spec.arch.layers }, (_, layer) =>
      names.map((name) => [
        `layers.${layer}.${name}`,
        { precision: 'w8a8s' as const, input: range, output: null, shadow: { input: true, output: false }, layout: 'conv' as const },
      ]),
    ).flat(),
  );
}

describe('calibrate', () => {
  it('runs two passes, each window with an empty cache, and measures shadowed outputs on the clipped input', async () => {
    const { events, options } = fake();
    const progress: string[] = [];
    const [chosen] = (await calibrate({ ...options, onProgress: (done, total) => progress.push(`${done}/${total}`) })).chosen;
    const { linears = {}, hot } = chosen ?? {};
    const windows = [
      'truncate 0',
      'prefill 0+16 none cpu',
      'truncate 0',
      'prefill 16+16 none cpu',
      'truncate 0',
      'prefill 32+16 none cpu',
      'dispose',
    ];
    expect(events).toEqual(['open inputs /model/cpu.safetensors none', ...windows, 'open outputs /model/cpu.safetensors none', ...windows]);
    expect(progress).toEqual(['1/6', '2/6', '3/6', '4/6', '5/6', '6/6']);
    checkSpec({ ...options.spec, linears });
    const q = linears['layers.1.q'];
    expect(q).toMatchObject({
      precision: 'w8a8s',
      layout: 'conv',
      input: { dtype: 's8' },
      output: { dtype: 'u8' },
      shadow: { input: true },
    });
    expect(hot?.get('layers.1.o')).toEqual(Uint32Array.of(1));
    expect([...(hot?.keys() ?? [])].filter((key) => key.endsWith('.down'))).toEqual([]);
    // The spikes at 100 and 50 must not set the steps.
    expect(q?.input?.scale).toBeLessThan(8.1 / 127);
    expect(q?.output?.scale).toBeLessThan(10.5 / 255);
    expect(linears['layers.1.down']?.input?.scale).toBeCloseTo((108 * 1.1) / 65535, 4);
    expect(linears['layers.0.gate']?.output?.scale).toBeCloseTo((54 * 1.1) / 65535, 4);
  });

  it('needs one pass without shadows, and none without ranges', async () => {
    const one = fake({ settings: given({ qkv: 'w8a16', o: 'w8a8', gateup: 'w8a8', down: 'w8f16' }) });
    const linears = await linearsOf(one.options);
    expect(one.events.filter((event) => event.startsWith('open'))).toEqual(['open inputs /model/cpu.safetensors none']);
    checkSpec({ ...one.options.spec, linears });
    expect(linears['layers.0.gate']?.output?.scale).toBeCloseTo(54 / 255, 2);
    expect(linears['layers.0.down']).toMatchObject({ precision: 'w8f16', input: null, output: null, layout: 'fc' });
    const none = fake({ settings: given({ qkv: 'w8f16', o: 'w8f16', gateup: 'w8f16', down: 'w8f16' }), tokens: [] });
    checkSpec({ ...none.options.spec, linears: await linearsOf(none.options) });
    expect(none.events).toEqual([]);
  });

  it('takes minimum and maximum of everything with method max', async () => {
    const { options } = fake({ settings: given({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8a8' }, 'max') });
    const linears = await linearsOf(options);
    for (const linear of Object.values(linears)) {
      expect(linear.input?.scale).toBeCloseTo(108 / 255, 3);
      expect(linear.output?.scale).toBeCloseTo(54 / 255, 3);
      expect(linear).toMatchObject({ precision: 'w8a8', shadow: { input: false, output: false }, layout: 'fc', input: { dtype: 'u8' } });
    }
  });

  it('calibrates several settings at once, those with the same repairs in one second pass', async () => {
    const repaired = given({ qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a8', down: 'w8a8' });
    const { events, options } = fake({
      settings: [...repaired, ...given({ qkv: 'w8a16', o: 'w8a16', gateup: 'w8a16', down: 'w8a16' }), ...repaired],
    });
    const { chosen } = await calibrate(options);
    expect(events.filter((event) => event.startsWith('open'))).toHaveLength(2);
    expect(chosen).toHaveLength(3);
    expect(chosen[2]).toEqual(chosen[0]);
    expect(chosen[1]?.linears['layers.0.q']?.precision).toBe('w8a16');
    for (const { linears } of chosen) checkSpec({ ...options.spec, linears });
  });

  it('names linears that clip what was seen and are not repaired', async () => {
    const clips = async (settings: CalibrationOptions['settings']) => (await calibrate(fake({ settings }).options)).chosen[0]?.unrepaired;
    expect(await clips(given({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8a8' }, 'max'))).toEqual(new Set());
    const repaired = await clips(given({ qkv: 'w8a8s', o: 'w8a16', gateup: 'w8a8', down: 'w8a16' }));
    expect(repaired).toEqual(new Set());
    const [{ recipe } = { recipe: null }] = given({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8', down: 'w8a8' });
    const cut = { input: { dtype: 'u8', share: 0.99 }, output: { dtype: 'u8' }, shadow: { input: false, output: false } } as const;
    const pruned = recipe && { ...recipe, down: { ...recipe.down, w8a8: cut } };
    const precision = { qkv: 'w8a16', o: 'w8a16', gateup: 'w8a16', down: 'w8a8' } as const;
    expect(await clips(pruned ? [{ precision, recipe: pruned }] : [])).toEqual(new Set(['layers.0.down', 'layers.1.down']));
  });

  it('gives the second moments of the inputs, with ranges and without', async () => {
    const columns = [1, 4, 0, 16];
    const observing = (overrides: Partial<CalibrationOptions>) =>
      fake({ moments: true, ...overrides }, (_, engine) => {
        const { observations } = engine;
        engine.observations = () =>
          observations().map((site) =>
            Float64Array.from([...site, ...columns.map((square) => square * ((site[0] ?? 0) / 4)), ...columns, ...columns, ...columns]),
          );
      });
    const both = observing({});
    const { chosen, moments } = await calibrate(both.options);
    checkSpec({ ...both.options.spec, linears: chosen[0]?.linears ?? {} });
    const alone = observing({ settings: [] });
    const without = await calibrate(alone.options);
    expect(without.chosen).toEqual([]);
    expect(without.moments).toEqual(moments);
    expect(alone.events.filter((event) => event.startsWith('open'))).toEqual(['open inputs /model/cpu.safetensors none']);
    const [first, second, third, fourth] = moments.get('layers.1.down') ?? [];
    expect([first, second, fourth]).toEqual([1, 4, 16]);
    expect(moments.get('embed')?.[3]).toBe(16); // lm_head is the embedding
    expect(moments.has('lm_head')).toBe(false);
    expect(third).toBeGreaterThan(0); // a column that was never used still has to have some weight
    expect(third).toBeLessThan(1);
  });

  it('uses what the text has, and says when that is too little', async () => {
    const { events, options } = fake({ windows: 50 });
    const totals = new Set<number>();
    await calibrate({ ...options, onProgress: (_, total) => totals.add(total) });
    expect(events.filter((event) => event.startsWith('prefill'))).toHaveLength(12);
    expect([...totals]).toEqual([12]);
    for (const wrong of [{ tokens: [1, 2, 3] }, { windows: 0 }, { windows: 1.5 }, { windowTokens: 100_000 }]) {
      await expect(calibrate({ ...options, ...wrong })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    }
    await expect(
      calibrate({ ...options, settings: given({ qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8s', down: 'w8a8' }) }),
    ).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
    });
  });

  it('frees the engine when a pass fails or is aborted', async () => {
    const failing = fake({}, (_, engine) => {
      engine.prefill = () => Promise.reject(new Error('no'));
    });
    await expect(calibrate(failing.options)).rejects.toThrow('no');
    expect(failing.events.at(-1)).toBe('dispose');
    const controller = new AbortController();
    const aborted = fake({ signal: controller.signal }, (pass, engine) => {
      if (pass === 2) engine.truncate = () => controller.abort(new Error('enough'));
    });
    await expect(calibrate(aborted.options)).rejects.toThrow('enough');
    expect(aborted.events).toContain('stop');
    expect(aborted.events.at(-1)).toBe('dispose');
    const infinite = fake({}, (_, engine) => {
      const bad = new Float64Array(SITE_VALUES);
      bad.set([5, Number.NEGATIVE_INFINITY, 1, 1]);
      engine.observations = () => Array.from({ length: 500 }, () => bad);
    });
    await expect(calibrate(infinite.options)).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
  });
});
