/** The bytes themselves, against docs/architecture.md, and that nothing foreign is decoded. */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decodePlan } from '../../../lib/graph/decode.js';
import { encodePlan, weightMatrix } from '../../../lib/graph/encode.js';
import { LutraError } from '../../../lib/graph/errors.js';
import type { Graph, Step } from '../../../lib/graph/graph.js';
import {
  CONFIG_FIELDS,
  HEADER_BYTES,
  planChecksum,
  RECORD_WORDS,
  SECTION_NAMES,
  SECTIONS,
  sealPlan,
  TENSOR_FIELDS,
} from '../../../lib/graph/plan-format.js';
import { printPlan } from '../../../lib/graph/print.js';
import type { Tensor } from '../../../lib/graph/tensor.js';
import { validateGraph } from '../../../lib/graph/validate.js';
import { buildPlan } from '../../../lib/models/registry.js';
import { Random } from '../../reference/random.js';
import { tinyModel } from '../../reference/tiny.js';

const PRECISION = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a8s' } as const;
const graph = buildPlan(tinyModel({ type: 'q4_0', precision: PRECISION, signedInputs: true }).spec, {
  mode: 'npu',
  contextSize: 48,
  chunk: 8,
});
const bytes = encodePlan(graph);
const view = new DataView(bytes.buffer);

function section(name: (typeof SECTION_NAMES)[number]): { offset: number; count: number } {
  const at = 20 + 8 * SECTION_NAMES.indexOf(name);
  return { offset: view.getUint32(at, true), count: view.getUint32(at + 4, true) };
}

function words(name: keyof typeof RECORD_WORDS, record: number): number[] {
  return Array.from({ length: RECORD_WORDS[name] }, (_, i) =>
    view.getUint32(section(name).offset + 4 * (record * RECORD_WORDS[name] + i), true),
  );
}

function text(offset: number): string {
  const at = section('strings').offset + offset;
  return new TextDecoder().decode(bytes.subarray(at, bytes.indexOf(0, at)));
}

function attr(i: number): number {
  return view.getFloat64(section('attrs').offset + 8 * i, true);
}

function operands(begin: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => view.getUint32(section('operands').offset + 4 * (begin + i), true));
}

function tensorId(name: string): number {
  const id = graph.tensors.findIndex((t) => t.name === name);
  if (id < 0) throw new Error(`no ${name}`);
  return id;
}

describe('layout', () => {
  it('has the documented sections', () => {
    expect(SECTION_NAMES).toEqual(['config', 'strings', 'tensors', 'segments', 'nodes', 'steps', 'programs', 'operands', 'attrs']);
    expect(RECORD_WORDS).toEqual({ tensors: 18, segments: 8, nodes: 8, steps: 6, programs: 4 });
    expect(TENSOR_FIELDS.length).toBe(RECORD_WORDS.tensors);
    for (const [name, count] of Object.entries(RECORD_WORDS)) expect(SECTIONS[name as keyof typeof RECORD_WORDS]).toBe(4 * count);
    expect([0, 4, 8, 12, 16].map((at) => view.getUint32(at, true))).toEqual([0x504c554c, 2, bytes.length, 9, planChecksum(bytes)]);
    expect(planChecksum(new Uint8Array(24))).toBe(crc32(new Uint8Array(24)));
    expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe('LULP');
    let end = HEADER_BYTES;
    for (const name of SECTION_NAMES) {
      const { offset, count } = section(name);
      expect(offset).toBe((end + 7) & ~7);
      end = offset + count * SECTIONS[name];
    }
    expect(bytes.length).toBe((end + 7) & ~7);
  });

  it('has the config in order', () => {
    expect(section('config').count).toBe(CONFIG_FIELDS.length);
    const values = Array.from({ length: 9 }, (_, i) => view.getFloat64(section('config').offset + 8 * i, true));
    expect(values).toEqual([96, 64, 2, 4, 2, 16, 48, 8, 0]);
  });

  it('has tensors with kinds, encodings and weights', () => {
    const record = (name: string): number[] => words('tensors', tensorId(name));
    const bits = (value: number): number => new Uint32Array(Float32Array.of(value).buffer)[0] ?? 0;
    const [NONE, scale] = [0xffffffff, bits(3 / 127)];
    expect(text(record('x')[0] ?? 0)).toBe('x');
    expect(record('x').slice(1)).toEqual([2, 0, 1, 2, 8, 64, 0, 0, 0, 0, 0, 0, NONE, NONE, 0, 0, 0]);
    expect(record('l0.n.u8').slice(1)).toEqual([3, 1, 0, 2, 8, 64, 0, 0, 1, scale, -128 >>> 0, 0, NONE, NONE, 0, 0, 0]);
    expect(record('l0.a.f16.s8').slice(1, 14)).toEqual([4, 1, 0, 2, 8, 64, 0, 0, 1, scale, 0, 0, NONE]);
    expect(record('logits').slice(1, 9)).toEqual([1, 0, 2, 2, 8, 96, 0, 0]);
    const w8 = record('layers.0.k.w8');
    expect(w8.slice(1, 14)).toEqual([4, 2, 0, 4, 1, 1, 64, 32, 2, 0, 0, 3, tensorId('layers.0.k.scale')]);
    expect([text(w8[14] ?? 0), ...w8.slice(15)]).toEqual(['layers.0.k.w8', 32, 64, 0]);
    expect(record('layers.0.k').slice(15)).toEqual([32, 64, 0]);
    expect(record('layers.0.k')[1]).toBe(16);
    expect(record('norm').slice(15)).toEqual([1, 64, 0]);
  });

  it('has nodes with parameters', () => {
    const found = Array.from({ length: section('nodes').count }, (_, i) => words('nodes', i)).find((w) => text(w[0] ?? 0) === 'Conv2d');
    const [, name = 0, inBegin = 0, inCount = 0, outBegin = 0, outCount = 0, at = 0, attrs] = found ?? [];
    expect([text(name), attrs]).toEqual(['l0.q.u8.rank4', 2]);
    expect(operands(inBegin, inCount)).toEqual(['l0.n.u8.rank4', 'layers.0.q.w8'].map(tensorId));
    expect(operands(outBegin, outCount)).toEqual([tensorId('l0.q.u8.rank4')]);
    expect(text(attr(at))).toBe('stride');
    expect([1, 2, 3, 4, 5].map((i) => attr(at + i))).toEqual([4, 1, 2, 1, 1]);
    expect(text(attr(at + 6))).toBe('pad_amount');
    expect([7, 8, 9, 10, 11, 12, 13, 14].map((i) => attr(at + i))).toEqual([4, 2, 2, 2, 0, 0, 0, 0]);
    const norm = words('nodes', 0);
    expect([text(norm[0] ?? 0), norm[7]]).toEqual(['RmsNorm', 2]);
    expect([text(attr(norm[6] ?? 0)), attr((norm[6] ?? 0) + 1), attr((norm[6] ?? 0) + 2)]).toEqual(['epsilon', 0, Math.fround(1e-5)]);
    expect([text(attr((norm[6] ?? 0) + 3)), attr((norm[6] ?? 0) + 4), attr((norm[6] ?? 0) + 5)]).toEqual(['axes', 3, 1]);
  });

  it('has segments, steps and programs', () => {
    expect(section('segments').count).toBe(4);
    const [name = 0, nodeBegin, nodeCount, inBegin = 0, inCount = 0, outBegin = 0, outCount = 0, reserved] = words('segments', 1);
    expect([text(name), nodeBegin, nodeCount, reserved]).toEqual([
      'seg1',
      graph.segments[0]?.nodes.length,
      graph.segments[1]?.nodes.length,
      0,
    ]);
    expect(operands(inBegin, inCount)).toEqual(['l0.a.f16', 'l0.r'].map(tensorId));
    expect(operands(outBegin, outCount)).toEqual(['l0.h', 'l0.m', 'l0.down.s8'].map(tensorId));
    const [npu, cpu] = [words('programs', 0), words('programs', 1)];
    expect([text(npu[0] ?? 0), npu[1], npu[2], npu[3]]).toEqual(['npu', 0, graph.programs[0]?.steps.length, tensorId('logits')]);
    expect([text(cpu[0] ?? 0), cpu[1], cpu[2], cpu[3]]).toEqual(['cpu', npu[2], graph.programs[1]?.steps.length, tensorId('cpu.logits')]);
    const shadow = words('steps', graph.programs[0]?.steps.findIndex((s) => s.op === 'shadow') ?? 0);
    expect(shadow[0]).toBe(12);
    expect(operands(shadow[1] ?? 0, shadow[2] ?? 0)).toEqual(['l0.n', 'layers.0.q.w8', 'l0.q.u8'].map(tensorId));
    expect([0, 1, 2, 3, 4, 5].map((i) => attr((shadow[5] ?? 0) + i))).toEqual([0, 1, Math.fround(3 / 127), -128, 8, 0]);
    const rope = words('steps', graph.programs[0]?.steps.findIndex((s) => s.op === 'rope') ?? 0);
    expect([0, 1, 2, 3].map((i) => attr((rope[5] ?? 0) + i))).toEqual([4, 16, 10000, 0]);
  });

  it('derives rows and columns of weights', () => {
    expect([[7], [3, 5], [1, 1, 5, 3]].map(weightMatrix)).toEqual([
      { rows: 1, cols: 7 },
      { rows: 3, cols: 5 },
      { rows: 3, cols: 5 },
    ]);
    expect(() => weightMatrix([1, 2, 3])).toThrow(LutraError);
  });
});

describe('decoding', () => {
  it('gives back the graph, also from the middle of a buffer', () => {
    expect(decodePlan(bytes)).toEqual(graph);
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    expect(printPlan(decodePlan(shifted.subarray(3)))).toBe(printPlan(graph));
  });

  function outcome(damaged: Uint8Array): 'same' | 'refused' | 'other' {
    try {
      return printPlan(decodePlan(damaged)) === printPlan(graph) ? 'same' : 'other';
    } catch (error) {
      if (error instanceof LutraError && error.code === 'LUTRA_BAD_PLAN') return 'refused';
      throw error;
    }
  }

  it('refuses every truncation', () => {
    for (let n = 0; n < bytes.length; n += 97) expect(outcome(bytes.slice(0, n)), `${n} bytes`).toBe('refused');
  });

  it('refuses every flipped bit', () => {
    for (let bit = 0; bit < 8 * bytes.length; bit += 13) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      expect(outcome(damaged), `bit ${bit}`).toBe('refused');
    }
  });

  it('survives nonsense under a right checksum: refuses it or decodes a valid plan, and never throws anything untyped', () => {
    const random = new Random(5);
    const counts = { same: 0, refused: 0, other: 0 };
    for (let i = 0; i < 1500; i++) {
      const damaged = bytes.slice();
      for (let k = 0; k <= i % 3; k++) damaged[random.below(bytes.length)] = random.below(256);
      counts[outcome(sealPlan(damaged))]++;
    }
    expect(counts.refused).toBeGreaterThan(700);
  }, 60_000);

  it('refuses graphs that no builder makes', () => {
    const step = (op: Step['op']): number => graph.programs[0]?.steps.findIndex((s) => s.op === op) ?? -1;
    const withTensor = (name: string, change: Partial<Tensor>): Graph => ({
      ...graph,
      tensors: graph.tensors.map((t) => (t.name === name ? { ...t, ...change } : t)),
    });
    const withSteps = (change: (steps: Step[]) => Step[]): Graph => ({
      ...graph,
      programs: graph.programs.map((p, i) => (i === 0 ? { ...p, steps: change([...p.steps]) } : p)),
    });
    validateGraph(graph);
    const broken: Record<string, [Graph, RegExp]> = {
      'a step before its input': [withSteps(([a, b, ...rest]) => [b, a, ...rest].filter((s) => s !== undefined)), /before it is written/],
      'a step twice': [withSteps((s) => s.flatMap((x) => Array.from({ length: x.op === 'rope' ? 2 : 1 }, () => x))), /written twice/],
      'a missing step': [withSteps((s) => s.filter((_, i) => i !== step('attention'))), /before it is written/],
      'a missing segment step': [withSteps((s) => s.filter((_, i) => i !== step('segment'))), /before it is written/],
      'an output kept inside': [withTensor('l0.m', { kind: 'internal', rows: 'fixed' }), /lives inside a segment/],
      'an internal handed out': [withTensor('l0.fn', { kind: 'activation', rows: 'chunk' }), /stays in/],
      'another type': [withTensor('l0.q', { dtype: 'f16' }), /rope l0\.q\.rope: rope input is f16/],
      'another encoding': [withTensor('l0.n.u8.rank4', { quant: { kind: 'scale', scale: 1, offset: 0 } }), /l0\.n\.u8\.rank4/],
      'rows that are not the chunk': [withTensor('x', { dims: [9, 64] }), /rows are not the chunk/],
      'a weight without file name': [withTensor('norm', { weight: null }), /name in a file/],
      'one name twice': [withTensor('l0.h', { name: 'l1.h' }), /share a name/],
      'a segment that nobody runs': [{ ...graph, segments: [...graph.segments, ...graph.segments.slice(0, 1)] }, /no program runs/],
      'logits of another width': [{ ...graph, config: { ...graph.config, vocab: 97 } }, /logits/],
      'a chunk of 0': [{ ...graph, config: { ...graph.config, chunk: 0 } }, /chunk is 0/],
    };
    for (const [name, [bad, message]] of Object.entries(broken)) expect(() => validateGraph(bad), name).toThrow(message);
  });
});
