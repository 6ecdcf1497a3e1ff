/**
 * npu.safetensors: S8 weights with a scale per output channel in the layout of each linear, F16 norm gains, F16 zeros.
 */
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, FileHashes, LinearName, LinearSpec } from '../graph/spec.js';
import { gainedSigns, LINEAR_NAMES, linearKey, linearShape, type NormName, ROTATION } from '../models/index.js';
import { halvesOf, toHalf } from './floats.js';
import { gained, type Rotation } from './rotation.js';
import { type SafetensorsEntry, SafetensorsWriter } from './safetensors.js';
import { Scratch } from './scratch.js';
import { type CpuTensor, denseF32, type FoldOptions, type FoldRotation, type PackAddon } from './tensors.js';

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
      const { factors, hot } = linearOf(linears, key);
      if (factors) entries.push({ name: `${key}.factors.f16`, dtype: 'F16', shape: [1, rows] });
      if (hot !== undefined) entries.push({ name: `${key}.hot`, dtype: 'U32', shape: [hot] });
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
  /** Channels of inputs, for linears that list some. */
  hot: ReadonlyMap<string, Uint32Array>;
  /** null: the residual stream stays in the basis of the model. */
  rotation: Rotation | null;
  tensors: ReadonlyMap<string, CpuTensor>;
  addon: PackAddon;
  /** For trials, which have the rotation from calibration and scales of their own: takes the scales, by `layers.N.NAME`, and the file has neither. */
  trialScales?: Map<string, Float32Array>;
  threads: number;
  /** Called before each layer; may throw to stop. */
  onLayer: (layer: number) => void;
}

/** Writes the file at `path`. A few rows are in memory at a time, all of one matrix where the rotation mixes them, and its codes where they are transposed. */
export async function writeNpuWeights(path: string, input: NpuWeightsInput): Promise<FileHashes> {
  const { arch, rotation, onLayer } = input;
  const forTrials = input.trialScales !== undefined;
  const entries = npuEntries(arch, input.linears, rotation).filter(({ name }) => !(forTrials && /^rotation\.|\.scale$/.test(name)));
  const writer = forTrials
    ? await SafetensorsWriter.create(path, entries)
    : await SafetensorsWriter.resume(path, entries, (name) => name.replace(/\.(w8|scale|factors\.f16)$/, ''));
  const scratch = new Scratch();
  try {
    await writer.write('zeros.f16', new Uint16Array(arch.hidden));
    if (rotation) {
      await writer.write(`${ROTATION.ones}.f16`, new Uint16Array(arch.hidden).fill(toHalf(1)));
      if (!forTrials) await writer.write(ROTATION.signs, rotation.signs);
      if (!forTrials) await writer.write(ROTATION.matrix, rotation.matrix);
    }
    for (let layer = 0; layer < arch.layers; layer++) {
      onLayer(layer);
      await writeLayer(writer, input, scratch, layer);
    }
    return await writer.finish();
  } finally {
    await writer.abandon();
  }
}

type Dense = (name: string) => Promise<Float32Array>;

/** Gives the values of tensors by name. */
export function denseOf(tensors: ReadonlyMap<string, CpuTensor>, addon: PackAddon): Dense {
  return (name) => denseF32(tensorOf(tensors, name), addon);
}

function tensorOf(tensors: ReadonlyMap<string, CpuTensor>, name: string): CpuTensor {
  const tensor = tensors.get(name);
  if (!tensor) throw new LutraError('LUTRA_INTERNAL', `tensor ${name} is not listed`);
  return tensor;
}

/** What the weights of a linear are rotated by: its inputs when it reads a norm, its outputs otherwise. */
async function foldRotation(dense: Dense, layer: number, name: LinearName, rotation: Rotation | null): Promise<FoldRotation | null> {
  if (!rotation) return null;
  const { signs, matrix } = rotation;
  const norm = NORM_OF[name];
  return { diagonal: norm ? gained(signs, await dense(`layers.${layer}.${norm}`)) : signs, matrix };
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

async function writeLayer(writer: SafetensorsWriter, input: NpuWeightsInput, scratch: Scratch, layer: number): Promise<void> {
  const dense = denseOf(input.tensors, input.addon);
  for (const norm of input.rotation ? [] : NORMS) {
    const name = `layers.${layer}.${norm}`;
    await writer.write(`${name}.f16`, halvesOf(await dense(name), name));
  }
  for (const name of LINEAR_NAMES) {
    const key = linearKey(layer, name);
    if (writer.has(`${key}.w8`)) continue;
    const rotation = await foldRotation(dense, layer, name, input.rotation);
    const scales = await writeCodes(writer, input, scratch, {
      key,
      shape: linearShape(input.arch, name),
      rotation,
      outputs: NORM_OF[name] === undefined,
    });
    const factors = input.factors.get(key);
    const stored = factors ? scales.map((scale, i) => scale / (factors[i] ?? 1)) : scales;
    if (input.trialScales) input.trialScales.set(key, stored);
    else await writer.write(`${key}.scale`, stored);
    if (factors) await writer.write(`${key}.factors.f16`, halvesOf(factors, `factors of ${key}`));
    const hot = input.hot.get(key);
    if (hot) await writer.write(`${key}.hot`, hot);
  }
}

interface FoldedLinear {
  key: string;
  shape: readonly [number, number];
  rotation: FoldRotation | null;
  /** Whether the rotation is of the outputs. */
  outputs: boolean;
}

/** Writes the codes of a linear and gives their scales. */
async function writeCodes(
  writer: SafetensorsWriter,
  input: NpuWeightsInput,
  scratch: Scratch,
  linear: FoldedLinear,
): Promise<Float32Array> {
  const { addon, linears, tensors, threads } = input;
  const { key, shape, rotation } = linear;
  const [rows, cols] = shape;
  const tensor = tensorOf(tensors, key);
  const transpose = linearOf(linears, key).layout === 'conv';
  const outputs = rotation !== null && linear.outputs;
  const scales = new Float32Array(rows);
  const fold = async (part: Pick<FoldOptions, 'values' | 'rows' | 'first' | 'codes'>): Promise<void> => {
    if (await addon.foldS8({ ...part, cols, total: rows, rotation, outputs, transpose, scales, threads })) return;
    throw new LutraError('LUTRA_BAD_FILE', `${input.path}: weights of ${key} are not finite numbers`, 'Export the file again.');
  };
  const whole = outputs || transpose ? scratch.codes('matrix', rows * cols) : null;
  const matrix = outputs ? scratch.floats('matrix', rows * cols) : null;
  for await (const slab of tensor.source.slabs({ addon, scratch })) {
    const values = slab.floats();
    if (matrix) {
      matrix.set(values, slab.first * cols);
      continue;
    }
    const codes = whole ?? scratch.codes('slab', values.length);
    await fold({ values, rows: slab.rows, first: slab.first, codes });
    if (!whole) await writer.write(`${key}.w8`, codes);
  }
  if (matrix && whole) await fold({ values: matrix, rows, first: 0, codes: whole });
  if (whole) await writer.write(`${key}.w8`, whole);
  return scales;
}
