/** Inference, checks and cutting, op by op. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../lib/graph/builder.js';
import { DTYPES, dtypeOfCode, quantLimits } from '../../../lib/graph/dtype.js';
import { ERROR_CODES, isLutraErrorCode, LutraError } from '../../../lib/graph/errors.js';
import type { Graph } from '../../../lib/graph/graph.js';
import { CPU_OP_NAMES, NPU_OP_NAMES } from '../../../lib/graph/ops.js';
import { formatNumber } from '../../../lib/graph/print.js';
import { NO_QUANT, scaleQuant, type TensorId } from '../../../lib/graph/tensor.js';

const CONFIG = { vocab: 32, hidden: 64, layers: 1, heads: 4, kvHeads: 2, headDim: 16, maxContext: 16, chunk: 8, kvType: 'f16' } as const;
const U8 = { dtype: 'u8', quant: scaleQuant(0.5, -128) } as const;

/** A program around `body`, which gets an F32 and an F16 tensor [8, 64]. */
function build(body: (g: GraphBuilder, f32: TensorId, f16: TensorId) => void): Graph {
  const g = new GraphBuilder(CONFIG);
  g.program('cpu', '', () => {
    const embed = g.weight('embed', 'q8_0', [32, 64]);
    const x = g.cpu.embed(embed, 'f32', 'x');
    const h = g.cpu.convert(x, 'f16', 'x.f16');
    body(g, x, h);
    const [logits] = g.cpu.linear(g.cpu.selectRows(h, 'rows'), [embed], false, ['logits']);
    if (logits === undefined) throw new Error('no logits');
    return logits;
  });
  return g.finish();
}

function refusal(body: (g: GraphBuilder, f32: TensorId, f16: TensorId) => void): string {
  try {
    build(body);
  } catch (error) {
    if (!(error instanceof LutraError)) throw error;
    expect(error.code).toBe('LUTRA_BAD_PLAN');
    return error.message;
  }
  throw new Error('nothing was refused');
}

const w8 = (g: GraphBuilder, name: string, dims: number[], axis: number): TensorId => {
  const scales = g.weight(`${name}.scale`, 'f32', [dims[axis] ?? 0]);
  return g.weight(`${name}.w8`, 's8', dims, { kind: 'axis', axis, scales });
};

describe('tables', () => {
  it('have the codes and the order of docs/architecture.md', () => {
    expect(CPU_OP_NAMES).toEqual([
      'segment',
      'embed',
      'rms_norm',
      'linear',
      'rope',
      'kv_append',
      'attention',
      'silu_mul',
      'add',
      'convert',
      'quantize',
      'dequantize',
      'shadow',
      'select_rows',
      'bias_add',
      'observe',
      'permute',
      'relu_mul',
      'rotate',
      'stored_rows',
      'clipped',
    ]);
    expect([...NPU_OP_NAMES].sort()).toEqual([
      'Concat',
      'Conv2d',
      'Convert',
      'Dequantize',
      'ElementWiseAdd',
      'ElementWiseDivide',
      'ElementWiseLessEqual',
      'ElementWiseMaximum',
      'ElementWiseMinimum',
      'ElementWiseMultiply',
      'ElementWiseSelect',
      'ElementWiseSubtract',
      'FullyConnected',
      'Gather',
      'Gelu',
      'LayerNorm',
      'MatMul',
      'Quantize',
      'Relu',
      'Reshape',
      'RmsNorm',
      'ScatterNd',
      'Sigmoid',
      'Softmax',
      'Split',
      'StridedSlice',
      'Transpose',
    ]);
    expect(Object.fromEntries(Object.entries(DTYPES).map(([k, v]) => [k, v.code]))).toMatchObject({
      f32: 1,
      f16: 2,
      u8: 3,
      s8: 4,
      u16: 5,
      s32: 6,
      u32: 7,
      bool8: 0,
      q4_0: 16,
      q4_1: 17,
      q8_0: 18,
      w1g32: 32,
      w3g64m: 54,
      w4rowz: 79,
    });
    expect(dtypeOfCode(17)).toBe('q4_1');
    expect(dtypeOfCode(8)).toBeUndefined();
    expect(dtypeOfCode(0)).toBeUndefined();
    expect([quantLimits('u8').hi, quantLimits('s8').lo, quantLimits('s8').hi, quantLimits('u16').hi]).toEqual([255, -128, 127, 65535]);
  });

  it('know their error codes', () => {
    expect(ERROR_CODES.length).toBe(new Set(ERROR_CODES).size);
    expect(isLutraErrorCode('LUTRA_BAD_PLAN')).toBe(true);
    expect(isLutraErrorCode('EACCES')).toBe(false);
  });
});

describe('inference', () => {
  it('gives shapes and types', () => {
    const shown: string[] = [];
    build((g, x, h) => {
      const q = g.npu.quantize(h, U8, 'q');
      const conv = g.npu.conv1x1(g.npu.reshape(q, [1, 1, 8, 64], 'q4'), w8(g, 'c', [1, 1, 64, 96], 3), U8, 'c4');
      const y = g.npu.dequantize(g.npu.reshape(conv, [8, 96], 'c'), 'f16', 'y');
      const [a, b] = g.cpu.linear(x, [g.weight('a', 'f32', [32, 64]), g.weight('b', 'q4_1', [48, 64])], true, ['a1', 'b1']);
      const gathered = g.npu.gather(y, g.weight('indices', 'u32', [5]), 1, 'gathered');
      const biased = g.npu.multiply(y, g.weight('factors', 'f16', [1, 96]), 'scaled');
      g.cpu.convert(gathered, 'f32', 'out1');
      g.cpu.convert(biased, 'f32', 'out2');
      for (const id of [q, conv, y, a, b, gathered, biased]) {
        if (id === undefined) throw new Error('missing');
        const t = g.tensor(id);
        shown.push(`${t.name} ${t.dtype} ${t.rows} ${t.dims.join('x')}`);
      }
    });
    expect(shown).toEqual([
      'q u8 chunk 8x64',
      'c4 u8 fixed 1x1x8x96',
      'y f16 chunk 8x96',
      'a1 f32 chunk 8x32',
      'b1 f32 chunk 8x48',
      'gathered f16 chunk 8x5',
      'scaled f16 chunk 8x96',
    ]);
  });

  const refused: Record<string, [body: (g: GraphBuilder, x: TensorId, h: TensorId) => void, message: RegExp]> = {
    'F16 where F32 is expected': [(g, _, h) => g.cpu.rmsNorm(h, g.weight('n', 'f32', [64]), 1e-5, 'y'), /rms_norm y: .*f16.*allowed: f32/],
    'a gain of another length': [(g, x) => g.cpu.rmsNorm(x, g.weight('n', 'f32', [63]), 1e-5, 'y'), /does not divide/],
    'an epsilon of 0': [(g, x) => g.cpu.rmsNorm(x, g.weight('n', 'f32', [64]), 0, 'y'), /eps 0/],
    'a NaN attribute': [(g, x) => g.cpu.rmsNorm(x, g.weight('n', 'f32', [64]), Number.NaN, 'y'), /eps is not a f64/],
    'a weight of other columns': [(g, x) => g.cpu.linear(x, [g.weight('w', 'f32', [8, 32])], true, ['y']), /weight 0/],
    'an activation as weight': [(g, x) => g.cpu.linear(x, [x], true, ['y']), /not a weight/],
    'packed columns': [(g, x) => g.cpu.linear(x, [g.weight('w', 'q4_0', [8, 48])], true, ['y']), /multiple of 32/],
    'too few names': [(g, x) => g.cpu.linear(x, [g.weight('w', 'f32', [8, 64])], true, []), /0 names for 1 outputs/],
    'other heads': [(g, x) => g.cpu.attention(x, { layer: 0, heads: 3, kvHeads: 1, headDim: 16, scale: 1 }, 'y'), /3 heads of 16/],
    'heads that do not group': [(g, x) => g.cpu.attention(x, { layer: 0, heads: 4, kvHeads: 3, headDim: 16, scale: 1 }, 'y'), /3 KV heads/],
    'a negative layer': [(g, x) => g.cpu.kvAppend(x, x, -1), /layer is not a u32/],
    'addition of other shapes': [
      (g, x) => g.cpu.add(x, g.cpu.linear(x, [g.weight('w', 'f32', [8, 64])], true, ['y'])[0] ?? x, 'z'),
      /shapes differ/,
    ],
    'conversion to itself': [(g, x) => g.cpu.convert(x, 'f32', 'y'), /to itself/],
    'quantising without an encoding': [(g, x) => g.cpu.quantize(x, { dtype: 'u8', quant: NO_QUANT }, 'y'), /no encoding/],
    'selecting rows twice': [(g, x) => g.cpu.selectRows(g.cpu.selectRows(x, 'a'), 'b'), /select_rows of/],
    'an order of other columns': [(g, x) => g.cpu.permute(x, g.weight('o', 'u32', [63]), 'y'), /order is u32/],
    'an order of floats': [(g, x) => g.cpu.permute(x, g.weight('o', 'f32', [64]), 'y'), /order/],
    'a rotation of other columns': [
      (g, x) => g.cpu.rotate(x, { diagonal: g.weight('d', 'f32', [64]), matrix: g.weight('m', 'f32', [3, 3]) }, false, 'y'),
      /rotation matrix f32/,
    ],
    'a diagonal of other columns': [
      (g, x) => g.cpu.rotate(x, { diagonal: g.weight('d', 'f32', [63]), matrix: g.weight('m', 'f32', [1, 1]) }, false, 'y'),
      /diagonal is f32/,
    ],
    'a table with too few rows': [(g) => g.cpu.storedRows(g.weight('t', 'f32', [g.config.chunk - 1, 64]), 'y'), /table f32/],
    'a shadow of nothing': [
      (g, x) => g.cpu.shadow({ x, encoding: U8, weight: w8(g, 's', [1, 1, 64, 64], 3) }, 'f32', 'y'),
      /neither base nor/,
    ],
    'a shadow weight in FullyConnected layout': [
      (g, x) => g.cpu.shadow({ x, encoding: U8, weight: w8(g, 's', [64, 64], 0), base: x }, 'f32', 'y'),
      /rank 4/,
    ],
    'a shadow base of other columns': [
      (g, x) => g.cpu.shadow({ x, encoding: U8, weight: w8(g, 's', [1, 1, 64, 32], 3), base: x }, 'f32', 'y'),
      /base has another shape/,
    ],
    'a 16-bit shadow': [
      (g, x) =>
        g.cpu.shadow(
          { x, encoding: { dtype: 'u16', quant: scaleQuant(1, 0) }, weight: w8(g, 's', [1, 1, 64, 64], 3), base: x },
          'f32',
          'y',
        ),
      /16-bit/,
    ],
    'u8 to s8 in a linear': [
      (g, _, h) => g.npu.fullyConnected(g.npu.quantize(h, U8, 'q'), w8(g, 'w', [8, 64], 0), { dtype: 's8', quant: scaleQuant(1, 0) }, 'y'),
      /linear from u8 to s8/,
    ],
    'an unquantised weight on the NPU': [
      (g, _, h) => g.npu.fullyConnected(h, g.weight('w', 's8', [8, 64]), { dtype: 'f16', quant: NO_QUANT }, 'y'),
      /scales on axis 0/,
    ],
    'scales on the input axis': [
      (g, _, h) => g.npu.fullyConnected(h, w8(g, 'w', [8, 64], 1), { dtype: 'f16', quant: NO_QUANT }, 'y'),
      /scales on axis 0/,
    ],
    'F16 with an encoding': [
      (g, _, h) => g.npu.fullyConnected(h, w8(g, 'w', [8, 64], 0), { dtype: 'f16', quant: scaleQuant(1, 0) }, 'y'),
      /wrong kind of encoding/,
    ],
    'a convolution of rank 2': [(g, _, h) => g.npu.conv1x1(g.npu.quantize(h, U8, 'q'), w8(g, 'w', [1, 1, 64, 8], 3), U8, 'y'), /rank 4/],
    'a convolution that is not 1×1': [
      (g, _, h) => g.npu.conv1x1(g.npu.reshape(g.npu.quantize(h, U8, 'q'), [1, 1, 8, 64], 'r'), w8(g, 'w', [3, 1, 64, 8], 3), U8, 'y'),
      /not 1×1/,
    ],
    'a reshape to another size': [(g, _, h) => g.npu.reshape(h, [8, 63], 'y'), /Reshape of/],
    'Quantize of integers': [(g, _, h) => g.npu.quantize(g.npu.quantize(h, U8, 'q'), U8, 'y'), /Quantize input/],
    'a mixed sum': [(g, x, h) => g.npu.add(x, h, 'y'), /against/],
    'a gain of another type': [(g, _, h) => g.npu.rmsNorm(h, g.weight('n', 'f32', [64]), g.weight('z', 'f16', [64]), 1e-5, 'y'), /gamma/],
    'Gather past the rank': [(g, _, h) => g.npu.gather(h, g.weight('i', 'u32', [2]), 2, 'y'), /axis 2/],
    'one name twice': [(g, x) => g.cpu.convert(x, 'f16', 'x.f16'), /two tensors named x\.f16/],
    'one weight with two types': [(g) => void g.weight('embed', 'f32', [32, 64]), /two tensors named embed/],
    'a program inside a program': [(g) => g.program('npu', '', () => 0 as TensorId), /inside another/],
    'a result that nothing reads': [(g, _, h) => g.npu.sigmoid(h, 'y'), /nothing reads/],
  };
  for (const [name, [body, message]] of Object.entries(refused)) {
    it(`refuses ${name}`, () => expect(refusal((g, x, h) => void body(g, x, h))).toMatch(message));
  }

  it('refuses wrong attributes at compile time', () => {
    const misuse = (g: GraphBuilder, x: TensorId): void => {
      // @ts-expect-error the attribute is called eps
      g.addStep('rms_norm', [x, x], { epsilon: 1 }, null, ['y']);
      // @ts-expect-error exact is a boolean
      g.addStep('linear', [x, x], { exact: 1 }, null, ['y']);
      // @ts-expect-error a layer is missing
      g.addStep('kv_append', [x, x], {}, null, []);
      // @ts-expect-error no such op
      g.addNode('Swish', [x], {}, null, 'y');
      // @ts-expect-error Dequantize writes a float
      g.addNode('Dequantize', [x], {}, { dtype: 'u8' }, 'y');
      // @ts-expect-error a number is not a tensor
      g.cpu.convert(3, 'f32', 'y');
    };
    expect(misuse).toBeTypeOf('function');
  });
});

describe('segments', () => {
  it('are maximal runs, with inputs in order of use and outputs in order of making', () => {
    const graph = build((g, x, h) => {
      const a = g.npu.sigmoid(h, 'a');
      const b = g.npu.relu(a, 'b');
      const c = g.npu.add(b, a, 'c');
      const b32 = g.cpu.convert(b, 'f32', 'b.f32');
      const d = g.npu.add(c, h, 'd');
      g.cpu.add(b32, g.cpu.convert(d, 'f32', 'd.f32'), 'e');
      g.cpu.add(x, x, 'f');
    });
    const names = (ids: readonly TensorId[]): string => ids.map((id) => graph.tensors[id]?.name).join();
    expect(graph.segments.map((s) => [s.name, names(s.inputs), names(s.outputs), s.nodes.length])).toEqual([
      ['seg0', 'x.f16', 'b,c', 3],
      ['seg1', 'c,x.f16', 'd', 1],
    ]);
    const kinds = Object.fromEntries(graph.tensors.map((t) => [t.name, `${t.kind} ${t.rows}`]));
    expect(kinds).toMatchObject({
      a: 'internal fixed',
      b: 'activation chunk',
      c: 'activation chunk',
      d: 'activation chunk',
      embed: 'weight fixed',
    });
    expect(graph.programs[0]?.steps.map((s) => s.op)).toEqual([
      'embed',
      'convert',
      'segment',
      'convert',
      'segment',
      'convert',
      'add',
      'add',
      'select_rows',
      'linear',
    ]);
  });
});

describe('formatNumber', () => {
  it('is the shortest that reads back', () => {
    expect([1e-5, Math.fround(1e-5), Math.fround(0.1), 0.1, 3, -128, Math.fround(1 / 3), 1 / 3].map(formatNumber)).toEqual([
      '0.00001',
      '0.00001',
      '0.1',
      '0.1',
      '3',
      '-128',
      '0.33333334',
      '0.3333333333333333',
    ]);
    for (let i = 0; i < 1000; i++) {
      const f = Math.fround(Math.tan(i) * 10 ** ((i % 60) - 30));
      expect(Math.fround(Number(formatNumber(f)))).toBe(f);
    }
  });
});
