/** Conversion: GGUF files, checkpoints of Hugging Face and .mllm files to model directories. */
export { DEFAULT_MAX_KL } from '../choose/index.js';
export { type ConvertOptions, type ConvertProgress, convertModel } from './convert.js';
export { CPU_WEIGHTS, type CpuWeights, parseCpuWeights } from './cpu-weights.js';
export { DEFAULT_PRECISION, formatPrecision, KINDS, PRECISIONS, type PrecisionByKind, parsePrecision } from './precision.js';
