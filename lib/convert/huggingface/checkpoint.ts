/** A directory of Hugging Face: config.json, tensors by name over all safetensors files, read piece by piece. */
import { type FileHandle, readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileError, jsonObject, MAX_JSON_BYTES, openFile, readBytes, readFully, utf8 } from '../../files/read.js';
import { parseSafetensorsHeader, readSafetensorsHeader, type StoredTensor } from '../../files/safetensors.js';
import { LutraError } from '../../graph/errors.js';
import { Fields } from './fields.js';

const REMEDY = 'Download or export the model again.';
const INDEX = 'model.safetensors.index.json';
const BLOCK_BYTES = 1 << 20;
const MAX_DEPTH = 64;

/** Bytes of an element by the format's names. */
const ELEMENT_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
};

interface OpenFile {
  path: string;
  handle: FileHandle;
  size: number;
}

export interface CheckpointTensor extends StoredTensor {
  file: OpenFile;
}

export class Checkpoint {
  readonly tensors = new Map<string, CheckpointTensor>();
  protected readonly files: OpenFile[] = [];

  protected constructor(
    readonly path: string,
    readonly config: Fields,
    /** Of the JSON files. */
    private readonly directory = path,
  ) {}

  /** Opens a directory and checks the headers of its files. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE. */
  static async open(path: string): Promise<Checkpoint> {
    const config = await readFields(join(path, 'config.json'));
    if (!config) {
      const remedy = 'Give a GGUF file, a directory with config.json, tokenizer.json and safetensors files, or an .mllm file.';
      throw new LutraError('LUTRA_BAD_FILE', `${path} is not a model of Hugging Face: it has no config.json`, remedy);
    }
    const checkpoint = new Checkpoint(path, config);
    try {
      for (const name of await fileNames(path)) await checkpoint.add(join(path, name));
      return checkpoint;
    } catch (error) {
      await checkpoint.close();
      throw fileError(path, error);
    }
  }

  bad(what: string): LutraError {
    return new LutraError('LUTRA_BAD_FILE', `${this.path}: ${what}`, REMEDY);
  }

  /** A JSON file of the directory; undefined when there is none. */
  json(name: string): Promise<Fields | undefined> {
    return readFields(join(this.directory, name));
  }

  /** A text file of the directory; undefined when there is none. */
  async text(name: string): Promise<string | undefined> {
    const path = join(this.directory, name);
    const bytes = await readOptional(path);
    return bytes && utf8(bytes, path, { remedy: REMEDY });
  }

  /** Of all weight files. */
  get size(): number {
    return this.files.reduce((bytes, { size }) => bytes + size, 0);
  }

  /** The weight files one after another; a block is valid until the next one is asked for. */
  async *blocks(): AsyncGenerator<Uint8Array, void> {
    const buffer = Buffer.allocUnsafeSlow(BLOCK_BYTES);
    for (const { handle, path, size } of this.files) {
      for (let at = 0; at < size; at += BLOCK_BYTES) {
        const block = buffer.subarray(0, Math.min(BLOCK_BYTES, size - at));
        await readFully(handle, block, at, path);
        yield block;
      }
    }
  }

  /** A tensor that must be there with one of these types and that shape. */
  tensor(name: string, dtypes: readonly string[], shape: readonly number[]): CheckpointTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw this.bad(`there is no tensor ${name}`);
    const sameShape = tensor.shape.length === shape.length && shape.every((length, i) => tensor.shape[i] === length);
    if (sameShape && dtypes.includes(tensor.dtype)) return tensor;
    throw this.bad(
      `tensor ${name} is ${tensor.dtype} [${tensor.shape.join(', ')}]; ${dtypes.join(' or ')} [${shape.join(', ')}] is expected`,
    );
  }

  /** Bytes of a tensor, aligned for any element; `bytes` from `from` on when they are a part. They fill `data`, when there is one. */
  async read(
    { file, begin, end }: CheckpointTensor,
    from = 0,
    bytes = end - begin - from,
    data: Uint8Array = new Uint8Array(bytes),
  ): Promise<Uint8Array> {
    await readFully(file.handle, data, begin + from, file.path);
    return data;
  }

  async close(): Promise<void> {
    for (const { handle } of this.files) await handle.close();
  }

  private async add(path: string): Promise<void> {
    const { handle, size } = await openFile(path, { missing: 'LUTRA_BAD_FILE', remedy: REMEDY });
    const file = { path, handle, size };
    this.files.push(file);
    const bad = (what: string) => new LutraError('LUTRA_BAD_FILE', `${path} ${what}`, REMEDY);
    const tensors = parseSafetensorsHeader(await readSafetensorsHeader(handle, size, path, bad));
    if (!tensors) throw bad('is not a safetensors file: its header does not parse.');
    for (const tensor of tensors) {
      const problem = tensorProblem(tensor, size);
      if (problem) throw bad(`has a tensor ${tensor.name} that ${problem}`);
      if (this.tensors.has(tensor.name)) throw this.bad(`tensor ${tensor.name} is in two files`);
      this.tensors.set(tensor.name, { ...tensor, file });
    }
  }
}

/** What is wrong with the description of a tensor in a file of `size` bytes. */
function tensorProblem({ dtype, shape, begin, end }: StoredTensor, size: number): string | undefined {
  const element = Object.hasOwn(ELEMENT_BYTES, dtype) ? ELEMENT_BYTES[dtype] : undefined;
  if (element === undefined) return `has the unknown type ${dtype}`;
  if (!shape.every((length) => Number.isInteger(length) && length >= 0)) return 'has a shape that is no list of lengths';
  const bytes = shape.reduce((product, length) => product * length, element);
  if (bytes !== end - begin) return `is ${dtype} [${shape.join(', ')}] in ${end - begin} bytes`;
  if (end > size) return `ends at byte ${end}, the file has ${size}: it is truncated`;
  return undefined;
}

async function readOptional(path: string): Promise<Buffer | undefined> {
  try {
    return await readBytes(path, MAX_JSON_BYTES, { remedy: REMEDY });
  } catch (error) {
    if (error instanceof LutraError && (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** A JSON object of a file that somebody else wrote; undefined when there is no such file. */
export async function readFields(path: string): Promise<Fields | undefined> {
  const bytes = await readOptional(path);
  if (!bytes) return undefined;
  if (depthOf(bytes) > MAX_DEPTH) throw new LutraError('LUTRA_BAD_FILE', `${path} nests values more than ${MAX_DEPTH} deep`, REMEDY);
  return new Fields(path, jsonObject(bytes, path, { remedy: REMEDY }));
}

/** How deep the brackets of JSON nest: what goes into values one by one must not run out of stack. */
function depthOf(json: Uint8Array): number {
  const [quote, backslash] = [0x22, 0x5c];
  let [depth, most, inString] = [0, 0, false];
  for (let at = 0; at < json.length; at++) {
    const byte = json[at];
    if (inString && byte === backslash) at++;
    else if (byte === quote) inString = !inString;
    else if (inString) continue;
    else if (byte === 0x5b || byte === 0x7b) most = Math.max(most, ++depth);
    else if (byte === 0x5d || byte === 0x7d) depth--;
  }
  return most;
}

/** Names of the weight files: those of the index, the one that has the usual name, or the only one there is. */
async function fileNames(path: string): Promise<string[]> {
  const index = await readFields(join(path, INDEX));
  if (index) {
    const map = index.get('weight_map');
    const names = typeof map === 'object' && map !== null ? [...new Set(Object.values(map) as unknown[])] : [];
    const usable = names.filter(
      (name): name is string => typeof name === 'string' && name === basename(name) && name.endsWith('.safetensors'),
    );
    if (names.length === 0 || usable.length !== names.length)
      throw new LutraError('LUTRA_BAD_FILE', `${index.where}: weight_map does not name safetensors files of the directory`, REMEDY);
    return usable.sort();
  }
  const found = (await readdir(path)).filter((name) => name.endsWith('.safetensors'));
  if (found.includes('model.safetensors')) return ['model.safetensors'];
  if (found.length === 1) return found;
  const what = found.length === 0 ? 'no safetensors file' : `${found.length} safetensors files and no ${INDEX}`;
  throw new LutraError(
    'LUTRA_BAD_FILE',
    `${path} has ${what}`,
    'Give a directory with model.safetensors, or with several files and their index.',
  );
}
