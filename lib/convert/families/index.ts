/** The families that are imported. docs/porting.md says how one is added. */
import { LutraError } from '../../graph/errors.js';
import type { ImportFamily } from './family.js';
import { llama } from './llama.js';
import { phonelm } from './phonelm.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

export type { GgufFamily, HuggingFaceFamily, ImportFamily } from './family.js';

export const IMPORT_FAMILIES: readonly ImportFamily[] = [llama, qwen2, qwen3, phonelm];

/** How a family of lib/models is called elsewhere. */
export function importFamily(family: string): ImportFamily {
  const found = IMPORT_FAMILIES.find((one) => one.family === family);
  if (!found) throw new LutraError('LUTRA_INTERNAL', `family ${family} has no import`);
  return found;
}
