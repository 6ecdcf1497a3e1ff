/**
 * A fuzzer for the parsers that are written in TypeScript: mutations that know text and numbers, kept when V8's block coverage grows.
 *
 * Usage: node fuzz.js TARGET CORPUS CRASHES SECONDS SEEDS; CORPUS (grows), CRASHES and SEEDS are folders. Prints one line of figures; exit code 1 when an input failed. An input fails when
 * it throws anything but LutraError, takes more than a second of processor time, or allocates more than `BASE` and four times its size, garbage included.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { Session } from 'node:inspector/promises';
import { join } from 'node:path';
import { LutraError } from '../../../lib/graph/errors.js';
import { Random } from '../../reference/random.js';
import { TARGETS, type Target } from './targets.js';

/** Windows of readers, compiled regular expressions and what V8 allocates of its own accord: none of it depends on the input. */
const BASE = 32 * 2 ** 20;
const FACTOR = 4;
const SECONDS_PER_INPUT = 1;
const MAX_BYTES = 16_384;
/** Inputs between two looks at the coverage. */
const BATCH = 4;
const MAX_CRASHES = 20;

/** Blocks of our own files that have run. */
class Coverage {
  readonly #session = new Session();
  readonly #seen = new Set<string>();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  get blocks(): number {
    return this.#seen.size;
  }

  /** Whether anything ran since the last call that never ran before. */
  async grew(): Promise<boolean> {
    const before = this.#seen.size;
    const { result } = await this.#session.post('Profiler.takePreciseCoverage');
    for (const { url, functions } of result) {
      if (!/\/lib\/|@huggingface/.test(url)) continue;
      for (const { ranges } of functions) {
        for (const { startOffset, endOffset, count } of ranges) if (count > 0) this.#seen.add(`${url}:${startOffset}:${endOffset}`);
      }
    }
    return this.#seen.size > before;
  }
}

class Mutator {
  constructor(
    private readonly random: Random,
    private readonly target: Target,
  ) {}

  private below(n: number): number {
    return Math.floor(this.random.uniform() * n);
  }

  private pick<T>(list: readonly T[]): T | undefined {
    return list[this.below(list.length)];
  }

  /** One small change. */
  private step(input: Buffer, corpus: readonly Buffer[]): Buffer {
    const at = this.below(input.length + 1);
    const end = Math.min(input.length, at + 1 + this.below(this.below(4) === 0 ? 256 : 8));
    const replace = (by: Uint8Array) => Buffer.concat([input.subarray(0, at), by, input.subarray(end)]);
    switch (this.below(9)) {
      case 0:
        return replace(Buffer.of(this.below(256)));
      case 1:
        return replace(Buffer.alloc(0));
      case 2:
        return Buffer.concat([input.subarray(0, at), Buffer.from(this.pick(this.target.words) ?? '', 'latin1'), input.subarray(at)]);
      case 3:
        return replace(Buffer.from(this.pick(this.target.words) ?? '', 'utf8'));
      case 4:
        return Buffer.concat([input.subarray(0, end), input.subarray(at)]);
      case 5: {
        const other = this.pick(corpus) ?? input;
        const from = this.below(other.length + 1);
        return Buffer.concat([input.subarray(0, at), other.subarray(from, from + this.below(512)), input.subarray(end)]);
      }
      case 6: {
        // Another number in place of a written one.
        const text = input.toString('latin1', at);
        const number = /\d+/.exec(text)?.[0];
        if (number === undefined) return input;
        const value = this.pick(['0', '1', '-1', '2', '65536', '4294967295', '9007199254740992', '1e308', `${Number(number) + 1}`]) ?? '0';
        return Buffer.from(input.toString('latin1', 0, at) + text.replace(/\d+/, value), 'latin1');
      }
      case 7: {
        const copy = Buffer.from(input);
        if (copy.length >= 8) copy.writeInt32LE(this.pick([0, 1, -1, 0x7fffffff, 8, 9, 255, 65_536]) ?? 0, this.below(copy.length - 3));
        return copy;
      }
      default: {
        const copy = Buffer.from(input);
        if (at < copy.length) copy[at] = (copy[at] ?? 0) ^ (1 << this.below(8));
        return copy;
      }
    }
  }

  next(corpus: readonly Buffer[]): Buffer {
    let input: Buffer = Buffer.from(this.pick(corpus) ?? Buffer.alloc(0));
    for (let n = 1 + this.below(4); n > 0; n--) input = this.step(input, corpus);
    input = Buffer.from(input.subarray(0, MAX_BYTES));
    return this.below(8) === 0 ? input : (this.target.repair?.(input) ?? input);
  }
}

/** What is wrong with an input; nothing for most. */
async function failure(target: Target, input: Buffer): Promise<string | undefined> {
  const memory = process.memoryUsage();
  const cpu = process.cpuUsage();
  let thrown: unknown;
  try {
    await target.run(input);
  } catch (error) {
    if (!(error instanceof LutraError)) thrown = error;
  }
  const { user } = process.cpuUsage(cpu);
  const after = process.memoryUsage();
  const allocated = after.heapUsed + after.external - memory.heapUsed - memory.external;
  if (thrown !== undefined) return `throws ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}`;
  if (user > SECONDS_PER_INPUT * 1e6) return `takes ${(user / 1e6).toFixed(1)} s`;
  const allowed = BASE + FACTOR * input.length;
  return allocated > allowed ? `allocates ${allocated} bytes, allowed are ${allowed}` : undefined;
}

function seedsOf(folder: string): Buffer[] {
  mkdirSync(folder, { recursive: true });
  return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
}

async function fuzz(name: string, folder: string, crashFolder: string, seconds: number, seeds: string): Promise<number> {
  const target = TARGETS[name];
  if (!target) throw new Error(`no target ${name}; known: ${Object.keys(TARGETS).join(', ')}`);
  const corpus = [...seedsOf(seeds), ...seedsOf(folder)];
  const coverage = new Coverage();
  await coverage.start();
  // Another sequence for every state of the corpus, the same one for the same state.
  const mutator = new Mutator(new Random(corpus.length), target);
  const end = Date.now() + seconds * 1000;
  const failures = new Set<string>();
  let executions = 0;
  const execute = async (input: Buffer) => {
    executions++;
    const what = await failure(target, input);
    if (what === undefined) return;
    // The same place in the code is one failure, whatever the values.
    const place = what.split('\n', 3).join('\n').replace(/\d+/g, 'N');
    if (failures.has(place)) return;
    failures.add(place);
    mkdirSync(crashFolder, { recursive: true });
    const path = join(crashFolder, `crash-${createHash('sha1').update(input).digest('hex')}`);
    writeFileSync(path, input);
    console.error(`${name}: ${path} ${what}`);
  };
  for (const input of corpus) await execute(input);
  await coverage.grew();
  while (Date.now() < end && failures.size < MAX_CRASHES) {
    const batch = Array.from({ length: BATCH }, () => mutator.next(corpus));
    for (const input of batch) await execute(input);
    if (!(await coverage.grew())) continue;
    // One of the four did it; to find out which would cost more than to keep them.
    for (const input of batch) {
      corpus.push(input);
      writeFileSync(join(folder, createHash('sha1').update(input).digest('hex')), input);
    }
  }
  const peak = Math.round(process.resourceUsage().maxRSS / 1024);
  console.log(`${name}: ${executions} executions, ${coverage.blocks} blocks, ${failures.size} crashes, peak ${peak} MB`);
  return failures.size === 0 ? 0 : 1;
}

const [name = '', corpus = '', crashes = '', seconds = '0', seeds = corpus] = process.argv.slice(2);
process.exitCode = await fuzz(name, corpus, crashes, Number(seconds), seeds);
