/** The ops of the mllm QNN backend: what they mean, what they refuse, and which standard nodes they become. */
import { describe, expect, it } from 'vitest';
import {
  addOp,
  COMPOSITE_NAMES,
  type CompositeAttrs,
  type CompositeName,
  inferComposite,
  isCompositeOp,
} from '../../../lib/graph/composite/index.js';
import { LutraError } from '../../../lib/graph/errors.js';
import { type NpuGraph, NpuGraphBuilder } from '../../../lib/graph/npu-graph.js';
import { NPU_OPS } from '../../../lib/graph/npu-ops.js';
import { attrSchema } from '../../../lib/graph/ops.js';
import { formatNumber } from '../../../lib/graph/print.js';
import type { NodeSink } from '../../../lib/graph/sink.js';
import { formatType, NO_QUANT, scaleQuant, type TensorType } from '../../../lib/graph/tensor.js';
import { type Bound, breach, distance, EXACT } from '../../reference/bounds.js';
import { arrayOf, CASES, ENCODINGS, encoding, type Operand, t } from '../../reference/composite-cases.js';
import { runGraph } from '../../reference/standard-ops.js';

/** Ops of the mllm QNN backend by our names. */
const MLLM_OPS = [
  'Add',
  'CausalMask',
  'MatMul',
  'RMSNorm',
  'LayerNorm',
  'RoPE',
  'IRoPE',
  'Scale',
  'SiLU',
  'Softmax',
  'LinearINT8',
  'Mul',
  'View',
  'ReLU',
  'GELU',
  'Quantize',
  'Dequantize',
  'MergeOutput',
  'SplitInput',
  'Transpose',
  'SuperSiLU',
  'QuickGELU',
] as const satisfies readonly CompositeName[];

const type = (operand: Operand): TensorType => ({
  dtype: operand.dtype,
  dims: operand.dims,
  quant: operand.quant ?? NO_QUANT,
  rows: 'fixed',
});
const weight = (dims: number[], axis: number): TensorType => ({
  dtype: 's8',
  dims,
  rows: 'fixed',
  quant: { kind: 'axis', axis, scales: 0 as never },
});

describe('registry', () => {
  it('has the 22 ops of the mllm backend, and what a KV cache on the NPU needs', () => {
    expect(new Set(MLLM_OPS).size).toBe(22);
    expect([...COMPOSITE_NAMES].sort()).toEqual([...MLLM_OPS, 'KVMask', 'KVUpdate'].sort());
    expect(isCompositeOp('RoPE')).toBe(true);
    expect(isCompositeOp('toString')).toBe(false);
  });

  it('has cases for every op', () => {
    expect(new Set(CASES.map(({ op }) => op))).toEqual(new Set(COMPOSITE_NAMES));
    const labels = CASES.map(({ op, label }) => `${op} ${label}`);
    expect(new Set(labels).size).toBe(labels.length);
  });

  it('checks attributes at compile time', () => {
    const misuse = (b: NodeSink): void => {
      // @ts-expect-error epsilon is missing
      addOp(b, 'RMSNorm', [], {}, 'y');
      // @ts-expect-error a layout is no attribute
      addOp(b, 'MatMul', [], { layout: 'bhsd' }, 'y');
      // @ts-expect-error a linear needs an encoding
      addOp(b, 'LinearINT8', [], {}, 'y');
      // @ts-expect-error Dequantize writes a float
      addOp(b, 'Dequantize', [], { to: 'u8' }, 'y');
      // @ts-expect-error no such op
      addOp(b, 'RopeSimple', [], {}, 'y');
      // @ts-expect-error names are no tensors
      addOp(b, 'SiLU', ['x'], {}, 'y');
    };
    expect(misuse).toBeTypeOf('function');
  });
});

/** Tables and constants are rounded to their type, which float64 does not know. */
const ROUNDED: Bound = { kind: 'nmse', most: 1e-6 };
const ROUNDED_CODES: Bound = { kind: 'steps', most: 1, equal: 0.99 };

describe('nodes mean what the op means', () => {
  for (const { op, label, make, bound } of CASES) {
    it(`${op} ${label}`, () => {
      const { graph, reals, expected } = make();
      const results = runGraph(graph, reals);
      graph.outputs.forEach((id, i) => {
        const tensor = graph.tensors[id]!;
        const { data, dims } = results[i]!;
        expect(dims).toEqual(expected[i]!.dims);
        expect(data.some((v) => v !== 0)).toBe(true);
        const plain = tensor.dtype === 'f16' ? { ...tensor, dtype: 'f32' as const } : tensor;
        const stored = tensor.quant.kind === 'scale' ? arrayOf(tensor.dtype, tensor.quant, data) : data;
        const moves = bound.kind === 'exact' || ['View', 'Transpose', 'MergeOutput', 'SplitInput', 'KVUpdate'].includes(op);
        const within = moves ? EXACT : tensor.quant.kind === 'scale' ? ROUNDED_CODES : ROUNDED;
        expect(breach(distance(plain, stored, expected[i]!), within)).toBeNull();
      });
    });
  }
});

function refusal<K extends CompositeName>(op: K, inputs: readonly TensorType[], attrs: CompositeAttrs<K>): string {
  try {
    inferComposite(op, inputs, attrs);
  } catch (error) {
    if (!(error instanceof LutraError)) throw error;
    expect(error.code).toBe('LUTRA_BAD_PLAN');
    return error.message;
  }
  throw new Error('nothing was refused');
}

describe('misuse', () => {
  const [f16, f32, u8, s8] = [type(t('f16', [4, 8])), type(t('f32', [4, 8])), type(t('u8', [4, 8])), type(t('s8', [4, 8]))];
  const gamma = type(t('f16', [8]));
  const pos = (n: number): TensorType => type(t('s32', [n]));
  const rope = { theta: 1e4, maxPosition: 8 };
  const to = ENCODINGS;

  const refused: Record<string, [message: string, pattern: RegExp]> = {
    'Add of two types': [refusal('Add', [f16, f32], {}), /allowed: f16/],
    'Add of one input': [refusal('Add', [f16], {}), /1 inputs where 2/],
    'Add of shapes that do not stretch': [refusal('Add', [f16, type(t('f16', [3, 8]))], {}), /against/],
    'a quantised Add without an encoding': [refusal('Add', [u8, u8], {}), /needs an encoding/],
    'a float Add with an encoding': [refusal('Add', [f16, f16], { to: to.u8 }), /not quantised/],
    'Mul from u8 to s8': [refusal('Mul', [u8, u8], { to: to.s8 }), /result of s8/],
    'a step of 0, as 5 decimals make of a small one': [refusal('Mul', [u8, u8], { to: encoding('u8', 0, 0) }), /a scale of 0/],
    'a step that is not finite': [refusal('Quantize', [f16], { to: encoding('u8', Number.NaN, 0) }), /a scale of NaN/],
    'an offset between integers': [refusal('Quantize', [f16], { to: encoding('u8', 0.1, 0.5) }), /an offset of 0.5/],
    'Quantize to a float': [refusal('Quantize', [f16], { to: { dtype: 'f16' as never, quant: NO_QUANT } }), /encoding of f16/],
    'Quantize of integers': [refusal('Quantize', [u8], { to: to.u8 }), /allowed: f32, f16/],
    'Dequantize of floats': [refusal('Dequantize', [f16], { to: 'f16' }), /allowed: u8/],
    'Dequantize to integers': [refusal('Dequantize', [u8], { to: 'u8' as never }), /Dequantize to u8/],
    'a scale that is not finite': [refusal('Scale', [f16], { scale: Number.POSITIVE_INFINITY }), /scale is Infinity/],
    'Scale of integers': [refusal('Scale', [u8], { scale: 2 }), /allowed: f32, f16/],
    'SiLU of integers': [refusal('SiLU', [s8], {}), /allowed: f32, f16/],
    'SuperSiLU of floats': [refusal('SuperSiLU', [f16, f16], { to: to.u8 }), /gate .*allowed: u8/],
    'SuperSiLU of two shapes': [refusal('SuperSiLU', [u8, type(t('u8', [8, 4]))], { to: to.u8 }), /gate .* and up/],
    'an epsilon of 0': [refusal('RMSNorm', [f16, gamma], { epsilon: 0 }), /epsilon is 0/],
    'an epsilon below what F32 holds': [refusal('RMSNorm', [f16, gamma], { epsilon: 1e-60 }), /epsilon/],
    'a gamma of another length': [refusal('RMSNorm', [f16, type(t('f16', [7]))], { epsilon: 1e-6 }), /gamma/],
    'a gamma of another type': [refusal('LayerNorm', [f16, type(t('f32', [8]))], { epsilon: 1e-6 }), /gamma .*allowed: f16/],
    'a beta of another length': [refusal('LayerNorm', [f16, gamma, type(t('f16', [9]))], { epsilon: 1e-6 }), /beta/],
    'a norm of integers': [refusal('RMSNorm', [u8, gamma], { epsilon: 1e-6 }), /allowed: f32, f16/],
    'a Softmax of beta 0': [refusal('Softmax', [f16], { beta: 0 }), /beta is 0/],
    'MatMul of columns and rows that differ': [refusal('MatMul', [f16, f16], {}), /8 columns against 4 rows/],
    'MatMul of other heads': [refusal('MatMul', [type(t('f16', [2, 4, 8])), type(t('f16', [3, 8, 4]))], {}), /leading dimensions/],
    'MatMul with a scale per channel': [refusal('MatMul', [u8, weight([8, 4], 1)], { to: to.u8 }), /right side .* axis 1 .*allowed: u8/],
    'MatMul of u8 by s8, which HTP gets wrong': [refusal('MatMul', [u8, type(t('s8', [8, 4]))], { to: to.u8 }), /right side .*allowed: u8/],
    'MatMul of u16 by u16, which HTP gets inexact': [
      refusal('MatMul', [type(t('u16', [4, 8])), type(t('u16', [8, 4]))], { to: to.u16 }),
      /right side .*allowed: u8/,
    ],
    'MatMul of u16 by u8 that is not symmetric, which HTP gets wrong': [
      refusal('MatMul', [type(t('u16', [4, 8])), type(t('u8', [8, 4]))], { to: to.u16 }),
      /offset -128 only/,
    ],
    'MatMul from u8 to u16': [refusal('MatMul', [u8, type(t('u8', [8, 4]))], { to: to.u16 }), /result of u16/],
    'LinearINT8 with a scale per input': [refusal('LinearINT8', [u8, weight([6, 8], 1)], { to: to.u8 }), /scales on axis 0/],
    'LinearINT8 of a weight of other inputs': [refusal('LinearINT8', [u8, weight([6, 7], 0)], { to: to.u8 }), /weight .* for/],
    'LinearINT8 of a 3×3 filter': [refusal('LinearINT8', [u8, weight([3, 3, 8, 6], 3)], { to: to.u8 }), /neither/],
    'LinearINT8 of a weight without a scale': [
      refusal('LinearINT8', [u8, { ...weight([6, 8], 0), quant: NO_QUANT }], { to: to.u8 }),
      /nor one scale/,
    ],
    'LinearINT8 from u8 to u16': [refusal('LinearINT8', [u8, weight([6, 8], 0)], { to: to.u16 }), /result of u16/],
    'LinearINT8 with a float bias': [
      refusal('LinearINT8', [u8, weight([6, 8], 0), type(t('f32', [6]))], { to: to.u8 }),
      /bias .*allowed: s32/,
    ],
    'LinearINT8 with a bias in other steps': [
      refusal('LinearINT8', [u8, { ...weight([6, 8], 0), quant: scaleQuant(0.5, 0) }, { ...pos(6), quant: scaleQuant(0.5, 0) }], {
        to: to.u8,
      }),
      /its step must be/,
    ],
    'LinearINT8 with a bias of one step for many': [
      refusal('LinearINT8', [u8, weight([6, 8], 0), { ...pos(6), quant: scaleQuant(0.5, 0) }], { to: to.u8 }),
      /no scale per output/,
    ],
    'a view of another size': [refusal('View', [f16], { dims: [31] }), /Reshape of/],
    'a view of nothing': [refusal('View', [f16], { dims: [0, 4] }), /Reshape to \[0, 4\]/],
    'a view of unknown size': [refusal('View', [f16], { dims: [-1, 8] }), /Reshape to/],
    'a permutation with a repetition': [refusal('Transpose', [f16], { perm: [0, 0] }), /by \[0, 0\]/],
    'a permutation of another rank': [refusal('Transpose', [f16], { perm: [0, 2, 1] }), /by/],
    'MergeOutput of two types': [refusal('MergeOutput', [f16, f32], {}), /differ in type/],
    'MergeOutput of two encodings': [
      refusal('MergeOutput', [u8, type(t('u8', [4, 8], { quant: scaleQuant(0.5, 0) }))], {}),
      /differ in type or encoding/,
    ],
    'MergeOutput of nothing': [refusal('MergeOutput', [], {}), /0 inputs/],
    'SplitInput into parts that do not add up': [refusal('SplitInput', [f16], { parts: [[4, 4], [15]] }), /16, 15/],
    'SplitInput into nothing': [refusal('SplitInput', [f16], { parts: [] }), /0 parts/],
    'SplitInput with an empty part': [refusal('SplitInput', [f16], { parts: [[32], [0]] }), /Reshape to \[0\]/],
    'RoPE of odd heads': [refusal('RoPE', [type(t('f16', [4, 7]))], rope), /heads of 7/],
    'RoPE beyond the table': [refusal('RoPE', [f16], { ...rope, start: 5 }), /5 … 8 of 8 positions/],
    'RoPE with positions of other tokens': [refusal('RoPE', [f16, pos(3)], rope), /for 4 tokens/],
    'RoPE with float positions': [refusal('RoPE', [f16, type(t('f32', [4]))], rope), /positions .*allowed: s32/],
    'RoPE with tokens on the heads’ own axis': [refusal('RoPE', [f16], { ...rope, tokenAxis: 1 }), /axis 1/],
    'RoPE with too few factors': [refusal('RoPE', [f16], { ...rope, factors: [1] }), /1 factors for 4/],
    'RoPE of integers': [refusal('RoPE', [s8], rope), /allowed: f32, f16/],
    'RoPE by a scale of 0': [refusal('RoPE', [f16], { ...rope, scale: 0 }), /scale is 0/],
    'IRoPE of floats': [refusal('IRoPE', [f16], { ...rope, to: 'f16' }), /allowed: u8/],
    'a mask of fewer keys than queries': [refusal('CausalMask', [type(t('f16', [8, 4]))], {}), /fewer keys/],
    'a mask after a negative past': [refusal('CausalMask', [f16], { past: -1 }), /past is -1/],
    'a mask of integers': [refusal('CausalMask', [u8], {}), /allowed: f32, f16/],
    'a mask with positions of other queries': [refusal('KVMask', [f16, pos(8)], {}), /for 4 queries/],
    'an update on the last axis': [refusal('KVUpdate', [f16, f16, pos(4)], { axis: 1 }), /axis 1/],
    'an update of other heads': [refusal('KVUpdate', [f16, type(t('f16', [2, 9])), pos(2)], { axis: 0 }), /with/],
    'an update longer than the cache': [refusal('KVUpdate', [f16, type(t('f16', [5, 8])), pos(5)], { axis: 0 }), /with/],
    'an update of another type': [refusal('KVUpdate', [f16, type(t('f32', [2, 8])), pos(2)], { axis: 0 }), /differ in type/],
    'an update with positions of other tokens': [refusal('KVUpdate', [f16, type(t('f16', [2, 8])), pos(3)], { axis: 0 }), /for 2 tokens/],
  };
  for (const [name, [message, pattern]] of Object.entries(refused)) {
    it(`refuses ${name}`, () => expect(message).toMatch(pattern));
  }

  it('names the op and its result', () => {
    const b = new NpuGraphBuilder();
    const x = b.input('x', { dtype: 'f16', dims: [4, 8], quant: NO_QUANT });
    expect(() => addOp(b, 'View', [x], { dims: [3] }, 'l0.heads')).toThrow(/^View l0\.heads: Reshape of f16\[4, 8\] to \[3\]/);
  });

  it('refuses encodings that HTP accepts and ignores', () => {
    const b = new NpuGraphBuilder();
    const x = b.input('x', { dtype: 'u8', dims: [4, 8], quant: ENCODINGS.u8.quant });
    expect(() => addOp(b, 'Softmax', [x], { to: encoding('u8', 1 / 256, -3) }, 'p')).toThrow(/offset 0 only/);
    const vectors = [type(t('f16', [8])), type(t('f16', [8]))];
    const attrs = { epsilon: 1e-6, axes: { dims: [1], values: [2] } };
    expect(() => NPU_OPS.RmsNorm.infer([type(t('f16', [9, 17, 8])), ...vectors], attrs, null, { chunk: 0 })).toThrow(/ones before them/);
    expect(() => NPU_OPS.Gather.infer([s8, pos(2)], { axis: 0 }, null, { chunk: 0 })).toThrow(/allowed/);
  });

  it('refuses what F16 cannot hold', () => {
    const b = new NpuGraphBuilder();
    const x = b.input('x', { dtype: 'f16', dims: [4, 8], quant: NO_QUANT });
    expect(() => addOp(b, 'Scale', [x], { scale: 1e6 }, 'y')).toThrow(/f16 cannot hold/);
  });
});

/** A graph as text, one node a line. */
function print(graph: NpuGraph): string {
  const name = (id: number): string => graph.tensors[id]!.name;
  const given = graph.tensors
    .filter(({ role }) => role === 'input' || role === 'constant')
    .map((tensor) => `  ${tensor.role} ${tensor.name}: ${formatType(tensor, { nameOf: name, number: formatNumber })}`);
  const nodes = graph.nodes.map((node) => {
    const attrs = attrSchema(node.op).map(([key]) => {
      const value = (node.attrs as Record<string, unknown>)[key] as number | boolean | { values: number[] };
      return `${key} ${typeof value === 'object' ? `[${value.values.join(' ')}]` : typeof value === 'number' ? formatNumber(value) : value}`;
    });
    const outputs = node.outputs.map((id) => `${name(id)}: ${formatType(graph.tensors[id]!, { number: formatNumber })}`);
    return `  ${node.op}(${node.inputs.map(name).join(', ')})${attrs.length > 0 ? ` {${attrs.join(', ')}}` : ''} -> ${outputs.join('; ')}`;
  });
  return [...given, ...nodes].join('\n');
}

describe('lowering', () => {
  it('gives the nodes of the golden file', async () => {
    const text = CASES.map(({ op, label, make }) => `${op}, ${label}\n${print(make().graph)}\n`).join('\n');
    await expect(text).toMatchFileSnapshot('../../golden/composite-ops.txt');
  });

  it('shares tables and zeros between layers', () => {
    const b = new NpuGraphBuilder();
    const x = b.input('x', { dtype: 'f16', dims: [1, 2, 4, 16], quant: NO_QUANT });
    const pos = b.input('positions', { dtype: 's32', dims: [4], quant: NO_QUANT });
    const attrs = { theta: 1e4, maxPosition: 64 };
    const first = addOp(b, 'RoPE', [x, pos], attrs, 'l0');
    const [second] = addOp(b, 'RoPE', [...first, pos], attrs, 'l1');
    const [scaled] = addOp(b, 'RoPE', [x, pos], { ...attrs, scale: 0.25 }, 'q');
    const graph = b.finish([second!, scaled!]);
    expect(graph.tensors.filter(({ role }) => role === 'constant').map(({ name }) => name)).toEqual([
      'rope.f16.16.10000.halves.1.cos.64',
      'rope.f16.16.10000.halves.1.sin.64',
      'rope.f16.16.10000.halves.0.25.cos.64',
      'rope.f16.16.10000.halves.0.25.sin.64',
    ]);
  });
});

describe('NpuGraphBuilder', () => {
  it('refuses names that are taken, values that nobody reads and results that no node makes', () => {
    const b = new NpuGraphBuilder();
    const x = b.input('x', { dtype: 'f16', dims: [4, 8], quant: NO_QUANT });
    expect(() => b.input('x', { dtype: 'f16', dims: [1], quant: NO_QUANT })).toThrow(/two tensors named x/);
    expect(() => b.input('y', { dtype: 'f16', dims: [0], quant: NO_QUANT })).toThrow(/shape/);
    expect(() => b.finish([x])).toThrow(/made by no node/);
    const [y] = addOp(b, 'SiLU', [x], {}, 'y');
    expect(() => b.finish([])).toThrow(/0 outputs/);
    expect(() => b.finish([y!, y!])).toThrow(/twice/);
    b.input('idle', { dtype: 'f16', dims: [1], quant: NO_QUANT });
    expect(() => b.finish([y!])).toThrow(/nothing reads idle/);
  });

  it('takes a constant twice when it is the same', () => {
    const b = new NpuGraphBuilder();
    const value = { dtype: 'f32', dims: [2], quant: NO_QUANT, data: Float32Array.of(1, 2) } as const;
    expect(b.constant('c', value)).toBe(b.constant('c', { ...value, data: Float32Array.of(1, 2) }));
    expect(() => b.constant('c', { ...value, data: Float32Array.of(1, 3) })).toThrow(/two constants named c/);
    expect(() => b.constant('d', { ...value, dims: [3] })).toThrow(/with 2 values/);
  });
});
