/**
 * Reads and checks a model directory before anything native sees it: a missing, foreign or truncated one is one error that says so.
 * Only headers are read; the weights are mapped later by the engine.
 */
import type { FileHandle } from 'node:fs/promises';
import { open, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, ModelSpec } from '../graph/spec.js';
import { show } from './options.js';

export const SPEC_FILE = 'lutra.json';
export const CPU_WEIGHTS = 'cpu.safetensors';
export const NPU_WEIGHTS = 'npu.safetensors';

/** A safetensors header may not be larger than this; more is a foreign file, not a model. */
const MAX_HEADER_BYTES = 64 * 1024 * 1024;

/** A checked model directory. Paths are absolute. */
export interface ModelDirectory {
  path: string;
  spec: ModelSpec;
  cpuWeights: string;
  /** `null` when the model was converted without NPU weights. */
  npuWeights: string | null;
}

const reconvert = (path: string): string => `Convert the model again: lutra convert model.gguf -o ${path}`;

function bad(path: string, what: string): LutraError {
  return new LutraError('LUTRA_BAD_FILE', what, reconvert(path));
}

async function exists(file: string): Promise<boolean> {
  return stat(file).then(
    (found) => found.isFile(),
    () => false,
  );
}

/** Opens a model directory. Throws LUTRA_NOT_FOUND, LUTRA_BAD_FILE or LUTRA_UNSUPPORTED. */
export async function openModelDirectory(directory: string): Promise<ModelDirectory> {
  const path = resolve(directory);
  const found = await stat(path).catch(() => undefined);
  if (!found)
    throw new LutraError('LUTRA_NOT_FOUND', `There is no model directory ${path}.`, `Make one: lutra convert model.gguf -o ${path}`);
  if (!found.isDirectory()) {
    throw new LutraError('LUTRA_BAD_FILE', `${path} is a file, not a model directory.`, `Convert it first: lutra convert ${path} -o DIR`);
  }
  const specFile = join(path, SPEC_FILE);
  if (!(await exists(specFile))) {
    throw bad(path, `${path} is not a lutra model directory: it has no ${SPEC_FILE}.`);
  }
  const spec = await readSpec(path, specFile);
  const cpuWeights = join(path, CPU_WEIGHTS);
  const npuWeights = spec.hashes.npu === null ? null : join(path, NPU_WEIGHTS);
  for (const file of [cpuWeights, npuWeights]) if (file) await checkSafetensors(path, file);
  return { path, spec, cpuWeights, npuWeights };
}

async function readSpec(path: string, file: string): Promise<ModelSpec> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new LutraError('LUTRA_BAD_FILE', `${file} is not JSON: ${(error as Error).message}`, reconvert(path), { cause: error });
  }
  const problem = specProblem(value);
  if (problem?.unsupported) throw new LutraError('LUTRA_UNSUPPORTED', `${file}: ${problem.what}`, reconvert(path));
  if (problem) throw bad(path, `${file}: ${problem.what}`);
  return value as ModelSpec;
}

type JsonObject = Record<string, unknown>;

const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value);

const counts = [
  'vocab',
  'hidden',
  'ffn',
  'layers',
  'heads',
  'kvHeads',
  'headDim',
  'maxContext',
] as const satisfies readonly (keyof ArchSpec)[];

/** What is wrong with a parsed lutra.json, as far as this version can tell. */
function specProblem(value: unknown): { what: string; unsupported?: boolean } | undefined {
  if (!isObject(value)) return { what: 'is not an object.' };
  if (value.format !== 1) return { what: `has format ${show(value.format)}, this version reads format 1.`, unsupported: true };
  const { arch, hashes, tokens, tensors, linears, chunk } = value;
  if (!isObject(arch)) return { what: "has no object 'arch'." };
  if (arch.family !== 'llama') return { what: `is of family ${show(arch.family)}, this version runs 'llama'.`, unsupported: true };
  for (const name of counts) {
    if (!Number.isSafeInteger(arch[name]) || (arch[name] as number) < 1)
      return { what: `arch.${name} is ${show(arch[name])}, not a count.` };
  }
  if (!(typeof arch.rmsEps === 'number' && typeof arch.ropeTheta === 'number'))
    return { what: 'arch.rmsEps or arch.ropeTheta is not a number.' };
  if (!Number.isSafeInteger(chunk) || (chunk as number) < 1) return { what: `chunk is ${show(chunk)}, not a count.` };
  if (!isObject(tensors) || !isObject(linears)) return { what: "has no objects 'tensors' and 'linears'." };
  if (!isObject(hashes) || typeof hashes.cpu !== 'string' || !(hashes.npu === null || typeof hashes.npu === 'string')) {
    return { what: "has no 'hashes' of the weight files." };
  }
  if (!isObject(tokens) || !Array.isArray(tokens.eos)) return { what: "has no object 'tokens' with a list 'eos'." };
  return undefined;
}

/** Name, type, shape and place of one tensor of a safetensors file; offsets count from the start of the file. */
export interface StoredTensor {
  name: string;
  dtype: string;
  shape: number[];
  begin: number;
  end: number;
}

async function readExactly(handle: FileHandle, length: number, position: number): Promise<Buffer | undefined> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await handle.read(buffer, 0, length, position);
  return bytesRead === length ? buffer : undefined;
}

/** Reads a safetensors header and checks that its tensors end where the file ends. */
export async function checkSafetensors(directory: string, file: string): Promise<StoredTensor[]> {
  const handle = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    throw bad(directory, error.code === 'ENOENT' ? `${file} is missing.` : `${file} cannot be read: ${error.message}`);
  });
  try {
    const { size } = await handle.stat();
    const prefix = await readExactly(handle, 8, 0);
    const length = prefix ? Number(prefix.readBigUInt64LE()) : 0;
    if (length < 2 || length > MAX_HEADER_BYTES) throw bad(directory, `${file} is not a safetensors file.`);
    if (8 + length > size) throw bad(directory, `${file} is truncated: ${size} bytes, its header alone has ${8 + length}.`);
    const header = await readExactly(handle, length, 8);
    const tensors = header && parseHeader(header, 8 + length);
    if (!tensors) throw bad(directory, `${file} is not a safetensors file: its header does not parse.`);
    const end = tensors.reduce((most, tensor) => Math.max(most, tensor.end), 8 + length);
    if (end > size) throw bad(directory, `${file} is truncated: ${size} bytes, its tensors need ${end}.`);
    if (end < size) throw bad(directory, `${file} has ${size - end} bytes after its last tensor.`);
    return tensors;
  } finally {
    await handle.close();
  }
}

function parseHeader(header: Buffer, base: number): StoredTensor[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(header.toString('utf8'));
  } catch {
    return undefined;
  }
  if (!isObject(value)) return undefined;
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of Object.entries(value)) {
    if (name === '__metadata__') continue;
    if (!isObject(entry) || typeof entry.dtype !== 'string' || !Array.isArray(entry.shape) || !Array.isArray(entry.data_offsets))
      return undefined;
    const [begin, end] = entry.data_offsets as unknown[];
    if (!Number.isSafeInteger(begin) || !Number.isSafeInteger(end) || (begin as number) < 0 || (end as number) < (begin as number))
      return undefined;
    tensors.push({
      name,
      dtype: entry.dtype,
      shape: entry.shape as number[],
      begin: base + (begin as number),
      end: base + (end as number),
    });
  }
  return tensors;
}
