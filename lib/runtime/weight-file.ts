/**
 * A weight file of a model directory and its digests in lutra.json. Opening it reads the header and whatever is no matrix (scales, norm gains, biases, padding), so that
 * damage there is found before anything computes with it; matrices are gigabytes and read by {@link WeightFile.verify} only.
 */
import { createHash } from 'node:crypto';
import { type FileHandle, stat } from 'node:fs/promises';
import { PartDigest } from '../files/digest.js';
import { openFile, readFully } from '../files/read.js';
import { parseSafetensorsHeader, readSafetensorsHeader, type StoredTensor } from '../files/safetensors.js';
import { LutraError } from '../graph/errors.js';
import type { FileHashes } from '../graph/spec.js';

/** Read at a time by {@link WeightFile.verify}. */
const BLOCK_BYTES = 2 ** 20;

/** Packed matrices are bytes in one dimension. */
function isMatrix({ name, dtype, shape }: StoredTensor): boolean {
  return shape.length > 1 || (dtype === 'U8' && !name.startsWith('__pad'));
}

/** Which state of the file was looked at. */
async function stampOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  return [dev, ino, size, mtimeNs].join(' ');
}

export class WeightFile {
  readonly path: string;
  readonly hashes: FileHashes;
  readonly #remedy: string;
  #stamp = '';

  private constructor(path: string, hashes: FileHashes, remedy: string) {
    this.path = path;
    this.hashes = hashes;
    this.#remedy = remedy;
  }

  /** `remedy`: what to do about a bad file. Errors: LUTRA_BAD_FILE (also: missing), LUTRA_IO. */
  static async open(path: string, hashes: FileHashes, remedy: string): Promise<WeightFile> {
    const file = new WeightFile(path, hashes, remedy);
    await file.#check();
    return file;
  }

  /** Looks at the file again if it is not the one that was looked at, by size and time. Errors as {@link open}, and LUTRA_NOT_FOUND. */
  async recheck(): Promise<void> {
    const stamp = await stampOf(this.path).catch(() => {
      throw new LutraError('LUTRA_NOT_FOUND', `${this.path} is gone.`, this.#remedy);
    });
    if (stamp !== this.#stamp) await this.#check();
  }

  /** Reads everything. Throws LUTRA_BAD_FILE that names the first damaged tensor. */
  async verify(onBytes: (bytes: number) => void = () => {}): Promise<void> {
    await this.#read(async (handle, header, tensors) => {
      const whole = createHash('sha256').update(header);
      onBytes(header.length);
      for (const tensor of [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
        await this.#checkTensor(handle, tensor, (block) => {
          whole.update(block);
          onBytes(block.length);
        });
      }
      const found = whole.digest('hex');
      if (found !== this.hashes.sha256) throw this.#bad(`is damaged: its sha256 is ${found}, lutra.json says ${this.hashes.sha256}.`);
    });
  }

  async #check(): Promise<void> {
    const stamp = await stampOf(this.path).catch(() => '');
    await this.#read(async (handle, _header, tensors) => {
      for (const tensor of tensors) if (!isMatrix(tensor)) await this.#checkTensor(handle, tensor);
    });
    this.#stamp = stamp;
  }

  /** Opens the file, checks its header and that its tensors end where it ends, and hands both on. */
  async #read(use: (handle: FileHandle, header: Buffer, tensors: StoredTensor[]) => Promise<void>): Promise<void> {
    const { handle, size } = await openFile(this.path, { remedy: this.#remedy, missing: 'LUTRA_BAD_FILE' });
    try {
      const header = await readSafetensorsHeader(handle, size, this.path, (what) => this.#bad(what));
      this.#compare('its header', new PartDigest().update(header).digest(), this.hashes.header);
      const tensors = parseSafetensorsHeader(header);
      if (!tensors) throw this.#bad('is not a safetensors file: its header does not parse.');
      const end = tensors.reduce((most, tensor) => Math.max(most, tensor.end), header.length);
      if (end > size) throw this.#bad(`is truncated: ${size} bytes, its tensors need ${end}.`);
      if (end < size) throw this.#bad(`has ${size - end} bytes after its last tensor.`);
      await use(handle, header, tensors);
    } finally {
      await handle.close();
    }
  }

  async #checkTensor(handle: FileHandle, tensor: StoredTensor, onBlock: (block: Buffer) => void = () => {}): Promise<void> {
    const part = new PartDigest();
    const buffer = Buffer.allocUnsafe(Math.min(BLOCK_BYTES, tensor.end - tensor.begin));
    for (let at = tensor.begin; at < tensor.end; at += buffer.length) {
      const block = buffer.subarray(0, Math.min(buffer.length, tensor.end - at));
      await readFully(handle, block, at, this.path);
      part.update(block);
      onBlock(block);
    }
    const { tensors } = this.hashes;
    this.#compare(`tensor '${tensor.name}'`, part.digest(), Object.hasOwn(tensors, tensor.name) ? tensors[tensor.name] : undefined);
  }

  #compare(part: string, found: string, expected: string | undefined): void {
    if (found === expected) return;
    throw this.#bad(`is damaged, or not of this model: the digest of ${part} is ${found}, lutra.json says ${expected ?? 'nothing'}.`);
  }

  #bad(what: string): LutraError {
    return new LutraError('LUTRA_BAD_FILE', `${this.path} ${what}`, this.#remedy);
  }
}
