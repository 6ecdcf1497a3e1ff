/** What a model directory holds, without opening an engine. */
import { stat } from 'node:fs/promises';
import type { KvType } from '../graph/graph.js';
import type { ArchSpec, CalibrationRecord, LinearName, ModelSpec, Transform } from '../graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape } from '../models/index.js';
import { openModelDirectory } from './model-dir.js';
import { Tokenizer } from './tokenizer.js';

export interface Inspection {
  path: string;
  name: string;
  arch: ArchSpec;
  chunk: number;
  /** Bytes of the weight files. */
  bytes: { cpu: number; npu: number };
  /** Bytes of the KV cache for each token, by its type. */
  kvBytesPerToken: Record<KvType, number>;
  /** CPU tensors by type. */
  tensors: Record<string, number>;
  /** NPU linears by name, then by precision: how many layers. */
  precision: Partial<Record<LinearName, Record<string, number>>>;
  /** Share of the multiplications of decoder linears with 8-bit activations, 0 to 1; null without NPU weights. */
  int8Share: number | null;
  shadowed: { input: number; output: number };
  transform: Transform;
  calibration: CalibrationRecord | null;
  source: ModelSpec['source'];
}

/** Errors of `openModelDirectory`. */
export async function inspectModel(directory: string): Promise<Inspection> {
  const opened = await openModelDirectory(directory);
  const { spec, path } = opened;
  const { arch } = spec;
  return {
    path,
    name: spec.name,
    arch,
    chunk: spec.chunk,
    bytes: { cpu: (await stat(opened.cpu.path)).size, npu: opened.npu ? (await stat(opened.npu.path)).size : 0 },
    kvBytesPerToken: kvBytesPerToken(arch),
    tensors: countBy(Object.values(spec.tensors).map(({ type }) => type)),
    ...linearFacts(spec),
    transform: spec.transform,
    calibration: spec.calibration,
    source: spec.source,
  };
}

function kvBytesPerToken({ layers, kvHeads, headDim }: ArchSpec): Record<KvType, number> {
  const rows = 2 * layers * kvHeads;
  return { f16: rows * headDim * 2, f32: rows * headDim * 4, int8: rows * (headDim + 4) };
}

function countBy(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function linearFacts(spec: ModelSpec): Pick<Inspection, 'precision' | 'int8Share' | 'shadowed'> {
  const precision: Inspection['precision'] = {};
  const shadowed = { input: 0, output: 0 };
  let all = 0;
  let int8 = 0;
  for (const name of LINEAR_NAMES) {
    const [rows, cols] = linearShape(spec.arch, name);
    const found: string[] = [];
    for (let layer = 0; layer < spec.arch.layers; layer++) {
      const linear = spec.linears[linearKey(layer, name)];
      if (!linear) continue;
      found.push(linear.precision);
      all += rows * cols;
      if (linear.precision === 'w8a8' || linear.precision === 'w8a8s') int8 += rows * cols;
      if (linear.shadow.input) shadowed.input++;
      if (linear.shadow.output) shadowed.output++;
    }
    if (found.length > 0) precision[name] = countBy(found);
  }
  return { precision, int8Share: all > 0 ? int8 / all : null, shadowed };
}

/** Reads every byte that the model is made of and compares it with the digests of lutra.json. Throws LUTRA_BAD_FILE that names file and tensor. */
export async function verifyModel(directory: string, onProgress?: (done: number, total: number) => void): Promise<void> {
  const { path, spec, cpu, npu } = await openModelDirectory(directory);
  await Tokenizer.load(path, spec.hashes.tokenizer);
  const files = npu ? [cpu, npu] : [cpu];
  const total = (await Promise.all(files.map((file) => stat(file.path)))).reduce((sum, { size }) => sum + size, 0);
  let done = 0;
  for (const file of files) {
    await file.verify((bytes) => {
      done += bytes;
      onProgress?.(done, total);
    });
  }
}
