/**
 * npu.safetensors: S8 weights with a scale per output channel in the layout of each linear, F16 norm gains, F16 zeros.
 */
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, FileHashes, LinearName, LinearSpec } from '../graph/spec.js';
import { gainedSigns, LINEAR_NAMES, linearKey, linearShape, type NormName, ROTATION } from '../models/index.js';
import { halvesOf, toHalf } from './floats.js';
import { gained, type Rotation, rotateInputs, rotateOutputs } from './rotation.js';
import { type SafetensorsEntry, SafetensorsWriter } from './safetensors.js';
import { type CpuTensor, denseF32, type PackAddon } from './tensors.js';

const NORMS: readonly NormName[] = ['attn_norm', 'ffn_norm'];

/** The norm that a linear reads; the others add to the residual stream. */
const NORM_OF: Readonly<Partial<Record<LinearName, NormName>>> = {
  q: 'attn_norm',
  k: 'attn_norm',
  v: 'attn_norm',
  gate: 'ffn_norm',
  up: 'ffn_norm',
};

function linearOf(linears: Record<string, LinearSpec>, key: string): LinearSpec {
  const linear = linears[key];
  if (!linear) throw new LutraError('LUTRA_INTERNAL', `linear ${key} has no precision`);
  return linear;
}

/** The entries of npu.safetensors in file order. */
export function npuEntries(arch: ArchSpec, linears: Record<string, LinearSpec>, rotation: Rotation | null): SafetensorsEntry[] {
  const gains = (name: string): SafetensorsEntry => ({ name: `${name}.f16`, dtype: 'F16', shape: [arch.hidden] });
  const entries = [gains('zeros')];
  if (rotation) entries.push(gains(ROTATION.ones), ...rotationEntries(rotation));
  for (let layer = 0; layer < arch.layers; layer++) {
    if (!rotation) for (const norm of NORMS) entries.push(gains(`layers.${layer}.${norm}`));
    for (const name of LINEAR_NAMES) {
      const key = linearKey(layer, name);
      const [rows, cols] = linearShape(arch, name);
      const shape = linearOf(linears, key).layout === 'conv' ? [1, 1, cols, rows] : [rows, cols];
      entries.push({ name: `${key}.w8`, dtype: 'I8', shape }, { name: `${key}.scale`, dtype: 'F32', shape: [rows] });
      if (linearOf(linears, key).factors) entries.push({ name: `${key}.factors.f16`, dtype: 'F16', shape: [1, rows] });
    }
  }
  return entries;
}

function rotationEntries({ signs, size }: Rotation): SafetensorsEntry[] {
  return [
    { name: ROTATION.signs, dtype: 'F32', shape: [signs.length] },
    { name: ROTATION.matrix, dtype: 'F32', shape: [size, size] },
  ];
}

/** What {@link writeNpuWeights} needs. */
export interface NpuWeightsInput {
  /** Of the source, for messages. */
  path: string;
  arch: ArchSpec;
  linears: Record<string, LinearSpec>;
  /** Of the outputs of linears that have some. */
  factors: ReadonlyMap<string, Float32Array>;
  /** null: the residual stream stays in the basis of the model. */
  rotation: Rotation | null;
  tensors: ReadonlyMap<string, CpuTensor>;
  addon: PackAddon;
  /** For trials, which have the rotation from calibration and scales of their own: takes the scales, by `layers.N.NAME`, and the file has neither. */
  trialScales?: Map<string, Float32Array>;
  /** Called before each layer; may throw to stop. */
  onLayer: (layer: number) => void;
}

/** Writes the file at `path`. One tensor is in memory at a time. */
export async function writeNpuWeights(path: string, input: NpuWeightsInput): Promise<FileHashes> {
  const { arch, rotation, onLayer } = input;
  const forTrials = input.trialScales !== undefined;
  const entries = npuEntries(arch, input.linears, rotation).filter(({ name }) => !(forTrials && /^rotation\.|\.scale$/.test(name)));
  const writer = await SafetensorsWriter.create(path, entries);
  try {
    await writer.write('zeros.f16', new Uint16Array(arch.hidden));
    if (rotation) {
      await writer.write(`${ROTATION.ones}.f16`, new Uint16Array(arch.hidden).fill(toHalf(1)));
      if (!forTrials) await writer.write(ROTATION.signs, rotation.signs);
      if (!forTrials) await writer.write(ROTATION.matrix, rotation.matrix);
    }
    for (let layer = 0; layer < arch.layers; layer++) {
      onLayer(layer);
      await writeLayer(writer, input, layer);
    }
    return await writer.finish();
  } finally {
    await writer.abandon();
  }
}

type Dense = (name: string) => Promise<Float32Array>;

/** Gives the values of tensors by name. */
export function denseOf(tensors: ReadonlyMap<string, CpuTensor>, addon: PackAddon): Dense {
  return async (name) => {
    const tensor = tensors.get(name);
    if (!tensor) throw new LutraError('LUTRA_INTERNAL', `tensor ${name} is not listed`);
    return denseF32(tensor, addon);
  };
}

/** Values of a linear in the basis of the NPU. */
async function folded(dense: Dense, layer: number, name: LinearName, rotation: Rotation | null): Promise<Float32Array> {
  const values = await dense(linearKey(layer, name));
  if (!rotation) return values;
  const norm = NORM_OF[name];
  if (norm) rotateInputs(values, gained(rotation.signs, await dense(`layers.${layer}.${norm}`)), rotation);
  else rotateOutputs(values, values.length / rotation.signs.length, rotation);
  return values;
}

/** Writes what calibration in the basis of the NPU wants beside the model's own tensors. */
export async function writeCalibrationRotation(path: string, rotation: Rotation, arch: ArchSpec, dense: Dense): Promise<void> {
  const vector = (name: string): SafetensorsEntry => ({ name, dtype: 'F32', shape: [arch.hidden] });
  const norms = Array.from({ length: arch.layers }, (_, layer) => NORMS.map((norm) => ({ layer, norm }))).flat();
  const entries = [
    ...rotationEntries(rotation),
    vector(ROTATION.ones),
    ...norms.map(({ layer, norm }) => vector(gainedSigns(layer, norm))),
  ];
  const writer = await SafetensorsWriter.create(path, entries);
  try {
    await writer.write(ROTATION.signs, rotation.signs);
    await writer.write(ROTATION.matrix, rotation.matrix);
    await writer.write(ROTATION.ones, new Float32Array(arch.hidden).fill(1));
    for (const { layer, norm } of norms) {
      await writer.write(gainedSigns(layer, norm), gained(rotation.signs, await dense(`layers.${layer}.${norm}`)));
    }
    await writer.finish();
  } finally {
    await writer.abandon();
  }
}

async function writeLayer(writer: SafetensorsWriter, input: NpuWeightsInput, layer: number): Promise<void> {
  const { path, arch, linears, rotation, tensors, addon } = input;
  const dense = denseOf(tensors, addon);
  for (const norm of rotation ? [] : NORMS) {
    const name = `layers.${layer}.${norm}`;
    await writer.write(`${name}.f16`, halvesOf(await dense(name), name));
  }
  for (const name of LINEAR_NAMES) {
    const key = linearKey(layer, name);
    const [rows, cols] = linearShape(arch, name);
    const { codes, scales } = addon.quantizeS8(
      await folded(dense, layer, name, rotation),
      rows,
      cols,
      linearOf(linears, key).layout === 'conv',
    );
    if (!scales.every((scale) => Number.isFinite(scale))) {
      throw new LutraError('LUTRA_BAD_FILE', `${path}: weights of ${key} are not finite numbers`, 'Export the file again.');
    }
    await writer.write(`${key}.w8`, codes);
    const factors = input.factors.get(key);
    // A channel of zeros has codes 0 under any scale, but QNN wants one above 0.
    const stored = scales.map((scale, i) => (scale === 0 ? 1 : scale / (factors?.[i] ?? 1)));
    if (input.trialScales) input.trialScales.set(key, stored);
    else await writer.write(`${key}.scale`, stored);
    if (factors) await writer.write(`${key}.factors.f16`, halvesOf(factors, `factors of ${key}`));
  }
}
