/** Calibration: from a text to the static ranges of the NPU linears. */
export { type Calibrated, type CalibrationAddon, type CalibrationEngine, type CalibrationOptions, calibrate } from './calibrate.js';
