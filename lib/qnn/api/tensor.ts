/** Tensors of a graph under construction. Name, type, shape and kind of encoding are part of their TypeScript type. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import type { NativeTensor } from '../../native/qnn-addon.js';
import { type DType, type FixedPoint, isDType, isFixedPoint, QNN_DTYPES } from './dtype.js';
import { type Encoding, type EncodingKind, type EncodingOf, formatEncoding, nativeEncoding } from './encoding.js';

/** Lengths of the dimensions, row major. A literal gives a rank that ops check at compile time; a `number[]` has no rank and fits untyped nodes only. */
export type Dims = readonly number[];
export type Rank1 = readonly [number];
export type Rank2 = readonly [number, number];
export type Rank3 = readonly [number, number, number];
export type Rank4 = readonly [number, number, number, number];
export type Rank5 = readonly [number, number, number, number, number];

/** input and output: given and taken at every execution. internal: between nodes. constant: given once. */
export type Role = 'input' | 'output' | 'internal' | 'constant';

/** Fixed-point types must have an encoding, others must not. */
export type NeedsEncoding<D extends DType> = D extends FixedPoint ? { readonly encoding: Encoding } : { readonly encoding?: undefined };

/** What a tensor is, beside its name and data. A {@link Tensor} is one too, so that `graph.internal('y', x)` makes one like x. */
export type TensorSpec<D extends DType = DType, S extends Dims = Dims, E extends Encoding | undefined = Encoding | undefined> = {
  readonly dtype: D;
  readonly dims: S;
  readonly encoding?: E;
} & NeedsEncoding<D>;

export class Tensor<N extends string = string, D extends DType = DType, S extends Dims = Dims, K extends EncodingKind = EncodingKind> {
  readonly name: N;
  readonly role: Role;
  readonly dtype: D;
  readonly dims: S;
  readonly encoding: EncodingOf<K>;
  readonly #owner: object;
  readonly #index: number;

  /** Made by a GraphBuilder. */
  constructor(name: N, role: Role, spec: { dtype: D; dims: S; encoding: EncodingOf<K> }, owner: object, index: number) {
    this.name = name;
    this.role = role;
    this.dtype = spec.dtype;
    this.dims = spec.dims;
    this.encoding = spec.encoding;
    this.#owner = owner;
    this.#index = index;
  }

  get length(): number {
    return elementsOf(this.dims);
  }

  /** "x: u8 [128, 576] scale 0.02 offset -128". */
  toString(): string {
    return `${this.name}: ${this.dtype} [${this.dims.join(', ')}]${formatEncoding(this.encoding)}`;
  }

  /** The number under which the addon knows it. Throws LUTRA_INVALID_ARGUMENT when `value` is not a tensor of `owner`. */
  static indexIn(owner: object, value: unknown, what: string): number {
    if (!(value instanceof Tensor)) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what} is not a tensor.`);
    if (value.#owner !== owner) throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what}, '${value.name}', is a tensor of another graph.`);
    return value.#index;
  }
}

export function elementsOf(dims: Dims): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** For the addon. Throws LUTRA_INVALID_ARGUMENT when type and encoding do not go together. */
export function nativeTensor(name: string, spec: TensorSpec): NativeTensor {
  const what = `tensor '${String(name)}'`;
  if (typeof spec !== 'object' || spec === null)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `The description of ${what} is not an object.`);
  const { dtype, dims, encoding } = spec as { dtype: unknown; dims: unknown; encoding?: Encoding };
  if (!isDType(dtype)) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The type of ${what} is ${inspect(dtype, { depth: 0 })}.`,
      `Types: ${Object.keys(QNN_DTYPES).join(', ')}.`,
    );
  }
  if (!Array.isArray(dims)) throw new LutraError('LUTRA_INVALID_ARGUMENT', `The dims of ${what} are not an array.`);
  if (isFixedPoint(dtype) && encoding === undefined) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `${what} is ${dtype}, which needs an encoding.`,
      'Add encoding: scaleOffset(scale, offset).',
    );
  }
  if (!isFixedPoint(dtype) && encoding !== undefined) {
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what} is ${dtype}, which has no encoding.`);
  }
  return {
    name,
    dtype: QNN_DTYPES[dtype].code,
    dims: [...(dims as number[])],
    ...(encoding === undefined ? {} : { encoding: nativeEncoding(encoding, what) }),
  };
}
