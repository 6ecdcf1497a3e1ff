/** Values of a JSON file that somebody else wrote, each checked where it is taken. */

import { isObject } from '../../files/read.js';
import { LutraError } from '../../graph/errors.js';

/** A value as it may stand in a sentence. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** The fields of one object of a file. */
export class Fields {
  constructor(
    /** Of the file, and of the object in it. */
    readonly where: string,
    readonly values: Readonly<Record<string, unknown>>,
  ) {}

  /** The error of a value that is not what it should be. */
  wrong(name: string, expected: string): LutraError {
    const found = this.has(name) ? `is ${shown(this.values[name])}` : 'is missing';
    return new LutraError(
      'LUTRA_BAD_FILE',
      `${this.where}: ${name} ${found}; ${expected} is expected`,
      'Download or export the model again.',
    );
  }

  unsupported(
    what: string,
    remedy = 'lutra converts decoders with RMS norms, rotary embedding and a gated MLP (docs/porting.md).',
  ): LutraError {
    return new LutraError('LUTRA_UNSUPPORTED', `${this.where}: ${what}`, remedy);
  }

  /** Whether there is a value; null is none. */
  has(name: string): boolean {
    return this.get(name) !== undefined;
  }

  get isEmpty(): boolean {
    return Object.keys(this.values).length === 0;
  }

  /** A value of any type; undefined when there is none. */
  get(name: string): unknown {
    return Object.hasOwn(this.values, name) ? (this.values[name] ?? undefined) : undefined;
  }

  /** A whole number from `min` to `most`. Without `fallback` it must be there. */
  integer(name: string, min: number, fallback?: number, most = 2 ** 31 - 1): number {
    const value = this.get(name) ?? fallback;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= most) return value;
    throw this.wrong(name, `a whole number from ${min} to ${most}`);
  }

  /** A number above 0 that F32 holds. */
  positive(name: string, fallback?: number): number {
    const value = this.get(name) ?? fallback;
    if (typeof value === 'number' && Math.fround(value) > 0 && Number.isFinite(Math.fround(value))) return value;
    throw this.wrong(name, 'a number above 0');
  }

  string(name: string, fallback?: string): string {
    const value = this.get(name) ?? fallback;
    if (typeof value === 'string') return value;
    throw this.wrong(name, 'a text');
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.get(name) ?? fallback;
    if (typeof value === 'boolean') return value;
    throw this.wrong(name, 'true or false');
  }

  /** An object in this one; undefined when there is none. */
  object(name: string): Fields | undefined {
    const value = this.get(name);
    if (value === undefined) return undefined;
    if (isObject(value)) return new Fields(`${this.where}, ${name}`, value);
    throw this.wrong(name, 'an object');
  }
}
