/** What the rest of lutra uses of the graph. */
export { GraphBuilder } from './builder.js';
export type { Encoding } from './cpu-builder.js';
export { decodePlan } from './decode.js';
export { DTYPES, type DType, type FloatType, type QuantType, quantLimits, type WeightType } from './dtype.js';
export { eagerGraph } from './eager.js';
export { encodePlan } from './encode.js';
export { ERROR_CODES, isLutraErrorCode, LutraError, type LutraErrorCode } from './errors.js';
export type { Graph, KvType, Node, PlanConfig, Program, ProgramName, Segment, Step } from './graph.js';
export { segmentsIdentity } from './identity.js';
export { CPU_OP_NAMES, CPU_OPS, type CpuOp, NPU_OP_NAMES, NPU_OPS, type NpuOp } from './ops.js';
export { KV_TYPE_CODES, RECORD_WORDS } from './plan-format.js';
export { printPlan } from './print.js';
export { NO_QUANT, type Quant, scaleQuant, type Tensor, type TensorId, type TensorType } from './tensor.js';
export { validateGraph } from './validate.js';
