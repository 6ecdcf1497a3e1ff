/** A decoder as data: what the builder makes, the encoder writes and the printer shows. */
import type { CpuAttrs, CpuOp, NpuAttrs, NpuOp } from './ops.js';
import type { KV_TYPE_CODES } from './plan-format.js';
import type { Tensor, TensorId } from './tensor.js';

/** Type of the KV cache. int8: 8 bits and, for each head of a position, an F32 scale. */
export type KvType = keyof typeof KV_TYPE_CODES;

/** Facts of the model that the executor needs beside the tables. */
export interface PlanConfig {
  readonly vocab: number;
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Positions of the KV cache. */
  readonly maxContext: number;
  /** Rows of a chunk: of the NPU graphs, and the most that a CPU program takes at once. */
  readonly chunk: number;
  readonly kvType: KvType;
}

/** One op of one kind: name, tensors and its own attributes. */
export type Step = {
  [K in CpuOp]: {
    readonly op: K;
    readonly inputs: readonly TensorId[];
    readonly outputs: readonly TensorId[];
    readonly attrs: CpuAttrs<K>;
  };
}[CpuOp];
export type Node = {
  [K in NpuOp]: {
    readonly op: K;
    readonly name: string;
    readonly inputs: readonly TensorId[];
    readonly outputs: readonly TensorId[];
    readonly attrs: NpuAttrs<K>;
  };
}[NpuOp];

/** A static graph of the NPU: a maximal run of NPU ops. */
export interface Segment {
  readonly name: string;
  readonly nodes: readonly Node[];
  /** Activations read, in order of first use. */
  readonly inputs: readonly TensorId[];
  /** Activations made here and read outside, in order of making. */
  readonly outputs: readonly TensorId[];
}

export type ProgramName = 'npu' | 'cpu';

export interface Program {
  readonly name: ProgramName;
  readonly steps: readonly Step[];
  readonly logits: TensorId;
}

export interface Graph {
  readonly config: PlanConfig;
  readonly tensors: readonly Tensor[];
  readonly segments: readonly Segment[];
  readonly programs: readonly Program[];
}
