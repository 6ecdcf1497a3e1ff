/** A directory of Hugging Face as a model to convert. */
import { basename, resolve } from 'node:path';
import type { ModelSource } from '../tensors.js';
import { readArch } from './arch.js';
import { Checkpoint } from './checkpoint.js';
import { type Quantization, readQuantization } from './quantization.js';
import { listCheckpointTensors } from './tensors.js';
import { readTokenizer } from './tokenizer.js';

/** What a checkpoint that was opened holds; closes it when it cannot be converted. `quantization`: absent: as its files say. */
export async function checkpointSource(checkpoint: Checkpoint, name: string, quantization?: Quantization): Promise<ModelSource> {
  try {
    const { arch, ropeFactors } = readArch(checkpoint.config);
    const how = quantization ?? readQuantization(checkpoint.config, await checkpoint.json('quantize_config.json'));
    const { tensors, orders } = await listCheckpointTensors(checkpoint, arch, ropeFactors, how);
    return {
      path: checkpoint.path,
      name,
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

/** Opens a directory and checks everything but the data. Errors: LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
export async function openCheckpoint(path: string): Promise<ModelSource> {
  return checkpointSource(await Checkpoint.open(path), basename(resolve(path)));
}
