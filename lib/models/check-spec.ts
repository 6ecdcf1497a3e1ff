/** Whether `lutra.json` is what it should be and consistent: shapes of tensors, precisions, ranges, layouts and shadow flags of the NPU linears. */
import { DTYPES, isBlockType, isWeightType, needsWholeBlocks, quantLimits } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import {
  type ArchSpec,
  type ChoiceRecord,
  type CpuType,
  type LinearName,
  type LinearSpec,
  MODEL_FORMAT,
  type ModelSpec,
  type Precision,
  type QualityRow,
  type QuantRange,
  type TensorSpec,
  TRANSFORMS,
} from '../graph/spec.js';
import { type ModelFamily, modelFamily } from './families/index.js';
import { canRotate } from './rotation.js';

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
  const key = linearKey(layer, name);
  const found = Object.hasOwn(spec.linears, key) ? spec.linears[key] : undefined;
  if (found === undefined) throw badSpec(`linear ${key} is missing`);
  return found;
}

/** Whole numbers of `arch` and how large they may be: what a plan can hold, and far from what would be slow to refuse. */
const COUNTS = {
  vocab: 2 ** 24,
  hidden: 2 ** 20,
  ffn: 2 ** 20,
  layers: 4096,
  heads: 1024,
  kvHeads: 1024,
  headDim: 1024,
  maxContext: 1e9,
} as const satisfies Partial<Record<keyof ArchSpec, number>>;
const MAX_CHUNK = 4096;
const FLAGS = ['ropeInterleaved', 'ropeFactors', 'tied', 'qkvBias'] as const satisfies readonly (keyof ArchSpec)[];
const ACTIVATIONS: readonly string[] = ['silu', 'relu'] satisfies ArchSpec['activation'][];

const isType = (value: unknown): value is CpuType => typeof value === 'string' && Object.hasOwn(DTYPES, value);

/** A value of the file as it may stand in a sentence. */
function shown(value: unknown): string {
  const text = typeof value === 'string' ? `'${value}'` : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

/** Tables and lists of the file: whether a value is one that has names. */
function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A value that should be an object, as one that may lack everything. */
function partial<T extends object>(value: T | null | undefined, what: string): Partial<T> {
  if (isTable(value)) return value as Partial<T>;
  throw badSpec(`${what} is ${shown(value)}, not an object`);
}

function checkCount(value: unknown, what: string, most: number): void {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= most) return;
  throw badSpec(`${what} is ${shown(value)}; a whole number from 1 to ${most} is expected`);
}

/** What F32 can hold, above 0. */
function checkPositive(value: unknown, what: string): void {
  const stored = typeof value === 'number' ? Math.fround(value) : Number.NaN;
  if (!(stored > 0 && Number.isFinite(stored))) throw badSpec(`${what} ${shown(value)}; a number above 0 that F32 holds is expected`);
}

function checkArch(arch: ArchSpec): void {
  for (const [name, most] of Object.entries(COUNTS)) checkCount(arch[name as keyof typeof COUNTS], `arch.${name}`, most);
  if (arch.heads % arch.kvHeads !== 0) throw badSpec(`${arch.heads} heads do not divide into ${arch.kvHeads} KV heads`);
  if (arch.headDim % 2 !== 0) throw badSpec(`headDim ${arch.headDim} is odd`);
  checkPositive(arch.ropeTheta, 'arch.ropeTheta is');
  checkPositive(arch.rmsEps, 'arch.rmsEps is');
  for (const name of FLAGS) {
    if (typeof arch[name] !== 'boolean') throw badSpec(`arch.${name} is ${shown(arch[name])}, neither true nor false`);
  }
  if (!ACTIVATIONS.includes(arch.activation))
    throw new LutraError(
      'LUTRA_UNSUPPORTED',
      `lutra.json: the activation ${shown(arch.activation)} is unknown.`,
      `Known: ${ACTIVATIONS.join(', ')}.`,
    );
}

function checkTokens(spec: ModelSpec): void {
  const { bos, eos, addBos } = partial(spec.tokens, 'tokens');
  const isId = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0 && (value as number) < spec.arch.vocab;
  if (bos !== null && !isId(bos)) throw badSpec(`tokens.bos is ${shown(bos)}, no token of a vocabulary of ${spec.arch.vocab}`);
  if (!Array.isArray(eos)) throw badSpec(`tokens.eos is ${shown(eos)}, not a list`);
  const wrong = (eos as unknown[]).find((id) => !isId(id));
  if (wrong !== undefined) throw badSpec(`tokens.eos has ${shown(wrong)}, no token of a vocabulary of ${spec.arch.vocab}`);
  if (typeof addBos !== 'boolean') throw badSpec(`tokens.addBos is ${shown(addBos)}, neither true nor false`);
}

/** Where the model comes from: for people, who are shown it. */
function checkOrigin(spec: ModelSpec): void {
  if (typeof spec.name !== 'string') throw badSpec(`name is ${shown(spec.name)}, not a text`);
  const { file } = partial(spec.source, 'source');
  if (typeof file !== 'string') throw badSpec(`source.file is ${shown(file)}, not a text`);
  if (spec.calibration !== null) checkChoice(partial(spec.calibration, 'calibration').choice);
}

const ROW_FIGURES = ['kl', 'top1', 'perplexity', 'int8Share', 'repairPerToken'] as const satisfies readonly (keyof QualityRow)[];

/** How precisions were chosen: for people, too. */
function checkChoice(choice: ChoiceRecord | undefined): void {
  if (choice === undefined) return;
  const { version, goal, tokens, cost, table, unrepaired } = partial(choice, 'calibration.choice');
  if (version !== 1) throw badSpec(`calibration.choice has version ${shown(version)}; this version of lutra reads version 1`);
  const figure = (value: unknown, what: string): void => {
    if (!Number.isFinite(value)) throw badSpec(`calibration.choice: ${what} is ${shown(value)}, not a number`);
  };
  figure(Object.values(partial(goal, 'calibration.choice.goal'))[0], 'goal');
  figure(tokens, 'tokens');
  figure(cost, 'cost');
  if (!Array.isArray(table)) throw badSpec(`calibration.choice.table is ${shown(table)}, not a list`);
  for (const row of table as unknown[]) {
    const cells = partial(row as QualityRow, 'a row of calibration.choice.table');
    if (typeof cells.setting !== 'string') throw badSpec(`calibration.choice: a setting is called ${shown(cells.setting)}`);
    for (const name of ROW_FIGURES) figure(cells[name], `${name} of ${shown(cells.setting)}`);
  }
  if (!Array.isArray(unrepaired) || unrepaired.some((key: unknown) => typeof key !== 'string'))
    throw badSpec(`calibration.choice.unrepaired is ${shown(unrepaired)}, not a list of linears`);
}

/** Names, shapes and whether only F32 will do, of all tensors of cpu.safetensors. */
function* expectedTensors(arch: ArchSpec, { qkNorm }: ModelFamily): Generator<{ name: string; shape: readonly number[]; f32: boolean }> {
  const vector = (name: string, length: number) => ({ name, shape: [length], f32: true });
  const matrix = (name: string, shape: readonly number[]) => ({ name, shape, f32: false });
  yield matrix('embed', [arch.vocab, arch.hidden]);
  if (!arch.tied) yield matrix('lm_head', [arch.vocab, arch.hidden]);
  yield vector('norm', arch.hidden);
  if (arch.ropeFactors) yield vector('rope_factors', arch.headDim / 2);
  for (let layer = 0; layer < arch.layers; layer++) {
    yield vector(`layers.${layer}.attn_norm`, arch.hidden);
    yield vector(`layers.${layer}.ffn_norm`, arch.hidden);
    if (qkNorm) for (const norm of ['q_norm', 'k_norm']) yield vector(`layers.${layer}.${norm}`, arch.headDim);
    for (const name of LINEAR_NAMES) {
      const shape = linearShape(arch, name);
      yield matrix(linearKey(layer, name), shape);
      if (arch.qkvBias && (name === 'q' || name === 'k' || name === 'v')) yield vector(`${linearKey(layer, name)}.bias`, shape[0]);
    }
  }
}

/** An order is called after a tensor with as many columns; the rows of the embedding are read as they are. */
function checkOrder(spec: ModelSpec, name: string, cols: number | undefined): void {
  const { order, type } = spec.tensors[name] as Partial<TensorSpec>;
  if (order === undefined) return;
  const of = typeof order === 'string' && order.endsWith('.order') ? order.slice(0, -'.order'.length) : '';
  const fits = Object.hasOwn(spec.tensors, of) && spec.tensors[of]?.order === order && spec.tensors[of]?.shape?.[1] === cols;
  if (name === 'embed' || type === undefined || !isBlockType(type) || !fits)
    throw badSpec(`tensor ${name} has the order ${shown(order)}, which is none that it can have`);
}

function checkTensor(spec: ModelSpec, { name, shape, f32 }: { name: string; shape: readonly number[]; f32: boolean }): void {
  if (!Object.hasOwn(spec.tensors, name)) throw badSpec(`tensor ${name} is missing`);
  const { type, shape: stored } = partial(spec.tensors[name], `tensor ${name}`);
  const found = `${isType(type) ? type : shown(type)} [${Array.isArray(stored) ? stored.map(shown).join(', ') : shown(stored)}]`;
  if (!Array.isArray(stored) || stored.length !== shape.length || shape.some((length, i) => stored[i] !== length))
    throw badSpec(`tensor ${name} is ${found}; [${shape.join(', ')}] is expected`);
  if (!isType(type) || !isWeightType(type) || (f32 && type !== 'f32'))
    throw badSpec(`tensor ${name} is ${found}; ${f32 ? 'f32' : 'a weight type'} is expected`);
  if (needsWholeBlocks(type) && (shape[1] ?? 0) % 32 !== 0) throw badSpec(`tensor ${name} is ${found}; columns must be a multiple of 32`);
  checkOrder(spec, name, shape[1]);
}

function checkTransform({ transform, arch }: ModelSpec): void {
  if (!(TRANSFORMS as readonly unknown[]).includes(transform))
    throw badSpec(`transform is ${shown(transform)}; known: ${TRANSFORMS.join(', ')}`);
  if (transform === 'rotate' && !canRotate(arch.hidden)) throw badSpec(`a hidden size of ${arch.hidden} cannot be rotated`);
}

/**
 * Architecture, tokens and tensors, without the NPU linears: what a plan without NPU or for calibration needs. The fields may hold anything that JSON can.
 * Throws LUTRA_BAD_FILE, LUTRA_UNSUPPORTED.
 */
export function checkModel(spec: ModelSpec): void {
  if (spec.format !== MODEL_FORMAT) throw badSpec(`format ${shown(spec.format)}; this version reads format ${MODEL_FORMAT}`);
  const family = modelFamily(partial(spec.arch, 'arch').family);
  checkArch(spec.arch);
  checkCount(spec.chunk, 'chunk', MAX_CHUNK);
  checkOrigin(spec);
  checkTokens(spec);
  partial(spec.tensors, 'tensors');
  partial(spec.linears, 'linears');
  checkTransform(spec);
  for (const tensor of expectedTensors(spec.arch, family)) checkTensor(spec, tensor);
}

/** A static encoding that can be written and holds zero exactly. */
export function checkRange(range: QuantRange, what: string): void {
  checkPositive(range.scale, `${what} has scale`);
  const { lo, hi } = quantLimits(range.dtype);
  if (!Number.isInteger(range.offset) || -range.offset < lo || -range.offset > hi)
    throw badSpec(`${what} has offset ${shown(range.offset)}, so that ${range.dtype} cannot hold zero`);
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
      throw badSpec(`unknown precision ${shown(precision satisfies never)}`);
  }
}

function checkLinear(key: string, name: LinearName, linear: LinearSpec): void {
  partial(linear, key);
  const allowed = rangeTypes(linear.precision);
  for (const side of ['input', 'output'] as const) {
    const range = linear[side];
    const what = `${key}: ${linear.precision} ${side} range`;
    if (allowed === null) {
      if (range !== null) throw badSpec(`${what} where there is none`);
      continue;
    }
    if (range === null) throw badSpec(`${what} is missing`);
    partial(range, what);
    if (!allowed.includes(range.dtype)) throw badSpec(`${what} is ${shown(range.dtype)}; allowed: ${allowed.join(', ')}`);
    checkRange(range, what);
  }
  if (linear.layout !== 'fc' && linear.layout !== 'conv') throw badSpec(`${key} has layout ${shown(linear.layout)}`);
  if (linear.precision === 'w8f16' && linear.layout !== 'fc') throw badSpec(`${key}: w8f16 has layout fc only`);
  if (linear.factors !== undefined && (linear.factors !== true || linear.precision !== 'w8a8'))
    throw badSpec(`${key} has factors ${shown(linear.factors)}, which ${linear.precision} cannot have`);
  checkShadow(key, name, linear);
}

/** Which linears can be repaired, and that a w8a8s linear is: one that clips without repair is not what it says. */
function checkShadow(key: string, name: LinearName, linear: LinearSpec): void {
  const { input, output } = partial(linear.shadow, `${key}: shadow`);
  for (const flag of [input, output]) {
    if (typeof flag !== 'boolean') throw badSpec(`${key}: shadow has ${shown(flag)}, neither true nor false`);
  }
  if (linear.precision !== 'w8a8s') {
    if (input || output) throw badSpec(`${key} is flagged for shadow, which ${linear.precision} cannot have`);
    return;
  }
  if (name === 'gate' || name === 'up') throw badSpec(`${key} is w8a8s, but gate and up have no repair on the CPU`);
  if (!input) throw badSpec(`${key} is w8a8s without input repair`);
  if (name === 'o' && output) throw badSpec(`${key} is flagged for output repair, but its output is normed inside the graph`);
  if (linear.layout !== 'conv') throw badSpec(`${key} is shadowed and must have layout conv`);
}

/** How many channels a linear lists as hot. */
function checkHot(key: string, name: LinearName, linear: LinearSpec, arch: ArchSpec): void {
  const { hot } = linear;
  if (hot === undefined) return;
  const [, inputs] = linearShape(arch, name);
  if (!linear.shadow.input) throw badSpec(`${key} has hot channels, but no repair of its input`);
  if (!Number.isInteger(hot) || hot < 1 || hot > inputs) throw badSpec(`${key} has ${shown(hot)} hot channels of ${inputs}`);
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
      checkHot(linearKey(layer, name), name, linearSpec(spec, layer, name), spec.arch);
      keys.delete(linearKey(layer, name));
    }
    for (const names of SHARED_INPUTS) checkShared(spec, layer, names);
  }
  const [unknown] = keys;
  if (unknown !== undefined) throw badSpec(`unknown linear ${unknown}`);
}
