/** Parameters of ops: scalars and small constant tensors, described by a schema that gives their TypeScript types too. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import type { U32Tensor } from '../../graph/schema.js';
import type { NativeParam } from '../../native/qnn-addon.js';

/** `[1, 1]` has one dimension, `[[0, 0], [1, 1]]` two; more are written out as dims and values. */
export type NumberTensor = readonly number[] | readonly (readonly number[])[] | U32Tensor;

export interface ParamTypes {
  f32: number;
  u32: number;
  i32: number;
  bool: boolean;
  u32s: NumberTensor;
  i32s: NumberTensor;
  f32s: NumberTensor;
}
export type ParamType = keyof ParamTypes;
/** A type, optional with a question mark, or the names of a UINT32 parameter's values, in order. */
export type ParamSpec = ParamType | `${ParamType}?` | readonly string[];
export type ParamSchema = Readonly<Record<string, ParamSpec>>;

type IsOptional<S extends ParamSpec> = S extends `${ParamType}?` ? true : false;
type ValueOf<S extends ParamSpec> = S extends readonly string[]
  ? S[number]
  : S extends ParamType
    ? ParamTypes[S]
    : S extends `${infer T extends ParamType}?`
      ? ParamTypes[T]
      : never;
/** Values by name, as a caller of a typed op gives them. */
export type ParamsOf<S extends ParamSchema> = {
  readonly [K in keyof S as IsOptional<S[K]> extends true ? never : K]: ValueOf<S[K]>;
} & { readonly [K in keyof S as IsOptional<S[K]> extends true ? K : never]?: ValueOf<S[K]> };

/** A parameter of an untyped node says its type: `{ u32: 1 }`, `{ u32s: [1, 1] }`. */
export type TaggedParam = { [K in ParamType]: { readonly [_ in K]: ParamTypes[K] } }[ParamType];

const SCALARS: readonly string[] = ['f32', 'u32', 'i32', 'bool'];
const TENSORS: Readonly<
  Record<string, { array: Uint32ArrayConstructor | Int32ArrayConstructor | Float32ArrayConstructor; integer: boolean }>
> = {
  u32s: { array: Uint32Array, integer: true },
  i32s: { array: Int32Array, integer: true },
  f32s: { array: Float32Array, integer: false },
};

function bad(name: string, value: unknown, expected: string): LutraError {
  return new LutraError('LUTRA_INVALID_ARGUMENT', `Parameter '${name}' is ${inspect(value, { depth: 1 })}; expected: ${expected}.`);
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((x) => typeof x === 'number');
}

/** Dimensions and elements of a tensor in either notation. */
function flatten(name: string, value: unknown): { dims: number[]; values: readonly number[] } {
  if (isNumbers(value)) return { dims: [value.length], values: value };
  if (Array.isArray(value)) {
    const [first] = value;
    if (value.every(isNumbers) && value.every((row) => row.length === (first as readonly number[]).length)) {
      return { dims: [value.length, (first as readonly number[]).length], values: value.flat() };
    }
  } else if (typeof value === 'object' && value !== null && 'dims' in value && 'values' in value) {
    const { dims, values } = value;
    if (isNumbers(dims) && isNumbers(values) && dims.reduce((n, d) => n * d, 1) === values.length) return { dims: [...dims], values };
  }
  throw bad(name, value, 'numbers, rows of numbers, or { dims, values }');
}

function tensorParam(name: string, type: string, value: unknown): NativeParam {
  const { dims, values } = flatten(name, value);
  const { array, integer } = TENSORS[type]!;
  const stored = array.from(values);
  const fits = integer ? values.every((x, i) => stored[i] === x) : values.every((x) => Number.isFinite(x));
  if (!fits) throw bad(name, value, type);
  return { name, type: 'tensor', dims, values: stored };
}

/** One parameter for the addon; numbers of scalars are checked there. */
function nativeParam(name: string, type: string, value: unknown): NativeParam {
  if (Object.hasOwn(TENSORS, type)) return tensorParam(name, type, value);
  if (type === 'bool') {
    if (typeof value !== 'boolean') throw bad(name, value, 'a boolean');
    return { name, type, value };
  }
  if (typeof value !== 'number') throw bad(name, value, 'a number');
  return { name, type: type as 'f32' | 'u32' | 'i32', value };
}

/** Parameters of a typed op for the addon. Throws LUTRA_INVALID_ARGUMENT for one that is missing, unknown or of another type. */
export function paramsBySchema(op: string, schema: ParamSchema, given: Readonly<Record<string, unknown>> = {}): NativeParam[] {
  const unknown = Object.keys(given).find((name) => !Object.hasOwn(schema, name));
  if (unknown !== undefined) {
    const names = Object.keys(schema).join(', ') || 'none';
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${op} has no parameter '${unknown}'.`, `Its parameters: ${names}.`);
  }
  const out: NativeParam[] = [];
  for (const [name, spec] of Object.entries(schema)) {
    const value = given[name];
    if (typeof spec !== 'string') {
      const index = spec.indexOf(value as string);
      if (index < 0) throw bad(name, value, spec.join(', '));
      out.push({ name, type: 'u32', value: index });
    } else if (value !== undefined) {
      out.push(nativeParam(name, spec.replace('?', ''), value));
    } else if (!spec.endsWith('?')) {
      throw bad(name, value, spec);
    }
  }
  return out;
}

/** What a schema calls the type of a parameter as the addon has it. */
function typeOf(param: NativeParam): string {
  if (param.type !== 'tensor') return param.type;
  return Object.keys(TENSORS).find((type) => param.values instanceof TENSORS[type]!.array) ?? param.type;
}

/**
 * Parameters of an untyped node for the addon. `schema` is that of the op where it is known: its parameters must be there and of their types, because
 * validators crash on some that are not; others may be added. Throws LUTRA_INVALID_ARGUMENT.
 */
export function paramsByTag(op: string, given: Readonly<Record<string, TaggedParam>> = {}, schema: ParamSchema = {}): NativeParam[] {
  const params = tagged(given);
  for (const [name, spec] of Object.entries(schema)) {
    const param = params.find((one) => one.name === name);
    const optional = typeof spec !== 'string' || spec.endsWith('?');
    const type = typeof spec === 'string' ? spec.replace('?', '') : 'u32';
    if (param ? typeOf(param) !== type : !optional) {
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `${op} ${param ? 'has' : 'needs'} the parameter '${name}' as ${type}.`);
    }
  }
  return params;
}

function tagged(given: Readonly<Record<string, TaggedParam>>): NativeParam[] {
  return Object.entries(given).map(([name, value]) => {
    const entries = typeof value === 'object' && value !== null ? Object.entries(value) : [];
    const [entry] = entries;
    const known = entry !== undefined && (SCALARS.includes(entry[0]) || Object.hasOwn(TENSORS, entry[0]));
    if (entries.length !== 1 || !known) throw bad(name, value, 'one of f32, u32, i32, bool, u32s, i32s, f32s, as in { u32: 1 }');
    return nativeParam(name, entry[0], entry[1]);
  });
}
