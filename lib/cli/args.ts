/** Command lines: flags as data, one-line errors with the nearest known flag. */
import { parseArgs } from 'node:util';
import { nearest } from '../runtime/options.js';

/** A wrong command line; exit code 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

export interface Flag {
  /** Placeholder of its value in the help; absent: a switch. */
  value?: string;
  short?: string;
  /** May be given more than once. */
  multiple?: boolean;
  help: string;
}

export type Flags = Readonly<Record<string, Flag>>;

export interface Command {
  /** "run", "qnn info" */
  name: string;
  summary: string;
  /** What stands for the positional arguments in the usage line. */
  positionals: readonly string[];
  flags: Flags;
  run(args: Arguments): Promise<void>;
}

/** A command line that names only known flags, each with a value where one is needed. */
export class Arguments {
  readonly positionals: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(positionals: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.positionals = positionals;
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#values.has(name);
  }

  list(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  string(name: string): string | undefined {
    return this.list(name).at(-1);
  }

  required(name: string): string {
    const value = this.string(name);
    if (value === undefined) throw new UsageError(`--${name} is missing.`);
    return value;
  }

  number(name: string): number | undefined {
    const text = this.string(name);
    if (text === undefined) return undefined;
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isFinite(value)) throw new UsageError(`--${name} needs a number, not '${text}'.`);
    return value;
  }

  integer(name: string, min = 0): number | undefined {
    const value = this.number(name);
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= min)) {
      throw new UsageError(`--${name} needs an integer of at least ${min}, not '${this.string(name)}'.`);
    }
    return value;
  }
}

/** Reads the arguments after the command's name. Throws UsageError. */
export function parseCommandLine(command: Command, argv: readonly string[]): Arguments {
  const { flags } = command;
  const options = Object.fromEntries(
    Object.entries(flags).map(([name, { value, short }]) => [
      name,
      { type: value ? ('string' as const) : ('boolean' as const), multiple: true, ...(short ? { short } : {}) },
    ]),
  );
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true });
  const values = new Map<string, string[]>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (!flag) throw unknownFlag(command, token.rawName);
    if (flag.value && (token.value === undefined || token.value === ''))
      throw new UsageError(`${token.rawName} needs a value: ${token.rawName} ${flag.value}.`);
    if (!flag.value && token.value !== undefined) throw new UsageError(`${token.rawName} takes no value.`);
    const before = values.get(token.name) ?? [];
    if (before.length > 0 && flag.value && !flag.multiple) throw new UsageError(`${token.rawName} is given twice.`);
    values.set(token.name, [...before, token.value ?? '']);
  }
  checkPositionals(command, positionals);
  return new Arguments(positionals, values);
}

function unknownFlag(command: Command, raw: string): UsageError {
  const meant = nearest(raw.replace(/^-+/, ''), Object.keys(command.flags));
  return new UsageError(
    `lutra ${command.name} has no flag ${raw}${meant ? `; did you mean --${meant}?` : `; see lutra ${command.name} --help.`}`,
  );
}

function checkPositionals(command: Command, given: readonly string[]): void {
  const wanted = command.positionals;
  if (given.length < wanted.length)
    throw new UsageError(`lutra ${command.name} needs ${wanted[given.length]}: lutra ${command.name} ${wanted.join(' ')}`);
  if (given.length > wanted.length) throw new UsageError(`lutra ${command.name} does not take '${given[wanted.length]}'.`);
}

/** Help text of one command. */
export function helpOf(command: Command): string {
  const rows = Object.entries(command.flags).map(([name, { value, short, help }]) => {
    const left = `${short ? `-${short}, ` : ''}--${name}${value ? ` ${value}` : ''}`;
    return [left, help] as const;
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  const usage = ['lutra', command.name, ...command.positionals, '[flags]'].join(' ');
  return [`${command.summary}`, '', `Usage: ${usage}`, '', ...rows.map(([left, help]) => `  ${left.padEnd(width)}  ${help}`)].join('\n');
}
