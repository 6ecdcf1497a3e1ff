/**
 * Composite ops on random shapes, types and attributes. What a library gets wrong depends on shapes that nobody thinks of: this is how RmsNorm over two row
 * dimensions and MatMul of mixed types were found.
 */
import type { CompositeName } from '../../lib/graph/composite/index.js';
import { scaleQuant } from '../../lib/graph/tensor.js';
import { type Bound, EXACT, F16_BOUND } from './bounds.js';
import { type CompositeCase, composite, ENCODINGS, encoding, t } from './composite-cases.js';
import { Random } from './random.js';

const FLOATS = ['f16', 'f32'] as const;
const QUANTISED = ['u8', 's8', 'u16'] as const;
const ALL = [...FLOATS, ...QUANTISED] as const;
type Quantised = (typeof QUANTISED)[number];

const within = (most: number, equal = 0): Bound => ({ kind: 'steps', most, equal });
/** Shares of small results say little; HTP also cuts off instead of rounding at the end of an F16 tensor. */
const OTHER_8 = within(1, 0.3);
const LINEAR_8 = within(1, 0.8);
const SOFTMAX_BOUND: Bound = { kind: 'nmse', most: 1.5e-5 };
/** Qualcomm's is off by up to 43 steps of 65536. */
const SOFTMAX_16 = within(64);
const GELU_BOUND: Bound = { kind: 'nmse', most: 1.5e-6 };
const PRODUCT = { u8: encoding('u8', 0.3, -128), s8: encoding('s8', 0.3, 0), u16: encoding('u16', 0.001, -32_768) } as const;
const PROBABILITY = { u8: encoding('u8', 1 / 256, 0), s8: encoding('s8', 1 / 256, 128), u16: encoding('u16', 1 / 65_536, 0) } as const;

const isQuantised = (dtype: (typeof ALL)[number]): dtype is Quantised => dtype !== 'f16' && dtype !== 'f32';
const moved = (dtype: (typeof ALL)[number]): Bound => (dtype === 'f32' ? F16_BOUND : EXACT);

/** Draws shapes. */
class Dice {
  readonly random: Random;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.random.below(from.length)]!;
  }

  get columns(): number {
    return this.pick([7, 8, 16, 24, 32, 33, 40, 48, 64, 80, 96, 128]);
  }

  get rows(): number {
    return this.pick([1, 2, 3, 5, 8, 16, 17, 32, 64, 100, 128]);
  }

  get heads(): number {
    return this.pick([1, 2, 3, 4, 8, 9]);
  }

  get shape(): number[] {
    const [heads, rows, columns] = [this.heads, this.rows, this.columns];
    return this.pick([
      [rows, columns],
      [heads, rows, columns],
      [1, heads, rows, columns],
      [1, rows, heads, columns],
      [1, 1, rows, columns],
    ]);
  }

  /** A shape that stretches to `dims`. */
  stretched(dims: readonly number[]): number[] {
    return dims.map((d) => (this.random.uniform() < 0.25 ? 1 : d));
  }

  /** 0 … n − 1 in random order. */
  order(n: number): number[] {
    const list = [...Array(n).keys()];
    for (let i = n - 1; i > 0; i--) {
      const j = this.random.below(i + 1);
      [list[i], list[j]] = [list[j]!, list[i]!];
    }
    return list;
  }

  positions(count: number, below: number): ReturnType<typeof t> {
    return t('s32', [count], { list: Array.from({ length: count }, () => this.random.below(below)) });
  }
}

type Draw = (d: Dice, label: string) => CompositeCase;

const binary =
  (op: 'Add' | 'Mul'): Draw =>
  (d, label) => {
    const dtype = d.pick(ALL);
    const full = d.shape;
    const sides = d.pick([0, 1]) === 0 ? [full, d.stretched(full)] : [d.stretched(full), full];
    const operands = sides.map((dims) => t(dtype, dims));
    if (!isQuantised(dtype)) return composite(op, label, operands, {}, F16_BOUND);
    return composite(op, label, operands, { to: ENCODINGS[dtype] }, dtype === 'u16' ? within(2) : OTHER_8);
  };

const unary =
  (op: 'SiLU' | 'QuickGELU'): Draw =>
  (d, label) =>
    composite(op, label, [t(d.pick(FLOATS), d.shape, { values: (r) => r.normal() * 4 })], {}, F16_BOUND);

const norm =
  (op: 'RMSNorm' | 'LayerNorm'): Draw =>
  (d, label) => {
    const [dtype, dims, to] = [d.pick(FLOATS), d.shape, d.pick([undefined, ...QUANTISED])];
    const operands = [t(dtype, dims), t(dtype, [dims.at(-1)!], { constant: true })];
    const attrs = { epsilon: 1e-5, ...(to ? { to: ENCODINGS[to] } : {}) };
    return composite(op, label, operands, attrs, to !== undefined && to !== 'u16' ? OTHER_8 : F16_BOUND);
  };

/** Operands and attributes that RoPE and IRoPE share. */
function rope(d: Dice, dtype: (typeof ALL)[number]) {
  const [heads, rows, width] = [d.heads, d.rows, d.pick([8, 16, 32, 64, 80, 128])];
  const [dims, tokenAxis] = d.pick<[number[], number]>([
    [[1, heads, rows, width], 2],
    [[1, rows, heads, width], 1],
    [[heads, rows, width], 1],
    [[rows, heads, width], 0],
    [[rows, width], 0],
  ]);
  const attrs = { theta: 1e4, maxPosition: 512, interleaved: d.pick([false, true]), scale: d.pick([1, width ** -0.5]), tokenAxis };
  const operands = d.pick([true, false]) ? [t(dtype, dims), d.positions(rows, 512)] : [t(dtype, dims)];
  return { operands, attrs };
}

const DRAWS: { readonly [K in CompositeName]: Draw } = {
  Add: binary('Add'),
  Mul: binary('Mul'),
  Scale: (d, label) =>
    composite('Scale', label, [t(d.pick(FLOATS), d.shape)], { scale: d.random.normal(), bias: d.pick([0, 0.7]) }, F16_BOUND),
  SiLU: unary('SiLU'),
  QuickGELU: unary('QuickGELU'),
  ReLU: (d, label) => {
    const dtype = d.pick(ALL);
    return composite('ReLU', label, [t(dtype, d.shape)], {}, moved(dtype));
  },
  GELU: (d, label) => {
    const dtype = d.pick(ALL);
    if (!isQuantised(dtype)) return composite('GELU', label, [t(dtype, d.shape)], {}, GELU_BOUND);
    return composite('GELU', label, [t(dtype, d.shape)], { to: ENCODINGS[dtype] }, dtype === 'u16' ? within(18) : OTHER_8);
  },
  SuperSiLU: (d, label) => {
    const [dims, to] = [d.shape, d.pick(QUANTISED)];
    const bound: Bound = to === 'u16' ? { kind: 'nmse', most: 2e-6 } : OTHER_8;
    return composite('SuperSiLU', label, [t(d.pick(QUANTISED), dims), t(d.pick(QUANTISED), dims)], { to: ENCODINGS[to] }, bound);
  },
  RMSNorm: norm('RMSNorm'),
  LayerNorm: norm('LayerNorm'),
  Softmax: (d, label) => {
    const dtype = d.pick(ALL);
    const dims = d.shape.with(-1, d.pick([8, 33, 64, 100, 128, 256, 512]));
    if (!isQuantised(dtype)) return composite('Softmax', label, [t(dtype, dims)], {}, SOFTMAX_BOUND);
    return composite('Softmax', label, [t(dtype, dims)], { to: PROBABILITY[dtype] }, dtype === 'u16' ? SOFTMAX_16 : OTHER_8);
  },
  MatMul: (d, label) => {
    const dtype = d.pick(ALL);
    const lead = d.pick([[], [d.heads], [1, d.heads]]);
    const [m, k, n] = [d.rows, d.columns, d.pick([4, 16, 21, 64, 128, 200])];
    const [transposeA, transposeB] = [d.pick([false, true]), d.pick([false, true])];
    const right = dtype === 'u16' ? 'u8' : dtype === 's8' ? d.pick(['u8', 's8'] as const) : dtype;
    const symmetric = dtype === 'u16' ? { quant: scaleQuant(0.03, -128) } : {};
    const operands = [
      t(dtype, [...lead, ...(transposeA ? [k, m] : [m, k])]),
      t(right, [...lead, ...(transposeB ? [n, k] : [k, n])], symmetric),
    ];
    if (!isQuantised(dtype)) return composite('MatMul', label, operands, { transposeA, transposeB }, F16_BOUND);
    return composite('MatMul', label, operands, { transposeA, transposeB, to: PRODUCT[dtype] }, dtype === 'u16' ? within(2) : LINEAR_8);
  },
  LinearINT8: (d, label) => {
    const [dtype, dims, n] = [d.pick(QUANTISED), d.shape, d.columns];
    const weight = d.pick([t('s8', [n, dims.at(-1)!], { axis: 0 }), t('s8', [1, 1, dims.at(-1)!, n], { axis: 3 })]);
    return composite('LinearINT8', label, [t(dtype, dims), weight], { to: PRODUCT[dtype] }, dtype === 'u16' ? within(2) : LINEAR_8);
  },
  View: (d, label) => {
    const [dtype, dims] = [d.pick(ALL), d.shape];
    const [width, n] = [dims.at(-1)!, dims.reduce((a, b) => a * b, 1)];
    return composite(
      'View',
      label,
      [t(dtype, dims)],
      { dims: d.pick([[n], [1, n], [width, n / width], [1, 1, n / width, width]]) },
      moved(dtype),
    );
  },
  Transpose: (d, label) => {
    const [dtype, dims] = [d.pick(ALL), d.shape];
    return composite('Transpose', label, [t(dtype, dims)], { perm: d.order(dims.length) }, moved(dtype));
  },
  MergeOutput: (d, label) => {
    const dtype = d.pick(ALL);
    const parts = Array.from({ length: 1 + d.random.below(4) }, () => t(dtype, d.shape));
    return composite('MergeOutput', label, parts, {}, moved(dtype));
  },
  SplitInput: (d, label) => {
    const dtype = d.pick(ALL);
    const parts = Array.from({ length: 1 + d.random.below(4) }, () => d.shape);
    const n = parts.reduce((sum, dims) => sum + dims.reduce((a, b) => a * b, 1), 0);
    return composite('SplitInput', label, [t(dtype, [1, n])], { parts }, moved(dtype));
  },
  Quantize: (d, label) => {
    const to = d.pick(QUANTISED);
    return composite('Quantize', label, [t(d.pick(FLOATS), d.shape)], { to: ENCODINGS[to] }, to === 'u16' ? within(1) : OTHER_8);
  },
  Dequantize: (d, label) => composite('Dequantize', label, [t(d.pick(QUANTISED), d.shape)], { to: d.pick(FLOATS) }, F16_BOUND),
  RoPE: (d, label) => {
    const { operands, attrs } = rope(d, d.pick(FLOATS));
    return composite('RoPE', label, operands, attrs, F16_BOUND);
  },
  IRoPE: (d, label) => {
    const { operands, attrs } = rope(d, d.pick(QUANTISED));
    return composite('IRoPE', label, operands, { ...attrs, to: d.pick(FLOATS) }, F16_BOUND);
  },
  CausalMask: (d, label) => {
    const [dtype, rows] = [d.pick(FLOATS), d.rows];
    const keys = rows + d.pick([0, 1, 5, 100]);
    return composite(
      'CausalMask',
      label,
      [
        t(
          dtype,
          d.pick([
            [rows, keys],
            [d.heads, rows, keys],
            [1, d.heads, rows, keys],
          ]),
        ),
      ],
      {},
      moved(dtype),
    );
  },
  KVMask: (d, label) => {
    const [dtype, rows] = [d.pick(FLOATS), d.rows];
    const keys = rows + d.pick([0, 1, 5, 100, 500]);
    const scores = t(
      dtype,
      d.pick([
        [rows, keys],
        [d.heads, rows, keys],
        [1, d.heads, rows, keys],
      ]),
    );
    return composite('KVMask', label, [scores, d.positions(rows, keys)], {}, moved(dtype));
  },
  KVUpdate: (d, label) => {
    const [dtype, length, heads, width] = [d.pick(ALL), d.pick([8, 20, 128, 256]), d.heads, d.pick([8, 16, 64])];
    const tokens = Math.min(length, d.rows);
    const [dims, axis] = d.pick<[number[], number]>([
      [[length, heads, width], 0],
      [[heads, length, width], 1],
      [[1, heads, length, width], 2],
      [[length, width], 0],
      [[1, length, heads, width], 1],
    ]);
    const places = t('s32', [tokens], { list: d.order(length).slice(0, tokens) });
    return composite('KVUpdate', label, [t(dtype, dims), t(dtype, dims.with(axis, tokens)), places], { axis }, moved(dtype));
  },
};

/** `count` cases of every op; the same for the same seed. */
export function randomCases(seed: number, count: number): CompositeCase[] {
  return (Object.keys(DRAWS) as CompositeName[]).flatMap((op, o) =>
    Array.from({ length: count }, (_, i) => DRAWS[op](new Dice(seed + 1000 * o + i), `random ${seed}.${i}`)),
  );
}
