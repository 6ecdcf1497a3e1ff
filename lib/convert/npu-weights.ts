/**
 * npu.safetensors: S8 weights with a scale per output channel in the layout of each linear, F16 norm gains, F16 zeros.
 */
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, FileHashes, LinearSpec } from '../graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape } from '../models/index.js';
import { halvesOf } from './floats.js';
import { type SafetensorsEntry, SafetensorsWriter } from './safetensors.js';
import { type CpuTensor, denseF32, type PackAddon } from './tensors.js';

const NORMS = ['attn_norm', 'ffn_norm'] as const;

function linearOf(linears: Record<string, LinearSpec>, key: string): LinearSpec {
  const linear = linears[key];
  if (!linear) throw new LutraError('LUTRA_INTERNAL', `linear ${key} has no precision`);
  return linear;
}

/** The entries of npu.safetensors in file order. */
export function npuEntries(arch: ArchSpec, linears: Record<string, LinearSpec>): SafetensorsEntry[] {
  const entries: SafetensorsEntry[] = [{ name: 'zeros.f16', dtype: 'F16', shape: [arch.hidden] }];
  for (let layer = 0; layer < arch.layers; layer++) {
    for (const norm of NORMS) entries.push({ name: `layers.${layer}.${norm}.f16`, dtype: 'F16', shape: [arch.hidden] });
    for (const name of LINEAR_NAMES) {
      const key = linearKey(layer, name);
      const [rows, cols] = linearShape(arch, name);
      const shape = linearOf(linears, key).layout === 'conv' ? [1, 1, cols, rows] : [rows, cols];
      entries.push({ name: `${key}.w8`, dtype: 'I8', shape }, { name: `${key}.scale`, dtype: 'F32', shape: [rows] });
    }
  }
  return entries;
}

/** What {@link writeNpuWeights} needs. */
export interface NpuWeightsInput {
  /** Of the source, for messages. */
  path: string;
  arch: ArchSpec;
  linears: Record<string, LinearSpec>;
  tensors: ReadonlyMap<string, CpuTensor>;
  addon: PackAddon;
  /** Called before each layer; may throw to stop. */
  onLayer: (layer: number) => void;
}

/** Writes the file at `path`. One tensor is in memory at a time. */
export async function writeNpuWeights(path: string, input: NpuWeightsInput): Promise<FileHashes> {
  const { arch, onLayer } = input;
  const writer = await SafetensorsWriter.create(path, npuEntries(arch, input.linears));
  try {
    await writer.write('zeros.f16', new Uint16Array(arch.hidden));
    for (let layer = 0; layer < arch.layers; layer++) {
      onLayer(layer);
      await writeLayer(writer, input, layer);
    }
    return await writer.finish();
  } finally {
    await writer.abandon();
  }
}

async function writeLayer(writer: SafetensorsWriter, input: NpuWeightsInput, layer: number): Promise<void> {
  const { path, arch, linears, tensors, addon } = input;
  const dense = async (name: string): Promise<Float32Array> => {
    const tensor = tensors.get(name);
    if (!tensor) throw new LutraError('LUTRA_INTERNAL', `tensor ${name} is not listed`);
    return denseF32(tensor, addon);
  };
  for (const norm of NORMS) {
    const name = `layers.${layer}.${norm}`;
    await writer.write(`${name}.f16`, halvesOf(await dense(name), name));
  }
  for (const name of LINEAR_NAMES) {
    const key = linearKey(layer, name);
    const [rows, cols] = linearShape(arch, name);
    const { codes, scales } = addon.quantizeS8(await dense(key), rows, cols, linearOf(linears, key).layout === 'conv');
    if (!scales.every((scale) => Number.isFinite(scale))) {
      throw new LutraError('LUTRA_BAD_FILE', `${path}: weights of ${key} are not finite numbers`, 'Export the file again.');
    }
    await writer.write(`${key}.w8`, codes);
    // A channel of zeros has codes 0 under any scale, but QNN wants one above 0.
    await writer.write(
      `${key}.scale`,
      scales.map((scale) => (scale === 0 ? 1 : scale)),
    );
  }
}
