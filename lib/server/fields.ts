/** Readers of JSON values: each says what it takes, and a value that is not that is a 400 which names the field. */
import { nearest, show } from '../runtime/options.js';
import { type ApiError, invalid } from './errors.js';

/** Reads a value that stands at a path such as `messages[2].role`. Throws ApiError. */
export type Reader<T> = (value: unknown, at: string) => T;

export type Fields = Readonly<Record<string, Reader<unknown>>>;

/** What the readers of an object give; a field that is absent or null is undefined. */
export type Read<F extends Fields> = { [K in keyof F]: ReturnType<F[K]> | undefined };

/** JSON may be nested this deep: schemas and templates are walked with the stack. */
export const MAX_DEPTH = 64;

function wrong(value: unknown, at: string, expected: string): ApiError {
  return invalid(at, `'${at}' is ${show(value)}, but must be ${expected}.`, 'invalid_type');
}

export const text: Reader<string> = (value, at) => {
  if (typeof value !== 'string') throw wrong(value, at, 'a string');
  return value;
};

export const filled: Reader<string> = (value, at) => {
  if (typeof value !== 'string' || value.length === 0) throw wrong(value, at, 'a string that is not empty');
  return value;
};

export const flag: Reader<boolean> = (value, at) => {
  if (typeof value !== 'boolean') throw wrong(value, at, 'true or false');
  return value;
};

export const number =
  (min: number, max: number): Reader<number> =>
  (value, at) => {
    if (typeof value !== 'number') throw wrong(value, at, `a number from ${min} to ${max}`);
    if (!(value >= min && value <= max)) throw invalid(at, `'${at}' is ${value}, but must be from ${min} to ${max}.`, 'invalid_value');
    return value;
  };

export const integer =
  (min: number, max = Number.MAX_SAFE_INTEGER): Reader<number> =>
  (value, at) => {
    const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
    if (typeof value !== 'number' || !Number.isInteger(value)) throw wrong(value, at, `an integer ${range}`);
    if (value < min || value > max) throw invalid(at, `'${at}' is ${value}, but must be an integer ${range}.`, 'invalid_value');
    return value;
  };

export const oneOf =
  <const T extends string>(...values: readonly T[]): Reader<T> =>
  (value, at) => {
    const found = values.find((one) => one === value);
    if (found === undefined) throw invalid(at, `'${at}' is ${show(value)}, but must be ${values.map(show).join(' or ')}.`, 'invalid_value');
    return found;
  };

export const list =
  <T>(item: Reader<T>, min = 0, max = Number.POSITIVE_INFINITY): Reader<T[]> =>
  (value, at) => {
    if (!Array.isArray(value)) throw wrong(value, at, 'a list');
    if (value.length < min || value.length > max) {
      const wanted = value.length < min ? `at least ${min}` : `at most ${max}`;
      throw invalid(at, `'${at}' has ${value.length} entries, but must have ${wanted}.`, 'invalid_value');
    }
    return value.map((one, i) => item(one, `${at}[${i}]`));
  };

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A JSON object, whatever is in it. */
export const anyObject: Reader<Record<string, unknown>> = (value, at) => {
  if (!isObject(value)) throw wrong(value, at, 'an object');
  return value;
};

/** An object with these fields and no others. `at`: empty for the request itself. */
export const object =
  <F extends Fields>(fields: F): Reader<Read<F>> =>
  (value, at) => {
    if (!isObject(value))
      throw at === '' ? invalid('body', 'The request is not a JSON object.', 'invalid_type') : wrong(value, at, 'an object');
    const inside = (key: string) => (at === '' ? key : `${at}.${key}`);
    for (const key of Object.keys(value)) {
      if (Object.hasOwn(fields, key)) continue;
      const meant = nearest(key.slice(0, 60), Object.keys(fields));
      throw invalid(
        inside(key.slice(0, 60)),
        `There is no field ${show(inside(key))}${meant ? `; did you mean '${meant}'?` : '.'}`,
        'unknown_parameter',
      );
    }
    const entries = Object.entries(fields).map(([key, reader]) => {
      const given = Object.hasOwn(value, key) ? value[key] : undefined;
      return [key, given === undefined || given === null ? undefined : reader(given, inside(key))];
    });
    return Object.fromEntries(entries) as Read<F>;
  };

/** A field that must be there. */
export function needed<T>(value: T | undefined, at: string): T {
  if (value === undefined) throw invalid(at, `'${at}' is missing.`, 'missing_required_parameter');
  return value;
}

/** Accepted in any form: what cannot change the answer. */
export const ignored: Reader<undefined> = () => undefined;

/** Accepted where it asks for what happens anyway; otherwise an error that says why it cannot be had. */
export const only =
  (accept: (value: unknown) => boolean, why: string): Reader<undefined> =>
  (value, at) => {
    if (!accept(value)) throw invalid(at, `'${at}' is ${show(value)}: ${why}`, 'unsupported_value');
    return undefined;
  };

export const is =
  (...values: unknown[]) =>
  (value: unknown): boolean =>
    values.includes(value);

/** Whether a JSON value is nested no deeper than `depth`; looks without recursion. */
export function isShallow(value: unknown, depth: number): boolean {
  let level = [value];
  for (let i = 0; i <= depth; i++) {
    level = level.flatMap((one) => (typeof one === 'object' && one !== null ? Object.values(one) : []));
    if (level.length === 0) return true;
  }
  return false;
}
