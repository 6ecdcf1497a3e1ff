/**
 * `--precision KIND=NAME,…`: which arithmetic each kind of linear gets on the NPU.
 */
import { LutraError } from '../graph/errors.js';
import type { ChoiceRecord, LinearKind, LinearName, Precision } from '../graph/spec.js';

type Goal = ChoiceRecord['goal'];

export type PrecisionByKind = Record<LinearKind, Precision>;

export const KINDS: readonly LinearKind[] = ['qkv', 'o', 'gateup', 'down'];
export const PRECISIONS: readonly Precision[] = ['w8a8', 'w8a8s', 'w8a16', 'w8f16'];

export const KIND_OF: Readonly<Record<LinearName, LinearKind>> = {
  q: 'qkv',
  k: 'qkv',
  v: 'qkv',
  o: 'o',
  gate: 'gateup',
  up: 'gateup',
  down: 'down',
};

export const DEFAULT_PRECISION: Readonly<PrecisionByKind> = { qkv: 'w8a8s', o: 'w8a8s', gateup: 'w8a16', down: 'w8a16' };

function wrong(what: string): LutraError {
  return new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `Precision: ${what}`,
    `Write KIND=NAME,… with kinds ${KINDS.join(', ')} (or all) and names ${PRECISIONS.join(', ')}.`,
  );
}

function isKind(text: string): text is LinearKind {
  return (KINDS as readonly string[]).includes(text);
}

function isPrecision(text: string): text is Precision {
  return (PRECISIONS as readonly string[]).includes(text);
}

/** Refuses what has no meaning: gate and up have no CPU repair, it would cost a graph break. */
export function checkPrecision(precision: PrecisionByKind): PrecisionByKind {
  for (const kind of KINDS) {
    if (!isPrecision(precision[kind])) throw wrong(`"${String(precision[kind])}" is no precision (kind ${kind})`);
  }
  if (precision.gateup === 'w8a8s') throw wrong('gate and up cannot be repaired on the CPU (w8a8s)');
  return precision;
}

/** Parses the option. Kinds that it does not name keep the default; a named kind wins over `all`. */
export function parsePrecision(text: string): PrecisionByKind {
  const result: PrecisionByKind = { ...DEFAULT_PRECISION };
  const named = new Set<string>();
  const entries = text.split(',').map((entry) => entry.trim());
  // `all` first, whatever its place: "down=w8a16,all=w8a8" means the same as "all=w8a8,down=w8a16".
  entries.sort((a, b) => Number(/^all\s*=/.test(b)) - Number(/^all\s*=/.test(a)));
  for (const entry of entries) {
    const [kind = '', name = '', ...rest] = entry.split('=').map((part) => part.trim());
    if (rest.length > 0 || name === '') throw wrong(`"${entry}" is not KIND=NAME`);
    if (!isPrecision(name)) throw wrong(`"${name}" is no precision`);
    if (named.has(kind)) throw wrong(`kind "${kind}" appears twice`);
    named.add(kind);
    if (kind === 'all') for (const each of KINDS) result[each] = name;
    else if (isKind(kind)) result[kind] = name;
    else throw wrong(`"${kind}" is no kind of linear`);
  }
  return checkPrecision(result);
}

/** The option that {@link parsePrecision} reads back. */
export function formatPrecision(precision: PrecisionByKind): string {
  return KINDS.map((kind) => `${kind}=${precision[kind]}`).join(',');
}

/** Throws LUTRA_INVALID_ARGUMENT. */
export function checkGoal(goal: Goal): Goal {
  if ('maxKl' in goal && Number.isFinite(goal.maxKl) && goal.maxKl > 0) return goal;
  if ('int8Share' in goal && goal.int8Share >= 0 && goal.int8Share <= 1) return goal;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `The goal ${JSON.stringify(goal)} is none`,
    'Give a KL above 0 (in nats) or a share of 8-bit linears from 0 to 1.',
  );
}
