import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CalibrationEngine } from '../../../lib/calibrate/index.js';
import { SITE_VALUES } from '../../../lib/calibrate/statistics.js';
import type { TrialEngine } from '../../../lib/choose/trials.js';
import { type ConvertOptions, convertModel } from '../../../lib/convert/index.js';
import { DEFAULT_PRECISION, parsePrecision } from '../../../lib/convert/precision.js';
import { interleavedRow } from '../../../lib/convert/rows.js';
import { DTYPES } from '../../../lib/graph/dtype.js';
import type { ModelSpec } from '../../../lib/graph/spec.js';
import { buildPlan, checkSpec } from '../../../lib/models/index.js';
import { foldS8, widen } from '../../reference/fold.js';
import { dequantizePacked, packGgml } from '../../reference/ggml.js';
import { TINY, type TinyGgufOptions, tinyGguf } from './tiny-gguf.js';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'convert-'));
});
afterEach(() => rmSync(root, { recursive: true }));

/** An engine whose every site saw numbers between −2 and 3. */
function fakeEngine(): CalibrationEngine & TrialEngine {
  const site = new Float64Array(SITE_VALUES);
  site.set([100, -2, 3, 100]);
  site[4 + 3900] = 100;
  return {
    prefill: async () => new Float32Array(),
    truncate: () => {},
    observations: () => Array.from({ length: 200 }, () => site),
    restoreObservations: () => {},
    peek: onlyNative,
    timings: onlyNative,
    stop: () => {},
    dispose: async () => {},
  };
}

function onlyNative(): never {
  throw new Error('tests of low-bit weights and of choosing precisions have the real addon');
}

const addon: ConvertOptions['addon'] = {
  packGgml,
  dequantizePacked,
  widen,
  foldS8,
  packLowBit: onlyNative,
  quantizeLowBit: onlyNative,
  compareLogits: onlyNative,
  openEngine: async () => fakeEngine(),
};

function write(options: TinyGgufOptions = {}) {
  const tiny = tinyGguf(options);
  writeFileSync(join(root, 'tiny.gguf'), tiny.bytes());
  writeFileSync(join(root, 'text.txt'), 'hello world, the old world. '.repeat(40));
  return tiny;
}

function convert(options: Partial<ConvertOptions> = {}): Promise<ModelSpec> {
  return convertModel({
    input: join(root, 'tiny.gguf'),
    output: join(root, 'model'),
    addon,
    calibrationText: join(root, 'text.txt'),
    calibrationWindowTokens: 32,
    calibrationWindows: 4,
    precision: DEFAULT_PRECISION,
    transform: 'none',
    ...options,
  });
}

/** The tensors of a safetensors file by name. */
function tensorsOf(file: string): Map<string, { dtype: string; shape: number[]; data: Buffer }> {
  const bytes = readFileSync(file);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const table = JSON.parse(bytes.subarray(8, start).toString('utf8')) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return new Map(
    Object.entries(table).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, { dtype, shape, data: Buffer.from(bytes.subarray(start + from, start + to)) }],
    ),
  );
}

function floats(data: Buffer): Float32Array {
  return new Float32Array(Uint8Array.from(data).buffer);
}

const GGUF_NAMES: Record<string, string> = {
  q: 'attn_q',
  k: 'attn_k',
  v: 'attn_v',
  o: 'attn_output',
  gate: 'ffn_gate',
  up: 'ffn_up',
  down: 'ffn_down',
};

describe('convertModel', () => {
  it('keeps every value, in the original row order, for every storage', async () => {
    const tiny = write({ storages: ['q4_0', 'q4_1', 'q8_0', 'f32', 'f16', 'bf16'], tied: false, ropeFreqs: true });
    const spec = await convert({ precision: null });
    checkSpec(spec);
    const tensors = tensorsOf(join(root, 'model/cpu.safetensors'));
    expect(readdirSync(join(root, 'model')).sort()).toEqual([
      'config.json',
      'cpu.safetensors',
      'lutra.json',
      'tokenizer.json',
      'tokenizer_config.json',
    ]);
    expect(spec.arch).toMatchObject({ tied: false, ropeFactors: true, ropeInterleaved: false, rmsEps: 1e-5, vocab: 271, qkvBias: false });
    const seen = new Set<string>();
    const stored = (name: string): Float32Array => {
      const found = tensors.get(name);
      const { type, shape } = spec.tensors[name] ?? { type: 'f32', shape: [] };
      seen.add(type);
      if (!found) throw new Error(`no ${name}`);
      const { code } = DTYPES[type];
      if (code >= 16) return dequantizePacked(code, found.data, shape[0] ?? 0, shape[1] ?? 0);
      if (type === 'f32') return floats(found.data);
      return Float32Array.from(new Uint16Array(Uint8Array.from(found.data).buffer), (half) => {
        const sign = half & 0x8000 ? -1 : 1;
        return half & 0x7c00 ? sign * (1 + (half & 1023) / 1024) * 2 ** (((half >> 10) & 31) - 15) : (sign * (half & 1023)) / 2 ** 24;
      });
    };
    const source = (name: string) => tiny.tensors.find((tensor) => tensor.name === name)?.values ?? new Float32Array();
    expect(stored('embed')).toEqual(source('token_embd.weight'));
    expect(stored('lm_head')).toEqual(source('output.weight'));
    expect(stored('rope_factors')).toEqual(source('rope_freqs.weight'));
    expect(stored('norm')).toEqual(source('output_norm.weight'));
    for (let layer = 0; layer < TINY.layers; layer++) {
      for (const [name, gguf] of Object.entries(GGUF_NAMES)) {
        const want = source(`blk.${layer}.${gguf}.weight`);
        const found = stored(`layers.${layer}.${name}`);
        expect(found).toHaveLength(want.length);
        expect(found.some((value) => value !== 0)).toBe(true);
        const cols = spec.tensors[`layers.${layer}.${name}`]?.shape[1] ?? 0;
        const moved = name === 'q' || name === 'k';
        found.forEach((value, i) => {
          const row = Math.floor(i / cols);
          const from = moved ? interleavedRow(row, TINY.headDim) : row;
          if (value !== want[from * cols + (i % cols)]) throw new Error(`layers.${layer}.${name}: element ${i} is ${value}`);
        });
      }
    }
    expect([...seen].sort()).toEqual(['f16', 'f32', 'q4_0', 'q4_1', 'q8_0']);
  });

  it('writes S8 weights in the layout of each linear, and a spec that builds plans', async () => {
    const tiny = write({ storages: ['q8_0', 'f32'] });
    const progress = new Set<string>();
    const spec = await convert({ onProgress: ({ stage, done, total }) => progress.add(`${stage} ${done === total}`) });
    expect([...progress]).toEqual(expect.arrayContaining(['hash true', 'cpu weights true', 'calibration true', 'npu weights true']));
    expect(JSON.parse(readFileSync(join(root, 'model/lutra.json'), 'utf8'))).toEqual({ ...spec, checksum: expect.any(String) });
    expect(buildPlan(spec, { mode: 'npu', contextSize: 64 }).programs.map(({ name }) => name)).toContain('npu');
    expect(spec.linears['layers.1.q']).toMatchObject({ precision: 'w8a8s', layout: 'conv', shadow: { input: true } });
    expect(spec.linears['layers.1.up']).toMatchObject({ precision: 'w8a16', layout: 'fc', input: { dtype: 'u16' } });
    expect(spec.calibration).toMatchObject({ text: 'text.txt', tokens: 128, method: 'recipe' });
    const tensors = tensorsOf(join(root, 'model/npu.safetensors'));
    expect(tensors.get('zeros.f16')).toMatchObject({ dtype: 'F16', shape: [TINY.hidden], data: Buffer.alloc(2 * TINY.hidden) });
    for (const [name, layout] of [
      ['q', 'conv'],
      ['o', 'conv'],
      ['gate', 'fc'],
      ['down', 'fc'],
    ] as const) {
      const w8 = tensors.get(`layers.1.${name}.w8`);
      const scales = floats(tensors.get(`layers.1.${name}.scale`)?.data ?? Buffer.alloc(0));
      const source = tiny.tensors.find((tensor) => tensor.name === `blk.1.${GGUF_NAMES[name]}.weight`);
      const [cols = 0, rows = 0] = source?.ne ?? [];
      expect(w8?.shape).toEqual(layout === 'conv' ? [1, 1, cols, rows] : [rows, cols]);
      for (let row = 0; row < rows; row++) {
        const from = name === 'q' ? interleavedRow(row, TINY.headDim) : row;
        const values = source?.values.subarray(from * cols, (from + 1) * cols) ?? new Float32Array();
        const largest = Math.max(...values.map(Math.abs));
        expect(scales[row]).toBe(Math.fround(largest / 127));
        for (let col = 0; col < cols; col++) {
          const code = w8?.data.readInt8(layout === 'conv' ? col * rows + row : row * cols + col) ?? 0;
          expect(Math.abs(code * (scales[row] ?? 0) - (values[col] ?? 0))).toBeLessThanOrEqual((scales[row] ?? 0) * 0.5001);
        }
      }
    }
    const gain = tiny.tensors.find((tensor) => tensor.name === 'blk.1.ffn_norm.weight')?.values[3] ?? 0;
    expect(Math.abs((tensors.get('layers.1.ffn_norm.f16')?.data.readUInt16LE(6) ?? 0) & 0x8000)).toBe(gain < 0 ? 0x8000 : 0);
  });

  it('converts without a text when no precision has ranges', async () => {
    write();
    const spec = await convert({ precision: parsePrecision('all=w8f16'), calibrationText: undefined });
    expect(spec.calibration).toBeNull();
    expect(spec.linears['layers.0.q']).toEqual({
      precision: 'w8f16',
      input: null,
      output: null,
      shadow: { input: false, output: false },
      layout: 'fc',
    });
    checkSpec(spec);
    await expect(convert({ calibrationText: undefined })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(convert({ calibrationText: join(root, 'none.txt') })).rejects.toMatchObject({ code: 'LUTRA_NOT_FOUND' });
    writeFileSync(join(root, 'short.txt'), 'hello');
    await expect(convert({ calibrationText: join(root, 'short.txt') })).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
      message: expect.stringContaining('tokens'),
    });
  });

  it('un-permutes biases and replaces all-zero channels by a usable scale', async () => {
    const tiny = write({ storages: ['f32'], bias: true });
    const up = tiny.tensors.find((tensor) => tensor.name === 'blk.0.ffn_up.weight');
    up?.data.fill(0, 0, 4 * TINY.hidden);
    writeFileSync(join(root, 'tiny.gguf'), tiny.bytes());
    const spec = await convert({ precision: parsePrecision('all=w8f16') });
    expect(spec.arch.qkvBias).toBe(true);
    const bias = floats(tensorsOf(join(root, 'model/cpu.safetensors')).get('layers.0.q.bias')?.data ?? Buffer.alloc(0));
    const source = tiny.tensors.find((tensor) => tensor.name === 'blk.0.attn_q.bias')?.values ?? new Float32Array();
    expect(bias).toEqual(source.map((_, row) => source[interleavedRow(row, TINY.headDim)] ?? 0));
    expect(bias).not.toEqual(source);
    expect(floats(tensorsOf(join(root, 'model/npu.safetensors')).get('layers.0.up.scale')?.data ?? Buffer.alloc(0))[0]).toBe(1);
  });

  it('refuses what it does not know, naming it, before writing anything', async () => {
    const cases: [string, RegExp, (tiny: ReturnType<typeof tinyGguf>) => void][] = [
      ['LUTRA_UNSUPPORTED', /architecture "mamba"/, ({ metadata }) => Object.assign(metadata, { 'general.architecture': 'mamba' })],
      [
        'LUTRA_UNSUPPORTED',
        /blk\.0\.ffn_gate\.weight has type Q5_0/,
        ({ tensors }) => {
          const gate = tensors.find((tensor) => tensor.name === 'blk.0.ffn_gate.weight');
          Object.assign(gate ?? {}, { type: 6, data: new Uint8Array(96 * 2 * 22) });
        },
      ],
      [
        'LUTRA_UNSUPPORTED',
        /tensor blk\.0\.attn_q_norm\.weight/,
        ({ tensors }) =>
          tensors.push({ name: 'blk.0.attn_q_norm.weight', type: 0, ne: [16], data: new Uint8Array(64), values: new Float32Array(16) }),
      ],
      [
        'LUTRA_BAD_FILE',
        /no tensor blk\.1\.ffn_up\.weight/,
        ({ tensors }) =>
          tensors.splice(
            tensors.findIndex(({ name }) => name === 'blk.1.ffn_up.weight'),
            1,
          ),
      ],
      ['LUTRA_BAD_FILE', /head_count/, ({ metadata }) => Object.assign(metadata, { 'llama.attention.head_count': 'four' })],
      ['LUTRA_UNSUPPORTED', /mixture/, ({ metadata }) => Object.assign(metadata, { 'llama.expert_count': { u32: 8 } })],
      ['LUTRA_UNSUPPORTED', /scaling is "yarn"/, ({ metadata }) => Object.assign(metadata, { 'llama.rope.scaling.type': 'yarn' })],
      ['LUTRA_UNSUPPORTED', /RoPE turns 8 of 16/, ({ metadata }) => Object.assign(metadata, { 'llama.rope.dimension_count': { u32: 8 } })],
      ['LUTRA_UNSUPPORTED', /kind "llama"/, ({ metadata }) => Object.assign(metadata, { 'tokenizer.ggml.model': 'llama' })],
      [
        'LUTRA_UNSUPPORTED',
        /pre-tokenizer is "constructor"/,
        ({ metadata }) => Object.assign(metadata, { 'tokenizer.ggml.pre': 'constructor' }),
      ],
      [
        'LUTRA_BAD_FILE',
        /bos_token_id is 9999/,
        ({ metadata }) => Object.assign(metadata, { 'tokenizer.ggml.bos_token_id': { u32: 9999 } }),
      ],
    ];
    for (const [code, message, change] of cases) {
      const tiny = tinyGguf();
      change(tiny);
      writeFileSync(join(root, 'tiny.gguf'), tiny.bytes());
      await expect(convert({ precision: null }), String(message)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    }
    expect(readdirSync(root)).toEqual(['tiny.gguf']);
    write();
    await expect(convert({ chunk: 0 })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(convert({ precision: { qkv: 'w8a8', o: 'w8a8', gateup: 'w8a8s', down: 'w8a8' } })).rejects.toMatchObject({
      code: 'LUTRA_INVALID_ARGUMENT',
    });
  });

  it('replaces a model, an empty directory and nothing else', async () => {
    write();
    const before = ['text.txt', 'tiny.gguf'];
    mkdirSync(join(root, 'model'));
    await convert({ precision: null });
    const first = readFileSync(join(root, 'model/lutra.json'), 'utf8');
    await convert({ precision: null, chunk: 32 });
    expect(readFileSync(join(root, 'model/lutra.json'), 'utf8')).not.toBe(first);
    expect(readdirSync(root).sort()).toEqual(['model', ...before]);
    mkdirSync(join(root, 'mine'));
    writeFileSync(join(root, 'mine/thesis.txt'), 'precious');
    await expect(convert({ precision: null, output: join(root, 'mine') })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    await expect(convert({ precision: null, output: join(root, 'text.txt') })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    writeFileSync(join(root, 'mine/lutra.json'), '{"hello": 1}');
    await expect(convert({ precision: null, output: join(root, 'mine') })).rejects.toMatchObject({ code: 'LUTRA_INVALID_ARGUMENT' });
    expect(readdirSync(join(root, 'mine'))).toEqual(['lutra.json', 'thesis.txt']);
    expect(readdirSync(root).sort()).toEqual(['mine', 'model', ...before]);
  });

  it('leaves nothing behind when it is aborted or fails, and clears what a killed run left', async () => {
    write();
    const stages = ['hash', 'cpu weights', 'calibration', 'npu weights'];
    for (const stage of stages) {
      const controller = new AbortController();
      const run = convert({
        signal: controller.signal,
        onProgress: (progress) => progress.stage === stage && controller.abort(new Error('stop')),
      });
      await expect(run, stage).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
      expect(readdirSync(root).sort()).toEqual(['text.txt', 'tiny.gguf']);
    }
    await expect(convert({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'LUTRA_ABORTED' });
    const broken = { ...addon, foldS8: async () => false };
    await expect(convert({ addon: broken })).rejects.toMatchObject({ code: 'LUTRA_BAD_FILE' });
    expect(readdirSync(root).sort()).toEqual(['text.txt', 'tiny.gguf']);
    // 2^22 is the largest pid that Linux gives.
    mkdirSync(join(root, '.model.lutra-tmp-4194999-abcdef00'));
    mkdirSync(join(root, `.model.lutra-tmp-${process.pid}-abcdef00`));
    await convert({ precision: null });
    expect(existsSync(join(root, '.model.lutra-tmp-4194999-abcdef00'))).toBe(false);
    expect(existsSync(join(root, `.model.lutra-tmp-${process.pid}-abcdef00`))).toBe(true);
  });
});
