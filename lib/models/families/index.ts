/** The families whose plans lutra builds. docs/porting.md says how one is added. */
import { LutraError } from '../../graph/errors.js';
import type { ModelFamily } from './family.js';
import { llama } from './llama.js';
import { phonelm } from './phonelm.js';
import { qwen2 } from './qwen2.js';
import { qwen3 } from './qwen3.js';

export type { ModelFamily } from './family.js';

export const MODEL_FAMILIES: readonly ModelFamily[] = [llama, qwen2, qwen3, phonelm];

/** The family of a model; LUTRA_UNSUPPORTED when this version has none of that name. */
export function modelFamily(name: unknown): ModelFamily {
  const found = MODEL_FAMILIES.find((family) => family.name === name);
  if (found) return found;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `The model family ${JSON.stringify(name) ?? 'undefined'} is unknown.`,
    `This version runs: ${MODEL_FAMILIES.map((family) => family.name).join(', ')}.`,
  );
}
