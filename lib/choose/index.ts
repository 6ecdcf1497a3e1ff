/** Choosing precisions by measured effect. */
export { type Choice, type ChooseOptions, choose, DEFAULT_GOAL, DEFAULT_MAX_KL } from './choose.js';
export type { Goal } from './pick.js';
export type { TrialAddon } from './trials.js';
