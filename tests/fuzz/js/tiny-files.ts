/** Files of a tiny model that seeds and targets share. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GgufFile } from '../../../lib/convert/gguf.js';
import { buildTokenizer, type TokenizerFiles } from '../../../lib/convert/tokenizer-json.js';
import { ggufBytes } from '../../reference/gguf-writer.js';
import { tinyGguf } from '../../unit/convert/tiny-gguf.js';

/** A folder that goes with the process. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lutra-fuzz-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A GGUF file with all metadata and a few small tensors: what is fuzzed is the header. */
export function smallGguf(): Buffer {
  const { metadata, tensors } = tinyGguf();
  return ggufBytes(
    metadata,
    tensors.filter(({ name }) => name.includes('norm')),
  );
}

/** The tokenizer files that are converted from it. */
export async function tinyTokenizer(): Promise<TokenizerFiles> {
  const path = join(temporaryFolder(), 'tiny.gguf');
  writeFileSync(path, smallGguf());
  const file = await GgufFile.open(path);
  try {
    return buildTokenizer(file);
  } finally {
    await file.close();
  }
}
