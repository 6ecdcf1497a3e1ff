/** What the rest of lutra uses of the models. */
export { checkModel, checkSpec, LINEAR_NAMES, linearKey, linearShape, SHARED_INPUTS } from './check-spec.js';
export { type ModelFamily, modelFamily } from './families/index.js';
export type { Calibrate, PlanMode, PlanOptions } from './options.js';
export { buildCalibrationPlan, buildPlan } from './registry.js';
export { canRotate, checkRotatable, gainedSigns, type NormName, ROTATION, rotationSize } from './rotation.js';
export type { CalibrationSite } from './sites.js';
export { buildTrialPlan, residualBefore, storedResidual, type Trial } from './trial.js';
