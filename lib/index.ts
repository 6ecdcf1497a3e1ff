/** The public names of lutra. */

export type { MeasureProgress } from './calibrate/measure.js';
export { type CalibrateModelOptions, calibrateModel } from './calibrate/model.js';
export { type CalibrationProfile, type Peak, type ProfileSite, readProfile } from './calibrate/profile.js';
export { LutraError, type LutraErrorCode } from './graph/errors.js';
export type { ArchSpec, LinearKind, LinearSpec, ModelSpec, Precision } from './graph/spec.js';
export * as kernels from './kernels/index.js';
export type { BackendInfo, EngineInfo, EngineTimings, FinishReason } from './native/addon.js';
export * as qnn from './qnn/api/index.js';
export type { NpuChoice } from './qnn/discover.js';
export type { Chat } from './runtime/chat.js';
export { type CompileOptions, compileModel } from './runtime/compile.js';
export type { CompiledRecord } from './runtime/compiled.js';
export type { GenerateOptions, Generation, GenerationResult, PhaseTiming } from './runtime/generate.js';
export { type LoadOptions, loadModel, type Model } from './runtime/model.js';
export type { Placement } from './runtime/placement.js';
export type { PrefillOptions, Prompt, Session } from './runtime/session.js';
export type { TokenEvent } from './runtime/stop-filter.js';
export type { ChatMessage, ChatTemplateOptions, ChatToolCall, Tokenizer } from './runtime/tokenizer.js';
export { type LutraServer, type ServeOptions, serve } from './server/index.js';
