/**
 * Reads and checks a model directory before anything native sees it: a missing, foreign, truncated or damaged one is one error that says so.
 * Of the weights only headers and small tensors are read; they are mapped later by the engine.
 */
import { stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { isObject, jsonObject, MAX_JSON_BYTES, readBytes } from '../files/read.js';
import { sealOf } from '../files/sealed.js';
import { LutraError } from '../graph/errors.js';
import { MODEL_FORMAT, type ModelSpec, TOKENIZER_FILES } from '../graph/spec.js';
import { checkSpec } from '../models/index.js';
import { show } from './options.js';
import { WeightFile } from './weight-file.js';

export const SPEC_FILE = 'lutra.json';
export const CPU_WEIGHTS = 'cpu.safetensors';
export const NPU_WEIGHTS = 'npu.safetensors';

/** A checked model directory. */
export interface ModelDirectory {
  /** Absolute. */
  path: string;
  spec: ModelSpec;
  cpu: WeightFile;
  /** `null` when the model was converted without NPU weights. */
  npu: WeightFile | null;
}

const reconvert = (path: string): string => `Convert the model again: lutra convert model.gguf -o ${path}`;

function bad(path: string, what: string): LutraError {
  return new LutraError('LUTRA_BAD_FILE', what, reconvert(path));
}

/** Opens a model directory. Throws LUTRA_NOT_FOUND, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED or LUTRA_IO. */
export async function openModelDirectory(directory: string): Promise<ModelDirectory> {
  const path = resolve(directory);
  const found = await stat(path).catch(() => undefined);
  if (!found)
    throw new LutraError('LUTRA_NOT_FOUND', `There is no model directory ${path}.`, `Make one: lutra convert model.gguf -o ${path}`);
  if (!found.isDirectory()) {
    throw new LutraError('LUTRA_BAD_FILE', `${path} is a file, not a model directory.`, `Convert it first: lutra convert ${path} -o DIR`);
  }
  const spec = await readSpec(path);
  const { cpu, npu } = spec.hashes;
  return {
    path,
    spec,
    cpu: await WeightFile.open(join(path, CPU_WEIGHTS), cpu, reconvert(path)),
    npu: npu && (await WeightFile.open(join(path, NPU_WEIGHTS), npu, reconvert(path))),
  };
}

async function readSpec(path: string): Promise<ModelSpec> {
  const file = join(path, SPEC_FILE);
  const wanted = { remedy: reconvert(path), missing: 'LUTRA_BAD_FILE' } as const;
  const bytes = await readBytes(file, MAX_JSON_BYTES, wanted).catch((error: unknown) => {
    const absent = error instanceof LutraError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';
    throw absent ? bad(path, `${path} is not a lutra model directory: it has no ${SPEC_FILE}.`) : error;
  });
  const seal = sealOf(bytes);
  // Before anything is made of the content: a damaged number may look like another format.
  if (seal !== 'absent' && seal.stored !== seal.found)
    throw bad(path, `${file} is damaged or was changed: it carries the checksum ${seal.stored}, its bytes have ${seal.found}.`);
  const { checksum: _, ...value } = jsonObject(bytes, file, wanted);
  const problem = frameProblem(value);
  if (problem?.unsupported) throw new LutraError('LUTRA_UNSUPPORTED', `${file}: ${problem.what}`, reconvert(path));
  if (problem) throw bad(path, `${file}: ${problem.what}`);
  if (seal === 'absent') throw bad(path, `${file} is damaged or was changed: it does not end with its checksum.`);
  const spec = value as Partial<ModelSpec> as ModelSpec;
  checkSpec(spec);
  return spec;
}

/** What is wrong with the frame of a parsed lutra.json; what is in it is checked by {@link checkSpec}. */
function frameProblem({ format, arch, hashes }: Record<string, unknown>): { what: string; unsupported?: boolean } | undefined {
  if (format !== MODEL_FORMAT) return { what: `has format ${show(format)}, this version reads format ${MODEL_FORMAT}.`, unsupported: true };
  if (!isObject(arch)) return { what: "has no object 'arch'." };
  if (!isObject(hashes) || !isFileHashes(hashes.cpu) || !(hashes.npu === null || isFileHashes(hashes.npu)))
    return { what: "has no 'hashes' of the weight files." };
  const { tokenizer } = hashes;
  if (!isObject(tokenizer) || !TOKENIZER_FILES.every((name) => typeof tokenizer[name] === 'string'))
    return { what: "has no 'hashes' of the tokenizer's files." };
  return undefined;
}

function isFileHashes(value: unknown): boolean {
  return isObject(value) && typeof value.sha256 === 'string' && typeof value.header === 'string' && isObject(value.tensors);
}
