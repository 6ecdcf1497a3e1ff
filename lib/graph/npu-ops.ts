/**
 * Nodes of an NPU segment: QNN ops of package `qti.aisw` in the forms that Qualcomm's HTP accepts (docs/qnn.md). Keys and attribute names are QNN's own.
 * Shapes are static; `rows` of what inference returns means nothing here (see `nodeResult`).
 */
import { CONVERT_OPS } from './npu/convert-ops.js';
import { ELEMENTWISE_OPS } from './npu/elementwise-ops.js';
import { LINEAR_OPS } from './npu/linear-ops.js';
import { NORM_OPS } from './npu/norm-ops.js';
import { SHAPE_OPS } from './npu/shape-ops.js';
import type { Attrs } from './schema.js';
import type { TensorType } from './tensor.js';

export const NPU_OPS = { ...CONVERT_OPS, ...LINEAR_OPS, ...NORM_OPS, ...ELEMENTWISE_OPS, ...SHAPE_OPS } as const;

/**
 * A node's output as a tensor of the graph: a matrix of `chunk` rows is a chunk tensor, which CPU steps may read (the NPU computes all rows,
 * only the valid ones count); anything else is of fixed shape and stays inside its segment.
 */
export function nodeResult(type: TensorType, chunk: number): TensorType {
  return { ...type, rows: type.dims.length === 2 && type.dims[0] === chunk ? 'chunk' : 'fixed' };
}

export type NpuOp = keyof typeof NPU_OPS;
export const NPU_OP_NAMES = Object.keys(NPU_OPS) as NpuOp[];
export type NpuAttrs<K extends NpuOp> = Attrs<(typeof NPU_OPS)[K]['attrs']>;
