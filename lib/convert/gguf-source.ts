/** A GGUF file as a model to convert. */
import { basename } from 'node:path';
import { GgufFile } from './gguf.js';
import { readArch } from './gguf-arch.js';
import { listGgufTensors } from './gguf-tensors.js';
import type { ModelSource } from './tensors.js';
import { buildTokenizer } from './tokenizer-json.js';

/** Opens a file and checks everything but the data. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
export async function openGguf(path: string): Promise<ModelSource> {
  const file = await GgufFile.open(path);
  try {
    const { arch, family } = readArch(file);
    return {
      path,
      name: file.string('general.name', basename(path, '.gguf')),
      arch,
      tensors: listGgufTensors(file, arch, family),
      orders: new Map(),
      tokenizer: buildTokenizer(file),
      size: file.size,
      blocks: () => file.blocks(),
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}
