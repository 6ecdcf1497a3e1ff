/** Every way in which lutra.json can be inconsistent gives one typed error that names the entry. */
import { describe, expect, it } from 'vitest';
import { LutraError, type LutraErrorCode } from '../../../lib/graph/errors.js';
import type { LinearSpec, ModelSpec } from '../../../lib/graph/spec.js';
import { checkSpec } from '../../../lib/models/check-spec.js';
import { buildCalibrationPlan, buildPlan } from '../../../lib/models/registry.js';
import { tinyLinear, tinyModel } from '../../reference/tiny.js';

const DEFAULT = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a16' } as const;

function expectError(run: () => unknown, code: LutraErrorCode, message: RegExp): void {
  let error: unknown;
  try {
    run();
  } catch (thrown) {
    error = thrown;
  }
  expect(error).toBeInstanceOf(LutraError);
  if (!(error instanceof LutraError)) return;
  expect(error.code).toBe(code);
  expect(error.message).toMatch(message);
  expect(error.remedy).not.toBe('');
}

function spec(): ModelSpec {
  return tinyModel({ precision: DEFAULT }).spec;
}

function linear(of: ModelSpec, key: string): LinearSpec {
  const found = of.linears[key];
  if (found === undefined) throw new Error(`no ${key}`);
  return found;
}

type Broken = Record<string, [change: (spec: ModelSpec) => void, message: RegExp]>;

/** Lists of hot channels that cannot be. */
const brokenHot: Broken = {
  'hot channels of an input that is not repaired': [
    (s) => Object.assign(linear(s, 'layers.0.down'), { hot: 3 }),
    /layers\.0\.down has hot channels, but no repair of its input/,
  ],
  'more hot channels than there are': [
    (s) => Object.assign(linear(s, 'layers.0.o'), { hot: 65 }),
    /layers\.0\.o has 65 hot channels of 64/,
  ],
  'half a hot channel': [(s) => Object.assign(linear(s, 'layers.0.o'), { hot: 0.5 }), /layers\.0\.o has 0\.5 hot channels of 64/],
};

/** What a spec may not be, and what is said of it. */
const broken: Broken = {
  'a foreign format': [(s) => Object.assign(s, { format: 5 }), /format 5/],
  'a transform of another name': [(s) => Object.assign(s, { transform: 'reflect' }), /transform is 'reflect'/],
  'no transform': [(s) => Object.assign(s, { transform: undefined }), /transform is undefined/],
  'no layers': [(s) => Object.assign(s.arch, { layers: 0 }), /layers is 0/],
  'a fractional size': [(s) => Object.assign(s.arch, { ffn: 1.5 }), /ffn is 1.5/],
  'heads that do not divide': [(s) => Object.assign(s.arch, { kvHeads: 3 }), /4 heads do not divide into 3 KV heads/],
  'an odd head dimension': [(s) => Object.assign(s.arch, { headDim: 15 }), /headDim 15/],
  'no epsilon': [(s) => Object.assign(s.arch, { rmsEps: 0 }), /rmsEps/],
  'a NaN theta': [(s) => Object.assign(s.arch, { ropeTheta: Number.NaN }), /ropeTheta/],
  'a chunk of 0': [(s) => Object.assign(s, { chunk: 0 }), /chunk is 0/],
  'a missing tensor': [(s) => delete s.tensors['layers.1.up'], /tensor layers\.1\.up is missing/],
  'no lm_head though not tied': [(s) => Object.assign(s.arch, { tied: false }), /tensor lm_head is missing/],
  'no bias though it has one': [(s) => Object.assign(s.arch, { qkvBias: true }), /tensor layers\.0\.q\.bias is missing/],
  'no rotary factors though it has them': [(s) => Object.assign(s.arch, { ropeFactors: true }), /tensor rope_factors is missing/],
  'a wrong shape': [
    (s) => Object.assign(s.tensors['layers.0.down'] ?? {}, { shape: [160, 64] }),
    /layers\.0\.down is f32 \[160, 64\]; \[64, 160\]/,
  ],
  'a quantised norm gain': [(s) => Object.assign(s.tensors.norm ?? {}, { type: 'f16' }), /tensor norm is f16 .* f32 is expected/],
  'an unknown type': [(s) => Object.assign(s.tensors.embed ?? {}, { type: 'q5_0' }), /tensor embed is 'q5_0'/],
  'an order that is no text': [
    (s) => Object.assign(s.tensors['layers.0.o'] ?? {}, { type: 'w4g32', order: 3 }),
    /layers\.0\.o has the order 3/,
  ],
  'an order of a plain matrix': [
    (s) => Object.assign(s.tensors['layers.0.o'] ?? {}, { order: 'layers.0.o.order' }),
    /layers\.0\.o has the order 'layers\.0\.o\.order'/,
  ],
  'an order called after another matrix that has none': [
    (s) => Object.assign(s.tensors['layers.0.o'] ?? {}, { type: 'w4g32', order: 'layers.0.q.order' }),
    /layers\.0\.o has the order/,
  ],
  'an order of other columns': [
    (s) => {
      for (const name of ['layers.0.down', 'layers.0.o'])
        Object.assign(s.tensors[name] ?? {}, { type: 'w4g32', order: 'layers.0.down.order' });
    },
    /layers\.0\.o has the order/,
  ],
  'an order of the embedding': [
    (s) => Object.assign(s.tensors.embed ?? {}, { type: 'w4g32', order: 'embed.order' }),
    /embed has the order/,
  ],
  'a missing linear': [(s) => delete s.linears['layers.1.k'], /linear layers\.1\.k is missing/],
  'an unknown linear': [(s) => Object.assign(s.linears, { 'layers.2.q': linear(s, 'layers.1.q') }), /unknown linear layers\.2\.q/],
  'an unknown precision': [(s) => Object.assign(linear(s, 'layers.0.o'), { precision: 'w4a4' }), /unknown precision 'w4a4'/],
  'no input range': [(s) => Object.assign(linear(s, 'layers.0.o'), { input: null }), /layers\.0\.o: w8a8s input range is missing/],
  'no output range': [(s) => Object.assign(linear(s, 'layers.0.up'), { output: null }), /layers\.0\.up: w8a16 output range is missing/],
  'ranges on w8f16': [(s) => Object.assign(linear(s, 'layers.0.down'), { precision: 'w8f16' }), /w8f16 input range where there is none/],
  'an 8-bit range on w8a16': [
    (s) => Object.assign(linear(s, 'layers.0.down'), { input: { dtype: 'u8', scale: 1, offset: 0 } }),
    /w8a16 input range is 'u8'; allowed: u16/,
  ],
  'a 16-bit range on w8a8': [
    (s) => Object.assign(linear(s, 'layers.0.o'), { output: { dtype: 'u16', scale: 1, offset: 0 } }),
    /w8a8s output range is 'u16'; allowed: u8, s8/,
  ],
  'a zero scale': [(s) => Object.assign(linear(s, 'layers.0.o').input ?? {}, { scale: 0 }), /has scale 0/],
  'a scale that F32 cannot hold': [(s) => Object.assign(linear(s, 'layers.0.o').input ?? {}, { scale: 1e-60 }), /has scale 1e-60/],
  'an offset without zero': [
    (s) => Object.assign(linear(s, 'layers.0.o').output ?? {}, { offset: 3 }),
    /offset 3, so that u8 cannot hold zero/,
  ],
  'factors on w8a16': [(s) => Object.assign(linear(s, 'layers.0.down'), { factors: true }), /down has factors true, which w8a16/],
  'shadow on w8a16': [
    (s) => Object.assign(linear(s, 'layers.0.down'), { shadow: { input: true, output: false } }),
    /layers\.0\.down is flagged for shadow, which w8a16 cannot have/,
  ],
  'shadow on w8a8': [
    (s) => Object.assign(linear(s, 'layers.0.q'), { precision: 'w8a8' }),
    /layers\.0\.q is flagged for shadow, which w8a8 cannot have/,
  ],
  'shadowed gate': [(s) => Object.assign(s.linears, { 'layers.0.gate': tinyLinear('gate', 'w8a8s') }), /gate and up have no repair/],
  'w8a8s without input repair': [
    (s) => Object.assign(linear(s, 'layers.0.v'), { shadow: { input: false, output: true } }),
    /without input repair/,
  ],
  'output repair of o': [
    (s) => Object.assign(linear(s, 'layers.0.o').shadow, { output: true }),
    /layers\.0\.o is flagged for output repair/,
  ],
  'a shadowed linear in layout fc': [
    (s) => Object.assign(linear(s, 'layers.0.q'), { layout: 'fc' }),
    /layers\.0\.q is shadowed and must have layout conv/,
  ],
  'w8f16 in layout conv': [
    (s) => Object.assign(s.linears, { 'layers.0.down': { ...tinyLinear('down', 'w8f16'), layout: 'conv' } }),
    /w8f16 has layout fc only/,
  ],
  'an unknown layout': [(s) => Object.assign(linear(s, 'layers.0.up'), { layout: 'nchw' }), /layout 'nchw'/],
  'q and k with different inputs': [
    (s) => Object.assign(linear(s, 'layers.1.k').input ?? {}, { scale: 0.25 }),
    /linears q, k, v of layer 1 read one tensor but differ/,
  ],
  'gate and up with different types': [
    (s) => Object.assign(s.linears, { 'layers.0.up': tinyLinear('up', 'w8a8') }),
    /linears gate, up of layer 0/,
  ],
};

describe('checkSpec', () => {
  it('accepts consistent models', () => {
    checkSpec(spec());
    checkSpec(tinyModel().spec);
    for (const precision of ['w8a8', 'w8a16', 'w8f16'] as const)
      checkSpec(tinyModel({ precision: { qkv: precision, o: precision, gateup: precision, down: precision } }).spec);
  });

  for (const [name, [change, message]] of Object.entries({ ...broken, ...brokenHot })) {
    it(`refuses ${name}`, () => {
      const changed = structuredClone(spec());
      change(changed);
      expectError(() => checkSpec(changed), 'LUTRA_BAD_FILE', message);
      expectError(() => buildPlan(changed, { mode: 'npu', contextSize: 16 }), 'LUTRA_BAD_FILE', message);
    });
  }

  it('refuses packed weights whose columns are no multiple of 32', () => {
    expectError(
      () => checkSpec(tinyModel({ type: 'q4_0', arch: { ffn: 48 } }).spec),
      'LUTRA_BAD_FILE',
      /layers\.0\.down is q4_0 \[64, 48\]; columns must be a multiple of 32/,
    );
    checkSpec(tinyModel({ type: 'f16', arch: { ffn: 48 } }).spec);
  });
});

describe('the record of a choice', () => {
  const choice = { version: 1, goal: { maxKl: 0.015 }, tokens: 2048, cost: 1.1, table: [], unrepaired: [] };
  const withChoice = (wrong: object) => (s: ModelSpec) => {
    const calibration = { text: 'a.txt', textSha256: '', tokens: 4096, method: 'recipe', choice: { ...choice, ...wrong } };
    Object.assign(s, { calibration });
  };

  it('takes a record of how precisions were chosen', () => {
    const chosen = spec();
    withChoice({ table: [{ setting: 'chosen', kl: 0.01, top1: 0.9, perplexity: 30, int8Share: 1, repairPerToken: 0 }] })(chosen);
    checkSpec(chosen);
  });

  const broken: Record<string, [(s: ModelSpec) => void, RegExp]> = {
    'a choice of another version': [withChoice({ version: 2 }), /calibration\.choice has version 2/],
    'a choice without a goal': [withChoice({ goal: {} }), /goal is undefined/],
    'a choice without a table': [withChoice({ table: {} }), /table is \{\}, not a list/],
    'a choice with a row that is none': [withChoice({ table: [7] }), /row of calibration\.choice\.table is 7/],
    'a choice with a KL that is none': [withChoice({ table: [{ setting: 'chosen', kl: null }] }), /kl of 'chosen' is null/],
    'a choice with a nameless setting': [withChoice({ table: [{ setting: 3 }] }), /a setting is called 3/],
    'a choice without its cost': [withChoice({ cost: 'dear' }), /cost is 'dear'/],
    'a choice that lists no linears': [withChoice({ unrepaired: [1] }), /unrepaired is \[1\]/],
  };
  for (const [name, [change, message]] of Object.entries(broken)) {
    it(`refuses ${name}`, () => {
      const changed = spec();
      change(changed);
      expectError(() => checkSpec(changed), 'LUTRA_BAD_FILE', message);
    });
  }
});

describe('options', () => {
  const wrong: Record<string, [() => unknown, LutraErrorCode, RegExp]> = {
    'a context longer than the model has': [
      () => buildPlan(spec(), { mode: 'cpu', contextSize: 129 }),
      'LUTRA_INVALID_ARGUMENT',
      /contextSize is 129/,
    ],
    'a context of 0': [() => buildPlan(spec(), { mode: 'cpu', contextSize: 0 }), 'LUTRA_INVALID_ARGUMENT', /contextSize is 0/],
    'a fractional chunk': [() => buildPlan(spec(), { mode: 'cpu', contextSize: 8, chunk: 2.5 }), 'LUTRA_INVALID_ARGUMENT', /chunk is 2.5/],
    'calibration on the NPU': [
      () => buildPlan(spec(), { mode: 'npu', contextSize: 8, calibrate: 'inputs' }),
      'LUTRA_INVALID_ARGUMENT',
      /mode npu/,
    ],
    'an NPU plan without NPU weights': [
      () => buildPlan(tinyModel().spec, { mode: 'npu', contextSize: 8 }),
      'LUTRA_UNSUPPORTED',
      /no NPU weights/,
    ],
    'an unknown family': [
      () => buildPlan(tinyModel({ arch: { family: 'mamba' } }).spec, { mode: 'cpu', contextSize: 8 }),
      'LUTRA_UNSUPPORTED',
      /mamba/,
    ],
    'no architecture': [
      () => {
        const { arch: _, ...rest } = tinyModel().spec;
        return buildPlan(rest as ModelSpec, { mode: 'cpu', contextSize: 8 });
      },
      'LUTRA_BAD_FILE',
      /arch/,
    ],
  };
  for (const [name, [run, code, message]] of Object.entries(wrong)) it(`refuse ${name}`, () => expectError(run, code, message));

  it('let calibration go ahead without output ranges, but not with ranges that disagree', () => {
    const pending = spec();
    for (const entry of Object.values(pending.linears)) entry.output = null;
    expect(buildCalibrationPlan(pending, { contextSize: 8, calibrate: 'outputs' }).sites.length).toBeGreaterThan(20);
    linear(pending, 'layers.0.k').input = null;
    expectError(() => buildCalibrationPlan(pending, { contextSize: 8, calibrate: 'outputs' }), 'LUTRA_BAD_FILE', /differ in its range/);
  });
});
