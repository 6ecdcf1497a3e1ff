/** An `.mllm` file as a model to convert. */
import { basename } from 'node:path';
import { openFile, readFully } from '../../files/read.js';
import { LutraError } from '../../graph/errors.js';
import { checkpointSource } from '../huggingface/index.js';
import type { ModelSource } from '../tensors.js';
import { MllmCheckpoint } from './checkpoint.js';
import { isMllm } from './format.js';

/** Whether a path is one of an `.mllm` file: by its name, or by its first word. */
export async function isMllmFile(path: string): Promise<boolean> {
  if (path.endsWith('.mllm')) return true;
  const { handle, size } = await openFile(path);
  try {
    const head = new Uint8Array(Math.min(4, size));
    await readFully(handle, head, 0, path);
    return isMllm(head);
  } finally {
    await handle.close();
  }
}

/** Opens a file and checks everything but the data. `directory`: of config.json and tokenizer. Errors: LUTRA_INVALID_ARGUMENT (no directory), LUTRA_NOT_FOUND, LUTRA_IO, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED. */
export async function openMllm(path: string, directory: string | undefined): Promise<ModelSource> {
  if (directory === undefined) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      `${path} is an .mllm file, which holds tensors only`,
      'Give the directory of the config.json, tokenizer.json and tokenizer_config.json of its model: --config DIR.',
    );
  }
  const checkpoint = await MllmCheckpoint.openFile(path, directory);
  return checkpointSource(checkpoint, basename(path, '.mllm'), { method: 'blocks' });
}
