/** A directory of Hugging Face as a model to convert. */
import { basename, resolve } from 'node:path';
import type { ModelSource } from '../tensors.js';
import { readArch } from './arch.js';
import { Checkpoint } from './checkpoint.js';
import { readQuantization } from './quantization.js';
import { listCheckpointTensors } from './tensors.js';
import { readTokenizer } from './tokenizer.js';

/** Opens a directory and checks everything but the data. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
export async function openCheckpoint(path: string): Promise<ModelSource> {
  const checkpoint = await Checkpoint.open(path);
  try {
    const { arch, ropeFactors } = readArch(checkpoint.config);
    const quantization = readQuantization(checkpoint.config, await checkpoint.json('quantize_config.json'));
    const { tensors, orders } = await listCheckpointTensors(checkpoint, arch, ropeFactors, quantization);
    return {
      path,
      name: basename(resolve(path)),
      arch,
      tensors,
      orders,
      tokenizer: await readTokenizer(checkpoint, arch.vocab),
      size: checkpoint.size,
      blocks: () => checkpoint.blocks(),
      close: () => checkpoint.close(),
    };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
}
