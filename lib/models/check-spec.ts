/** Whether `lutra.json` is consistent: shapes of tensors, precisions, ranges, layouts and shadow flags of the NPU linears. */
import { isBlockType, isWeightType, quantLimits } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import {
  type ArchSpec,
  type LinearName,
  type LinearSpec,
  MODEL_FORMAT,
  type ModelSpec,
  type Precision,
  type QuantRange,
} from '../graph/spec.js';

export const LINEAR_NAMES: readonly LinearName[] = ['q', 'k', 'v', 'o', 'gate', 'up', 'down'];

/** Linears that read one tensor and therefore share its encoding. */
export const SHARED_INPUTS: readonly (readonly LinearName[])[] = [['q', 'k', 'v'], ['o'], ['gate', 'up'], ['down']];

export function badSpec(message: string): LutraError {
  return new LutraError('LUTRA_BAD_FILE', `lutra.json: ${message}.`, 'Convert the model again.');
}

/** `layers.3.q` */
export function linearKey(layer: number, name: LinearName): string {
  return `layers.${layer}.${name}`;
}

/** Outputs and inputs of a linear. */
export function linearShape(arch: ArchSpec, name: LinearName): [rows: number, cols: number] {
  const attention = arch.heads * arch.headDim;
  const kv = arch.kvHeads * arch.headDim;
  switch (name) {
    case 'q':
      return [attention, arch.hidden];
    case 'k':
    case 'v':
      return [kv, arch.hidden];
    case 'o':
      return [arch.hidden, attention];
    case 'gate':
    case 'up':
      return [arch.ffn, arch.hidden];
    case 'down':
      return [arch.hidden, arch.ffn];
  }
}

/** Entry of a linear, which must be there. */
export function linearSpec(spec: ModelSpec, layer: number, name: LinearName): LinearSpec {
  const found = spec.linears[linearKey(layer, name)];
  if (found === undefined) throw badSpec(`linear ${linearKey(layer, name)} is missing`);
  return found;
}

function checkArch(arch: ArchSpec): void {
  for (const field of ['vocab', 'hidden', 'ffn', 'layers', 'heads', 'kvHeads', 'headDim', 'maxContext'] as const) {
    if (!Number.isInteger(arch[field]) || arch[field] < 1) throw badSpec(`${field} is ${arch[field]}`);
  }
  if (arch.heads % arch.kvHeads !== 0) throw badSpec(`${arch.heads} heads do not divide into ${arch.kvHeads} KV heads`);
  if (arch.headDim % 2 !== 0) throw badSpec(`headDim ${arch.headDim} is odd`);
  if (!(arch.ropeTheta > 0)) throw badSpec(`ropeTheta is ${arch.ropeTheta}`);
  if (!(arch.rmsEps > 0)) throw badSpec(`rmsEps is ${arch.rmsEps}`);
}

/** Names, shapes and whether only F32 will do, of all tensors of cpu.safetensors. */
function expectedTensors(arch: ArchSpec): Map<string, { shape: number[]; f32: boolean }> {
  const tensors = new Map<string, { shape: number[]; f32: boolean }>();
  const vector = (name: string, length: number) => tensors.set(name, { shape: [length], f32: true });
  const matrix = (name: string, shape: number[]) => tensors.set(name, { shape, f32: false });
  matrix('embed', [arch.vocab, arch.hidden]);
  if (!arch.tied) matrix('lm_head', [arch.vocab, arch.hidden]);
  vector('norm', arch.hidden);
  if (arch.ropeFactors) vector('rope_factors', arch.headDim / 2);
  for (let layer = 0; layer < arch.layers; layer++) {
    vector(`layers.${layer}.attn_norm`, arch.hidden);
    vector(`layers.${layer}.ffn_norm`, arch.hidden);
    for (const name of LINEAR_NAMES) {
      const shape = linearShape(arch, name);
      matrix(linearKey(layer, name), shape);
      if (arch.qkvBias && (name === 'q' || name === 'k' || name === 'v')) vector(`${linearKey(layer, name)}.bias`, shape[0]);
    }
  }
  return tensors;
}

/** Architecture and tensors, without the NPU linears: what a plan without NPU or for calibration needs. Throws LUTRA_BAD_FILE. */
export function checkModel(spec: ModelSpec): void {
  if (spec.format !== MODEL_FORMAT) throw badSpec(`format ${String(spec.format)}; this version reads format ${MODEL_FORMAT}`);
  checkArch(spec.arch);
  if (!Number.isInteger(spec.chunk) || spec.chunk < 1) throw badSpec(`chunk is ${spec.chunk}`);
  for (const [name, { shape, f32 }] of expectedTensors(spec.arch)) {
    const tensor = spec.tensors[name];
    if (tensor === undefined) throw badSpec(`tensor ${name} is missing`);
    const found = `${tensor.type} [${tensor.shape.join(', ')}]`;
    if (tensor.shape.join() !== shape.join()) throw badSpec(`tensor ${name} is ${found}; [${shape.join(', ')}] is expected`);
    if (!isWeightType(tensor.type) || (f32 && tensor.type !== 'f32'))
      throw badSpec(`tensor ${name} is ${found}; ${f32 ? 'f32' : 'a weight type'} is expected`);
    if (isBlockType(tensor.type) && (shape[1] ?? 0) % 32 !== 0)
      throw badSpec(`tensor ${name} is ${found}; columns must be a multiple of 32`);
  }
}

/** A static encoding that can be written and holds zero exactly. */
export function checkRange(range: QuantRange, what: string): void {
  const scale = Math.fround(range.scale);
  if (!(scale > 0 && Number.isFinite(scale))) throw badSpec(`${what} has scale ${range.scale}`);
  const { lo, hi } = quantLimits(range.dtype);
  if (!Number.isInteger(range.offset) || -range.offset < lo || -range.offset > hi)
    throw badSpec(`${what} has offset ${range.offset}, so that ${range.dtype} cannot hold zero`);
}

/** Types that the ranges of a precision may have; null: no ranges. */
function rangeTypes(precision: Precision): readonly QuantRange['dtype'][] | null {
  switch (precision) {
    case 'w8a8':
    case 'w8a8s':
      return ['u8', 's8'];
    case 'w8a16':
      return ['u16'];
    case 'w8f16':
      return null;
    default:
      throw badSpec(`unknown precision ${String(precision satisfies never)}`);
  }
}

function checkLinear(key: string, name: LinearName, linear: LinearSpec): void {
  const allowed = rangeTypes(linear.precision);
  for (const side of ['input', 'output'] as const) {
    const range = linear[side];
    const what = `${key}: ${linear.precision} ${side} range`;
    if (allowed === null) {
      if (range !== null) throw badSpec(`${what} where there is none`);
      continue;
    }
    if (range === null) throw badSpec(`${what} is missing`);
    if (!allowed.includes(range.dtype)) throw badSpec(`${what} is ${range.dtype}; allowed: ${allowed.join(', ')}`);
    checkRange(range, what);
  }
  if (linear.layout !== 'fc' && linear.layout !== 'conv') throw badSpec(`${key} has layout ${String(linear.layout)}`);
  if (linear.precision === 'w8f16' && linear.layout !== 'fc') throw badSpec(`${key}: w8f16 has layout fc only`);
  checkShadow(key, name, linear);
}

/** Which linears can be repaired, and that a w8a8s linear is: one that clips without repair is not what it says. */
function checkShadow(key: string, name: LinearName, linear: LinearSpec): void {
  const { input, output } = linear.shadow;
  if (linear.precision !== 'w8a8s') {
    if (input || output) throw badSpec(`${key} is flagged for shadow, which ${linear.precision} cannot have`);
    return;
  }
  if (name === 'gate' || name === 'up') throw badSpec(`${key} is w8a8s, but gate and up have no repair on the CPU`);
  if (!input) throw badSpec(`${key} is w8a8s without input repair`);
  if (name === 'o' && output) throw badSpec(`${key} is flagged for output repair, but its output is normed inside the graph`);
  if (linear.layout !== 'conv') throw badSpec(`${key} is shadowed and must have layout conv`);
}

/** Linears that read one tensor must agree on its encoding. */
export function checkShared(spec: ModelSpec, layer: number, names: readonly LinearName[]): void {
  const [first, ...rest] = names.map((name) => JSON.stringify(linearSpec(spec, layer, name).input, ['dtype', 'scale', 'offset']));
  if (rest.some((input) => input !== first))
    throw badSpec(`linears ${names.join(', ')} of layer ${layer} read one tensor but differ in its range`);
}

/**
 * The whole of `lutra.json`. Throws LutraError LUTRA_BAD_FILE that names the entry.
 * `linears` is empty when the model was converted without NPU weights, else complete.
 */
export function checkSpec(spec: ModelSpec): void {
  checkModel(spec);
  const keys = new Set(Object.keys(spec.linears));
  if (keys.size === 0) return;
  for (let layer = 0; layer < spec.arch.layers; layer++) {
    for (const name of LINEAR_NAMES) {
      checkLinear(linearKey(layer, name), name, linearSpec(spec, layer, name));
      keys.delete(linearKey(layer, name));
    }
    for (const names of SHARED_INPUTS) checkShared(spec, layer, names);
  }
  const [unknown] = keys;
  if (unknown !== undefined) throw badSpec(`unknown linear ${unknown}`);
}
