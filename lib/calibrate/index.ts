/** Calibration: from a text to the static ranges of the NPU linears. */
export { type Calibrated, type CalibrationOptions, type Chosen, calibrate } from './calibrate.js';
export type { MeasureProgress } from './measure.js';
export { type CalibrateModelOptions, calibrateModel } from './model.js';
export type { CalibrationAddon, CalibrationEngine } from './observe.js';
export { type Setting, settingsOf } from './recipe.js';
