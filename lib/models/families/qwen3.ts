import type { ModelFamily } from './family.js';

export const qwen3: ModelFamily = { name: 'qwen3', qkNorm: true, ropeLevels: 0 };
