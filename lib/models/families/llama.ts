import type { ModelFamily } from './family.js';

/** Llama, and what is built like it, as SmolLM2. */
export const llama: ModelFamily = { name: 'llama', qkNorm: false, ropeLevels: 0 };
