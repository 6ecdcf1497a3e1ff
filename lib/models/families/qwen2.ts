import type { ModelFamily } from './family.js';

/** Qwen1.5, Qwen2 and Qwen2.5. */
export const qwen2: ModelFamily = { name: 'qwen2', qkNorm: false, ropeLevels: 0 };
