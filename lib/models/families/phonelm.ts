import type { ModelFamily } from './family.js';

/** Trained with rotary tables of 8 bits. */
export const phonelm: ModelFamily = { name: 'phonelm', qkNorm: false, ropeLevels: 127 };
