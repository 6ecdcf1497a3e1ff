/** Checks of what a caller hands over as options. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import type { ProfileHandle } from '../../native/qnn-addon.js';

/** Throws LUTRA_INVALID_ARGUMENT unless `options` is an object with no other fields than `known`. */
export function checkFields(what: string, options: unknown, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `The options of ${what} are ${inspect(options, { depth: 0, maxStringLength: 60 })}, not an object.`,
      `Known options: ${known.join(', ')}.`,
    );
  }
  const stray = Object.keys(options).find((name) => !known.includes(name));
  if (stray !== undefined)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `${what} has no option '${stray}'.`, `Known options: ${known.join(', ')}.`);
}

/** The handle of an optional profile, for the addon, which knows whether it is one. */
export function profileHandle(profile: { readonly handle: ProfileHandle } | undefined): ProfileHandle | null {
  if (profile === undefined) return null;
  if (typeof profile === 'object' && profile !== null && typeof profile.handle === 'object') return profile.handle;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `${inspect(profile, { depth: 0 })} is not a profile.`,
    'Make one: backend.createProfile().',
  );
}
