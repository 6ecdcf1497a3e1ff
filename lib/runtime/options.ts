/** Checks of option objects: unknown names (with the nearest known one) and values, so that a typo is an error and not a default. */
import { LutraError } from '../graph/errors.js';

/** Edits (insert, delete, replace, swap of neighbours) between two words. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/** The known name that `name` most likely meant, or undefined when none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const word = name.toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const other = candidate.toLowerCase();
    const edits = other.startsWith(word) && word.length >= 3 ? 1 : distance(word, other);
    // Words without a letter in common are not near, however short they are.
    if (edits < bestDistance && edits < Math.max(word.length, other.length)) {
      best = candidate;
      bestDistance = edits;
    }
  }
  return best;
}

/** Says what is wrong with a value ("an integer of at least 1"), or undefined when it is right. */
export type Check = (value: unknown) => string | undefined;

export const integer =
  (min: number, max = Number.MAX_SAFE_INTEGER): Check =>
  (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? undefined
      : max === Number.MAX_SAFE_INTEGER && !((value as number) > max)
        ? `an integer of at least ${min}`
        : `an integer from ${min} to ${max}`;

export const number =
  (min: number, max = Number.POSITIVE_INFINITY): Check =>
  (value) =>
    typeof value === 'number' && value >= min && value <= max && Number.isFinite(value)
      ? undefined
      : max === Number.POSITIVE_INFINITY
        ? `a number of at least ${min}`
        : `a number from ${min} to ${max}`;

export const boolean: Check = (value) => (typeof value === 'boolean' ? undefined : 'true or false');

export const text: Check = (value) => (typeof value === 'string' ? undefined : 'a text');

export const callable: Check = (value) => (typeof value === 'function' ? undefined : 'a function');

export const strings: Check = (value) =>
  Array.isArray(value) && value.every((item) => typeof item === 'string' && item.length > 0) ? undefined : 'a list of non-empty strings';

export const objects: Check = (value) =>
  Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null) ? undefined : 'a list of objects';

export const abortSignal: Check = (value) => (value instanceof AbortSignal ? undefined : 'an AbortSignal');

export const oneOf =
  (...values: string[]): Check =>
  (value) =>
    values.includes(value as string) ? undefined : values.map((one) => `'${one}'`).join(' or ');

/** Throws LUTRA_INVALID_ARGUMENT unless `options` is an object every key of which is in `checks`, with a value that passes; `undefined` always passes. */
export function checkOptions(where: string, options: unknown, checks: Record<string, Check>): void {
  const known = Object.keys(checks);
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The options of ${where} are ${show(options)}, not an object.`,
      `Known options: ${known.join(', ')}.`,
    );
  }
  for (const [key, value] of Object.entries(options)) {
    const check = checks[key];
    if (!Object.hasOwn(checks, key) || !check) {
      const meant = nearest(key, known);
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `${where} has no option '${key}'${meant ? `; did you mean '${meant}'?` : '.'}`,
        `Known options: ${known.join(', ')}.`,
      );
    }
    const expected = value === undefined ? undefined : check(value);
    if (expected) throw new LutraError('LUTRA_INVALID_ARGUMENT', `Option '${key}' of ${where} is ${show(value)}, but must be ${expected}.`);
  }
}

/** A value as it may stand in a sentence. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 57)}…` : value}'`;
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'a list' : 'an object';
  return String(value);
}
