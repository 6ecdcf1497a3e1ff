/** The real model and what it is measured with. Everything comes from the cache that the fetch scripts fill. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EngineTimings } from '../../lib/native/addon.js';
import { prose, windowStarts } from '../../lib/runtime/evaluate.js';
import type { Tokenizer } from '../../lib/runtime/tokenizer.js';
import { writeF32Gguf } from '../oracle/gguf.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));
export const cache = resolve(root, process.env.LUTRA_CACHE || '.cache');
export const gguf = join(cache, 'gguf', 'SmolLM2-135M-Instruct.Q4_1.gguf');
export const qnnLibrary = join(cache, 'qnn', 'libQnnHtp.so');
/** SM8650. */
export const SOC = 57;

/** Directory of a converted model; converts it first when it is not there or out of date. */
export function modelDirectory(
  name:
    | 'smollm2-135m'
    | 'smollm2-135m-w8a16'
    | 'smollm2-135m-int8'
    | 'smollm2-135m-naive'
    | 'smollm2-135m-qwen2'
    | 'smollm2-135m-qwen2-biased',
): string {
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'scripts/lib/models.mjs'), name], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (status !== 0) throw new Error(`model ${name} cannot be made; run scripts/test`);
  return stdout.trim();
}

/** The values of the GGUF file as F32; written once. */
export async function f32Gguf(): Promise<string> {
  const writer = readFileSync(join(root, 'tests/oracle/gguf.mjs'));
  const version = createHash('sha256').update(writer).digest('hex').slice(0, 12);
  const file = join(cache, 'oracle', `f32-${version}.gguf`);
  mkdirSync(join(cache, 'oracle'), { recursive: true });
  if (!existsSync(file)) await writeF32Gguf(gguf, file);
  return file;
}

export function book(name: 'alice29.txt' | 'lcet10.txt'): Promise<string> {
  return readFile(join(cache, 'text', name), 'utf8');
}

/** Windows of a book, as `lutra eval --prose` takes them. */
export async function windows(tokenizer: Tokenizer, name: 'alice29.txt' | 'lcet10.txt', count: number, size: number): Promise<number[][]> {
  const tokens = tokenizer.encode(prose(await book(name)));
  return windowStarts(tokens.length, count, size).map((start) => tokens.slice(start, start + size));
}

/** Σ (a − b)² / Σ b² */
export function nmse(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length || a.length === 0) throw new Error(`${a.length} and ${b.length} values`);
  let error = 0;
  let power = 0;
  for (let i = 0; i < a.length; i++) {
    error += (a[i]! - b[i]!) ** 2;
    power += b[i]! ** 2;
  }
  return error / power;
}

/** Row i of [rows × width]. */
export function row(values: Float32Array, i: number, width: number): Float32Array {
  return values.subarray(i * width, (i + 1) * width);
}

/** Largest minus second largest. */
export function margin(logits: Float32Array): number {
  let first = Number.NEGATIVE_INFINITY;
  let second = first;
  for (const value of logits) {
    if (value > first) {
      second = first;
      first = value;
    } else if (value > second) second = value;
  }
  return first - second;
}

export interface CliResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs the built command line. */
export function lutra(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<CliResult> {
  return new Promise((done) => {
    const options = { maxBuffer: 1 << 28, env: { ...process.env, LUTRA_CACHE: cache, ...env } };
    execFile(process.execPath, [join(root, 'dist/cli/main.js'), ...args], options, (error, stdout, stderr) => {
      done({ code: error ? (typeof error.code === 'number' ? error.code : -1) : 0, stdout, stderr });
    });
  });
}

/** What `lutra run --json` prints. */
export interface RunJson {
  text: string;
  tokens: number[];
  finishReason: string;
  prefill: { tokens: number; ms: number; tokensPerSecond: number };
  decode: { tokens: number; ms: number; tokensPerSecond: number };
  placement: { npu: string | null; segments: { where: string; graphs: number; nodes: number }[]; context: string };
  peakRssBytes: number;
  backend: { name: string; buildId: string; apiVersion: string } | null;
  timings: Record<'prefill' | 'decode', EngineTimings>;
  loadMs: { map: number; plan: number; graphs: number };
  bytes: { weights: number; activations: number; kvCache: number };
}

/** The one JSON object of a run that must succeed. */
export async function lutraJson<T>(args: readonly string[], env?: NodeJS.ProcessEnv): Promise<T> {
  const { code, stdout, stderr } = await lutra([...args, '--json'], env);
  if (code !== 0) throw new Error(`lutra ${args.join(' ')} ended with ${code}: ${stderr}`);
  return JSON.parse(stdout) as T;
}

export const PROMPTS = [
  'The capital of France is',
  'Once upon a time, in a small village by the sea,',
  'def fibonacci(n):',
  'The three laws of thermodynamics state that',
  'Dear Sir or Madam,\n\nI am writing to',
  'List five fruits and their colours:\n1.',
] as const;
