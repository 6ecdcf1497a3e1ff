/**
 * Cases of the composite ops with random inputs: each runs in float64 node by node (unit tests) and on QNN libraries (end-to-end tests), and is compared with
 * what the op means. Shapes are odd on purpose.
 */
import { addOp, type CompositeAttrs, type CompositeName } from '../../lib/graph/composite/index.js';
import type { Encoding } from '../../lib/graph/cpu-builder.js';
import { type DType, isQuantType } from '../../lib/graph/dtype.js';
import { type NpuGraph, NpuGraphBuilder } from '../../lib/graph/npu-graph.js';
import { type Constant, floatConstant } from '../../lib/graph/sink.js';
import { NO_QUANT, type Quant, scaleQuant, type TensorId } from '../../lib/graph/tensor.js';
import { type Bound, EXACT, F16_BOUND } from './bounds.js';
import { REFERENCES } from './composite.js';
import { type Nd, size } from './nd.js';
import { Random } from './random.js';
import { codesOf, decode } from './standard-ops.js';

/** How an input is made. `values`: reals, by default normal; a quantised input is what they round to. */
export interface Operand {
  readonly dtype: DType;
  readonly dims: readonly number[];
  readonly quant?: Quant;
  readonly constant?: boolean;
  readonly values?: (random: Random) => number;
  /** Scale per index of this axis: an S8 weight. */
  readonly axis?: number;
  /** Values in order instead of random ones. */
  readonly list?: readonly number[];
}

export interface CompositeCase {
  readonly op: CompositeName;
  readonly label: string;
  readonly bound: Bound;
  /** The graph, its inputs as they lie in memory, as reals, and the results in float64. */
  make(): { graph: NpuGraph; stored: ArrayLike<number>[]; reals: Nd[]; expected: Nd[] };
}

const SOFTMAX_BOUND: Bound = { kind: 'nmse', most: 1e-5 };
const GELU_BOUND: Bound = { kind: 'nmse', most: 1.5e-6 };
const LINEAR_8: Bound = { kind: 'steps', most: 1, equal: 0.95 };
const LINEAR_16: Bound = { kind: 'steps', most: 2, equal: 0 };
const OTHER_8: Bound = { kind: 'steps', most: 1, equal: 0.5 };
const steps = (most: number): Bound => ({ kind: 'steps', most, equal: 0 });

export function encoding(dtype: 'u8' | 's8' | 'u16', scale: number, offset: number): Encoding {
  return { dtype, quant: scaleQuant(scale, offset) };
}

/** Encodings that fit normal numbers, none of them round. */
export const ENCODINGS = {
  u8: encoding('u8', 0.0313, -121),
  s8: encoding('s8', 0.0287, 0),
  u16: encoding('u16', 0.000131, -32_001),
} as const;
const WIDE = { u8: encoding('u8', 0.0471, -97), s8: encoding('s8', 0.0532, 7), u16: encoding('u16', 0.000197, -30_011) } as const;
type Quantised = keyof typeof ENCODINGS;
const QUANTISED = ['u8', 's8', 'u16'] as const;
const FLOATS = ['f16', 'f32'] as const;

export const t = (dtype: DType, dims: readonly number[], more: Omit<Partial<Operand>, 'dtype' | 'dims'> = {}): Operand => ({
  dtype,
  dims,
  ...(isQuantType(dtype) && more.axis === undefined ? { quant: ENCODINGS[dtype].quant } : {}),
  ...more,
});
const positions = (list: readonly number[]): Operand => t('s32', [list.length], { list });

/** Stores random values as `operand` wants them. Returns the id, and for inputs what has to be given. */
function place(b: NpuGraphBuilder, name: string, operand: Operand, random: Random): { id: TensorId; stored: ArrayLike<number> } {
  const { dtype, dims, axis } = operand;
  const count = size(dims);
  const reals = Float64Array.from({ length: count }, (_, i) => operand.list?.[i] ?? (operand.values ?? ((r) => r.normal()))(random));
  if (axis !== undefined) {
    const scales = Float32Array.from({ length: dims[axis]! }, () => 0.004 + 0.01 * random.uniform());
    const scaleId = b.constant(`${name}.scales`, floatConstant('f32', [scales.length], scales));
    const data = Int8Array.from({ length: count }, () => random.below(255) - 127);
    return { id: b.constant(name, { dtype: 's8', dims, quant: { kind: 'axis', axis, scales: scaleId }, data }), stored: data };
  }
  const quant = operand.quant ?? NO_QUANT;
  const data = arrayOf(dtype, quant, reals);
  const id = operand.constant ? b.constant(name, { dtype, dims, quant, data }) : b.input(name, { dtype, dims, quant });
  return { id, stored: data };
}

export function arrayOf(dtype: DType, quant: Quant, reals: Float64Array): Constant['data'] {
  switch (dtype) {
    case 'f16':
    case 'f32':
      return floatConstant(dtype, [reals.length], reals).data;
    case 'u8':
      return Uint8Array.from(codesOf({ dtype, quant }, reals));
    case 's8':
      return Int8Array.from(codesOf({ dtype, quant }, reals));
    case 'u16':
      return Uint16Array.from(codesOf({ dtype, quant }, reals));
    case 's32':
      // Biases are given as reals, positions as they are.
      return Int32Array.from(quant.kind === 'scale' ? reals.map((x) => Math.round(x / quant.scale)) : reals);
    default:
      throw new Error(`a test input of ${dtype}`);
  }
}

/** One case. */
export function composite<K extends CompositeName>(
  op: K,
  label: string,
  operands: readonly Operand[],
  attrs: CompositeAttrs<K>,
  bound: Bound,
): CompositeCase {
  const make = (): ReturnType<CompositeCase['make']> => {
    const random = new Random([...op, ...label].reduce((h, c) => (Math.imul(h, 31) + c.charCodeAt(0)) >>> 0, 7));
    const b = new NpuGraphBuilder();
    const placed = operands.map((operand, i) => place(b, `in${i}`, operand, random));
    const outputs = addOp(
      b,
      op,
      placed.map(({ id }) => id),
      attrs,
      'out',
    );
    const graph = b.finish(outputs);
    const values = placed.map(({ id, stored }) => decode(b.tensor(id), stored, (scales) => b.tensor(scales).data!));
    const isInput = operands.map((operand) => operand.constant !== true && operand.axis === undefined);
    return {
      graph,
      stored: placed.flatMap(({ stored }, i) => (isInput[i] ? [stored] : [])),
      reals: values.filter((_, i) => isInput[i]),
      expected: REFERENCES[op](values, attrs),
    };
  };
  return { op, label, bound, make };
}

const elementwise = (op: 'Add' | 'Mul'): CompositeCase[] => [
  ...FLOATS.flatMap((f) => [
    composite(op, `${f} rank 4`, [t(f, [1, 1, 13, 48]), t(f, [1, 1, 13, 48])], {}, F16_BOUND),
    composite(op, `${f} rank 2, row stretched`, [t(f, [7, 33]), t(f, [1, 33])], {}, F16_BOUND),
    composite(op, `${f} rank 3, column and middle stretched`, [t(f, [5, 1, 24]), t(f, [5, 3, 1])], {}, F16_BOUND),
  ]),
  ...QUANTISED.map((q) =>
    composite(
      op,
      `${q} with three encodings`,
      [t(q, [1, 1, 16, 40]), t(q, [1, 1, 16, 40], WIDE[q])],
      { to: WIDE[q] },
      q === 'u16' ? steps(2) : OTHER_8,
    ),
  ),
];

const unary = (op: 'SiLU' | 'QuickGELU' | 'ReLU' | 'GELU'): CompositeCase[] =>
  FLOATS.flatMap((f) => [
    composite(op, `${f} rank 2`, [t(f, [9, 130], { values: (r) => r.normal() * 4 })], {}, F16_BOUND),
    // A polynomial that fits the middle fails here. Qualcomm's Gelu does not give x itself where it should: NMSE 1.1e-6 wherever x is above 4.
    composite(
      op,
      `${f} far from 0`,
      [t(f, [1, 2, 8, 32], { values: (r) => (r.uniform() - 0.5) * 60 })],
      {},
      op === 'GELU' ? GELU_BOUND : F16_BOUND,
    ),
  ]);

const norms = (op: 'RMSNorm' | 'LayerNorm'): CompositeCase[] => [
  ...FLOATS.flatMap((f) => [
    composite(
      op,
      `${f}, large epsilon`,
      [t(f, [6, 72], { values: (r) => r.normal() * 0.1 }), t(f, [72], { constant: true })],
      { epsilon: 0.05 },
      F16_BOUND,
    ),
    composite(op, `${f} heads`, [t(f, [1, 9, 17, 64]), t(f, [64], { constant: true })], { epsilon: 1e-6 }, F16_BOUND),
    composite(op, `${f} rank 4, 50 columns`, [t(f, [1, 1, 5, 50]), t(f, [50], { constant: true })], { epsilon: 1e-6 }, F16_BOUND),
  ]),
  composite(
    op,
    'f16 with one value of 20000',
    [t('f16', [4, 64], { list: [20_000] }), t('f16', [64], { constant: true })],
    { epsilon: 1e-5 },
    F16_BOUND,
  ),
  ...QUANTISED.map((q) =>
    composite(
      op,
      `f16 to ${q}`,
      [t('f16', [12, 96]), t('f16', [96], { constant: true })],
      { epsilon: 1e-5, to: ENCODINGS[q] },
      q === 'u16' ? F16_BOUND : OTHER_8,
    ),
  ),
];

const softmaxes: CompositeCase[] = [
  ...FLOATS.flatMap((f) => [
    composite('Softmax', `${f} heads`, [t(f, [1, 3, 7, 40], { values: (r) => r.normal() * 3 })], {}, SOFTMAX_BOUND),
    composite('Softmax', `${f} rank 2, beta 1/8`, [t(f, [5, 96], { values: (r) => r.normal() * 8 })], { beta: 0.125 }, SOFTMAX_BOUND),
  ]),
  composite('Softmax', 'u8', [t('u8', [1, 2, 6, 20])], { to: encoding('u8', 1 / 256, 0) }, OTHER_8),
  composite('Softmax', 's8', [t('s8', [1, 2, 6, 20])], { to: encoding('s8', 1 / 256, 128) }, OTHER_8),
  composite('Softmax', 'u16', [t('u16', [1, 2, 6, 20])], { to: encoding('u16', 1 / 65_536, 0) }, steps(34)),
];

const products: CompositeCase[] = [
  ...FLOATS.flatMap((f) => [
    composite('MatMul', `${f} queries by keys`, [t(f, [1, 3, 9, 64]), t(f, [1, 3, 21, 64])], { transposeB: true }, F16_BOUND),
    composite('MatMul', `${f} weights by values`, [t(f, [1, 3, 9, 21]), t(f, [1, 3, 21, 64])], {}, F16_BOUND),
    composite('MatMul', `${f} left side transposed`, [t(f, [2, 24, 6]), t(f, [2, 24, 10])], { transposeA: true }, F16_BOUND),
    composite(
      'MatMul',
      `${f} matrices, both transposed`,
      [t(f, [24, 6]), t(f, [10, 24])],
      { transposeA: true, transposeB: true },
      F16_BOUND,
    ),
  ]),
  composite(
    'MatMul',
    'u8',
    [t('u8', [1, 2, 8, 32]), t('u8', [1, 2, 12, 32])],
    { transposeB: true, to: encoding('u8', 0.17, -128) },
    LINEAR_8,
  ),
  composite('MatMul', 's8', [t('s8', [1, 2, 8, 32]), t('s8', [1, 2, 32, 12])], { to: encoding('s8', 0.17, 0) }, LINEAR_8),
  composite('MatMul', 's8 by u8', [t('s8', [2, 9, 64]), t('u8', [2, 64, 21])], { to: encoding('s8', 0.25, 0) }, LINEAR_8),
  composite(
    'MatMul',
    'u16 by u8',
    [t('u16', [1, 2, 8, 32]), t('u8', [1, 2, 32, 12], { quant: scaleQuant(0.0313, -128) })],
    { to: encoding('u16', 0.0007, -32_768) },
    LINEAR_16,
  ),
];

const linears: CompositeCase[] = [
  ...QUANTISED.flatMap((q) => {
    const to = { u8: encoding('u8', 0.11, -120), s8: encoding('s8', 0.12, 0), u16: encoding('u16', 0.0004, -32_768) }[q];
    const bound = q === 'u16' ? LINEAR_16 : LINEAR_8;
    return [
      composite('LinearINT8', `${q}, scale per channel`, [t(q, [24, 60]), t('s8', [44, 60], { axis: 0 })], { to }, bound),
      composite('LinearINT8', `${q} rank 4, filter`, [t(q, [1, 1, 16, 96]), t('s8', [1, 1, 96, 32], { axis: 3 })], { to }, bound),
      composite('LinearINT8', `${q} rank 3 by heads, filter`, [t(q, [4, 8, 64]), t('s8', [1, 1, 64, 40], { axis: 3 })], { to }, bound),
    ];
  }),
  composite(
    'LinearINT8',
    's8, one scale, bias',
    [
      t('s8', [1, 6, 64]),
      t('s8', [32, 64], { constant: true, quant: scaleQuant(0.02, 0) }),
      t('s32', [32], { constant: true, quant: scaleQuant(Math.fround(Math.fround(0.0287) * Math.fround(0.02)), 0) }),
    ],
    { to: encoding('s8', 0.11, 0) },
    LINEAR_8,
  ),
];

const moves: CompositeCase[] = (['f16', 'f32', ...QUANTISED] as const).flatMap((d) => {
  // HTP holds F32 as F16.
  const bound = d === 'f32' ? F16_BOUND : EXACT;
  return [
    composite('View', `${d} rows to heads`, [t(d, [6, 3 * 16])], { dims: [1, 6, 3, 16] }, bound),
    composite('View', `${d} to other rows`, [t(d, [1, 8, 5, 6])], { dims: [20, 12] }, bound),
    composite('Transpose', `${d} tokens and heads`, [t(d, [1, 9, 3, 16])], { perm: [0, 2, 1, 3] }, bound),
    composite('Transpose', `${d} values to columns`, [t(d, [1, 9, 3, 16])], { perm: [0, 2, 3, 1] }, bound),
    composite('MergeOutput', `${d} of three shapes`, [t(d, [5, 24]), t(d, [1, 2, 3, 4]), t(d, [1, 7])], {}, bound),
    composite('MergeOutput', `${d} of one`, [t(d, [5, 24])], {}, bound),
    composite(
      'SplitInput',
      `${d} into three shapes`,
      [t(d, [1, 151])],
      {
        parts: [
          [5, 24],
          [1, 2, 3, 4],
          [1, 7],
        ],
      },
      bound,
    ),
    composite('SplitInput', `${d} into one`, [t(d, [4, 6])], { parts: [[2, 12]] }, bound),
  ];
});

const converts: CompositeCase[] = FLOATS.flatMap((f) =>
  QUANTISED.flatMap((q) => [
    composite(
      'Quantize',
      `${f} to ${q}`,
      [t(f, [11, 50], { values: (r) => r.normal() * 2 })],
      { to: ENCODINGS[q] },
      q === 'u16' ? steps(1) : OTHER_8,
    ),
    composite('Dequantize', `${q} to ${f}`, [t(q, [1, 1, 11, 50])], { to: f }, F16_BOUND),
  ]),
);

const HEAD_TOKENS = [0, 1, 5, 17, 255, 256, 100];
const LLAMA3 = { theta: 500_000, maxPosition: 300, factors: Array.from({ length: 16 }, (_, i) => (i < 8 ? 1 : 8)) };
const ropes: CompositeCase[] = [
  ...FLOATS.flatMap((f) => [
    composite('RoPE', `${f} at positions`, [t(f, [1, 3, 7, 64]), positions(HEAD_TOKENS)], { theta: 1e4, maxPosition: 300 }, F16_BOUND),
    composite(
      'RoPE',
      `${f} from 40 on, 1/√d`,
      [t(f, [1, 2, 5, 80])],
      { theta: 1e6, maxPosition: 64, start: 40, scale: 80 ** -0.5 },
      F16_BOUND,
    ),
    composite(
      'RoPE',
      `${f} pairs`,
      [t(f, [1, 3, 7, 24]), positions(HEAD_TOKENS)],
      { theta: 1e4, maxPosition: 300, interleaved: true },
      F16_BOUND,
    ),
    composite('RoPE', `${f} tokens first`, [t(f, [7, 3, 32]), positions(HEAD_TOKENS)], { ...LLAMA3, tokenAxis: 0 }, F16_BOUND),
  ]),
  ...QUANTISED.flatMap((q) =>
    FLOATS.map((to) =>
      composite(
        'IRoPE',
        `${q} to ${to}`,
        [t(q, [1, 3, 7, 64]), positions(HEAD_TOKENS)],
        { theta: 1e4, maxPosition: 300, scale: 0.125, to },
        F16_BOUND,
      ),
    ),
  ),
  // A step whose tables would vanish if they were cut to integers.
  composite(
    'IRoPE',
    's8 with a small step',
    [t('s8', [1, 2, 4, 16], { quant: scaleQuant(2e-4, 0), values: (r) => r.normal() * 0.01 })],
    { theta: 1e4, maxPosition: 8, to: 'f32' },
    F16_BOUND,
  ),
];

const attention: CompositeCase[] = [
  ...FLOATS.flatMap((f) => {
    const bound = f === 'f16' ? EXACT : F16_BOUND;
    const scores = (dims: number[]): Operand => t(f, dims, { values: (r) => r.normal() * 30 });
    return [
      composite('CausalMask', `${f} square`, [scores([1, 3, 9, 9])], {}, bound),
      composite('CausalMask', `${f} after a past`, [scores([2, 4, 11])], {}, bound),
      composite('CausalMask', `${f} before free places`, [scores([1, 1, 4, 16])], { past: 3 }, bound),
      composite('KVMask', `${f} heads`, [scores([1, 3, 4, 20]), positions([5, 6, 7, 19])], {}, bound),
      composite('KVMask', `${f} rank 2`, [scores([3, 2100]), positions([2047, 2050, 0])], {}, bound),
    ];
  }),
  ...(['f16', 'f32', ...QUANTISED] as const).flatMap((d) => {
    const bound = d === 'f32' ? F16_BOUND : EXACT;
    return [
      composite('KVUpdate', `${d} heads first`, [t(d, [3, 20, 16]), t(d, [3, 4, 16]), positions([7, 8, 9, 10])], { axis: 1 }, bound),
      composite('KVUpdate', `${d} rank 4`, [t(d, [1, 2, 12, 8]), t(d, [1, 2, 3, 8]), positions([0, 11, 5])], { axis: 2 }, bound),
      composite('KVUpdate', `${d} positions first`, [t(d, [20, 2, 16]), t(d, [4, 2, 16]), positions([16, 17, 18, 19])], { axis: 0 }, bound),
      composite('KVUpdate', `${d} matrix`, [t(d, [20, 24]), t(d, [1, 24]), positions([13])], { axis: 0 }, bound),
    ];
  }),
];

export const CASES: readonly CompositeCase[] = [
  ...elementwise('Add'),
  ...elementwise('Mul'),
  ...FLOATS.flatMap((f) => [
    composite('Scale', `${f} factor`, [t(f, [4, 30])], { scale: -2.5 }, F16_BOUND),
    composite('Scale', `${f} factor, then summand`, [t(f, [1, 2, 4, 30])], { scale: 0.125, bias: 1.75 }, F16_BOUND),
    composite('Scale', `${f} summand, then factor`, [t(f, [2, 4, 30])], { scale: 3, bias: -0.5, biasAfterScale: false }, F16_BOUND),
    composite('Scale', `${f} summand`, [t(f, [4, 30])], { scale: 1, bias: 5 }, F16_BOUND),
  ]),
  ...unary('SiLU'),
  ...unary('ReLU'),
  ...QUANTISED.map((q) => composite('ReLU', `${q} keeps its encoding`, [t(q, [1, 1, 8, 40])], {}, EXACT)),
  ...unary('GELU'),
  ...QUANTISED.map((q) => composite('GELU', `${q}`, [t(q, [1, 1, 8, 40])], { to: WIDE[q] }, q === 'u16' ? steps(18) : OTHER_8)),
  ...unary('QuickGELU'),
  ...QUANTISED.flatMap((q) => {
    const wide = (d: Quantised): Operand => t(d, [1, 1, 16, 48], { values: (r) => r.normal() * 1.5 });
    return [composite('SuperSiLU', `${q}`, [wide(q), wide(q)], { to: WIDE[q] }, q === 'u16' ? F16_BOUND : OTHER_8)];
  }),
  ...norms('RMSNorm'),
  ...norms('LayerNorm'),
  composite(
    'LayerNorm',
    'f16 with beta',
    [t('f16', [1, 1, 6, 64]), t('f16', [64], { constant: true }), t('f16', [64], { constant: true })],
    { epsilon: 1e-5 },
    F16_BOUND,
  ),
  ...softmaxes,
  ...products,
  ...linears,
  ...moves,
  ...converts,
  ...ropes,
  ...attention,
];
