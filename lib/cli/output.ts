/** What goes where: results on standard output, everything else on standard error, progress on a terminal only. */
import { LutraError } from '../graph/errors.js';
import { UsageError } from './args.js';

/** Writes one line to standard error. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

export function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** The one JSON object of a --json run. */
export function printJson(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A bar that redraws itself on standard error; silent unless that is a terminal. */
export class ProgressBar {
  readonly #enabled: boolean;
  #shown = false;
  #lastDraw = 0;

  constructor(enabled: boolean = process.stderr.isTTY === true && process.env.CI === undefined) {
    this.#enabled = enabled;
  }

  update(label: string, done: number, total: number): void {
    if (!this.#enabled || total <= 0) return;
    const now = Date.now();
    if (done < total && now - this.#lastDraw < 50) return;
    this.#lastDraw = now;
    const share = Math.min(1, done / total);
    const filled = Math.round(share * 30);
    const bar = `${'█'.repeat(filled)}${'░'.repeat(30 - filled)}`;
    process.stderr.write(`\r\x1b[K${bar} ${String(Math.floor(share * 100)).padStart(3)} % ${label}`);
    this.#shown = true;
  }

  /** Takes the bar off the screen. */
  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

/** Highest resident memory of this process so far. */
export function peakRssBytes(): number {
  return process.resourceUsage().maxRSS * 1024;
}

const SIZE_UNITS = ['B', 'kB', 'MB', 'GB'] as const;

/** 98362432 → "98.4 MB" */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < SIZE_UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${SIZE_UNITS[unit]}`;
}

/** Exit code of a failed run: 2 for a wrong command line, 1 for everything else. */
export function exitCodeOf(error: unknown): number {
  return error instanceof UsageError ? 2 : 1;
}

/** An error as the user sees it: the sentence, then what to do, then (for defects) where. */
export function describeError(error: unknown): string {
  if (error instanceof UsageError) return error.message;
  if (error instanceof LutraError) return [`${error.message} [${error.code}]`, error.remedy].filter(Boolean).join('\n');
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** The same for --json runs. */
export function errorObject(error: unknown): object {
  const code = error instanceof LutraError ? error.code : error instanceof UsageError ? 'USAGE' : 'LUTRA_INTERNAL';
  const remedy = error instanceof LutraError ? error.remedy : error instanceof UsageError ? 'See lutra --help.' : '';
  return { error: { code, message: error instanceof Error ? error.message : String(error), remedy } };
}
