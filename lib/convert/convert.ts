/**
 * `lutra convert`: a GGUF file, a directory of Hugging Face or an .mllm file → a model directory (docs/model-format.md).
 */
import { createHash } from 'node:crypto';
import { rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { basename, join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { type CalibrationAddon, type Chosen, calibrate, type Setting, settingsOf } from '../calibrate/index.js';
import { choose, DEFAULT_GOAL, type Goal, type TrialAddon } from '../choose/index.js';
import { sha256 } from '../files/digest.js';
import { checkPath, MAX_TEXT_BYTES, readBytes, utf8 } from '../files/read.js';
import { sealJson } from '../files/sealed.js';
import { LutraError } from '../graph/errors.js';
import {
  type CalibrationRecord,
  type ChoiceRecord,
  type FileHashes,
  type LinearSpec,
  MODEL_FORMAT,
  type ModelSpec,
  type TensorSpec,
  TOKENIZER_FILES,
  type Transform,
} from '../graph/spec.js';
import { canRotate, checkRotatable } from '../models/index.js';
import { hfConfig } from './config.js';
import { type CpuWeights, isRequantised, requantised } from './cpu-weights.js';
import { OutputDirectory } from './directory.js';
import { openGguf } from './gguf-source.js';
import { openCheckpoint } from './huggingface/index.js';
import { isMllmFile, openMllm } from './mllm/index.js';
import { denseOf, writeCalibrationRotation, writeNpuWeights } from './npu-weights.js';
import { checkGoal, checkPrecision, type PrecisionByKind } from './precision.js';
import { type Rotation, rotationOf } from './rotation.js';
import { type SafetensorsEntry, SafetensorsWriter } from './safetensors.js';
import { Scratch } from './scratch.js';
import { type CpuTensor, cpuData, cpuEntry, type ModelSource, type PackAddon } from './tensors.js';
import { textWindows } from './windows.js';

/** Where a conversion is. `done` of `total` units of the stage: bytes, windows, layers or trials. */
export interface ConvertProgress {
  stage: 'hash' | 'cpu weights' | 'calibration' | 'trial weights' | 'trials' | 'npu weights';
  done: number;
  total: number;
}

export interface ConvertOptions {
  /** Path of a GGUF file, of a directory with config.json, tokenizer and safetensors files, or of an .mllm file. */
  input: string;
  /** Of an .mllm file: directory with config.json, tokenizer.json and tokenizer_config.json. */
  config?: string;
  /** Model directory to make. One that exists is replaced when it is a lutra model, refused otherwise. */
  output: string;
  addon: PackAddon & CalibrationAddon & TrialAddon;
  /** Precision by kind of linear; `null` writes CPU weights only. Default: chosen for every linear by its effect, as `goal` says. */
  precision?: PrecisionByKind | null;
  /**
   * What precisions are chosen for: the cheapest linears with at most a KL (default 0.015, or the least that there is), or the best with at least a share of 8-bit activations. Measured
   * on windows of the calibration text that no range is taken from. Excludes `precision`.
   */
  goal?: Goal;
  /** Low-bit type that the matrices of the layers are quantised to for the CPU; null, the default, keeps the source's values. With a calibration text, errors count by E[x²]. */
  cpuWeights?: CpuWeights | null;
  /** The same of the embedding and lm_head. */
  lmHead?: CpuWeights | null;
  /** Path of a UTF-8 text. Needed unless every precision is w8f16 (or null). */
  calibrationText?: string;
  /** Default `recipe`. */
  method?: CalibrationRecord['method'];
  /** Runs of the text that are used, from its beginning; default 16 of 256 tokens. */
  calibrationWindows?: number;
  calibrationWindowTokens?: number;
  /** What is done to the NPU's weights without changing the float model; default `rotate` where the hidden size allows it. */
  transform?: Transform;
  /** Rows of a chunk that the NPU graphs are built for; default 128. */
  chunk?: number;
  /** Threads of calibration and quantisation; default all. */
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: ConvertProgress) => void;
}

/** What is decided before anything large is read. */
interface Known {
  options: ConvertOptions;
  source: ModelSource;
  /** null: CPU weights only. */
  npu: NpuChoice | null;
  /** null: the NPU's residual stream stays in the basis of the model. */
  rotation: Rotation | null;
  /** With the types that are stored. */
  tensors: CpuTensor[];
}

interface CalibrationText {
  bytes: Buffer;
  text: string;
  name: string;
}

interface Context extends Known {
  /** null: nothing is calibrated. */
  text: CalibrationText | null;
  /** Of the source's weights. */
  sha256: string;
  directory: string;
}

/** What the NPU's linears are: of these precisions, or what reaches a goal. */
type NpuChoice = { precision: PrecisionByKind } | { goal: Goal; strict: boolean };

const MAX_CHUNK = 4096;

function checkChunk(chunk: number): number {
  if (Number.isInteger(chunk) && chunk >= 1 && chunk <= MAX_CHUNK) return chunk;
  throw new LutraError('LUTRA_INVALID_ARGUMENT', `chunk is ${chunk}`, `Give a whole number from 1 to ${MAX_CHUNK}.`);
}

async function hashSource({ options, source }: Pick<Context, 'options' | 'source'>): Promise<string> {
  const hash = createHash('sha256');
  let done = 0;
  for await (const block of source.blocks()) {
    options.signal?.throwIfAborted();
    hash.update(block);
    done += block.length;
    options.onProgress?.({ stage: 'hash', done, total: source.size });
  }
  return hash.digest('hex');
}

async function writeCpuWeights(
  context: Context,
  path: string,
  tensors: readonly CpuTensor[],
  moments?: ReadonlyMap<string, Float32Array>,
): Promise<FileHashes> {
  const { options, source } = context;
  const named = new Set(tensors.map(({ order }) => order));
  const orders = [...source.orders].filter(([name]) => named.has(name));
  const entries = orders.map(([name, order]): SafetensorsEntry => ({ name, dtype: 'U32', shape: [order.length] }));
  const writer = await SafetensorsWriter.resume(path, [...tensors.map(cpuEntry), ...entries]);
  const total = tensors.reduce((bytes, { source: { bytes: own } }) => bytes + own, 0);
  const tools = { addon: options.addon, scratch: new Scratch(), threads: options.threads ?? availableParallelism() };
  let done = 0;
  try {
    for (const tensor of tensors) {
      const importance = moments?.get(tensor.name) ?? null;
      for await (const data of writer.has(tensor.name) ? [] : cpuData(tensor, { ...tools, importance })) {
        options.signal?.throwIfAborted();
        await writer.write(tensor.name, data);
      }
      done += tensor.source.bytes;
      options.onProgress?.({ stage: 'cpu weights', done, total });
    }
    for (const [name, order] of orders) await writer.write(name, order);
    return await writer.finish();
  } finally {
    await writer.abandon();
  }
}

async function readText(path: string | undefined): Promise<CalibrationText> {
  if (path === undefined) {
    throw new LutraError(
      'LUTRA_INVALID_ARGUMENT',
      'Static ranges need a calibration text',
      'Give one, or use precision all=w8f16, which has no ranges.',
    );
  }
  const wanted = { remedy: 'Give the path of a UTF-8 text for calibration.' };
  const bytes = await readBytes(path, MAX_TEXT_BYTES, wanted);
  return { bytes, text: utf8(bytes, path, wanted), name: basename(path) };
}

/** What a model is calibrated with, and what comes of it. */
interface CalibratedModel extends Chosen {
  moments: Map<string, Float32Array>;
  /** null when no precision has ranges. */
  record: CalibrationRecord | null;
}

/** Settings that are calibrated: one where the precision leaves nothing open. */
function settings({ npu, rotation, options }: Known): readonly Setting[] {
  if (npu === null) return [];
  return settingsOf(options.method ?? 'recipe', rotation ? 'rotate' : 'none', 'precision' in npu ? npu.precision : null);
}

/** What calibration has to find: ranges, second moments. */
function askedOfText(context: Known): { ranges: boolean; moments: boolean } {
  const { calibrationText } = context.options;
  return {
    ranges: settings(context).some(({ precision }) => Object.values(precision).some((name) => name !== 'w8f16')),
    moments: calibrationText !== undefined && context.tensors.some(isRequantised),
  };
}

/** What a text tells of the model whose weights are in `weights`. */
async function calibrated(context: Context, spec: ModelSpec, weights: string): Promise<CalibratedModel> {
  const { options, rotation } = context;
  const wanted = settings(context);
  const { ranges, moments } = askedOfText(context);
  const { text } = context;
  const { tokenizer } = context.source;
  const tokens = text ? new Tokenizer(tokenizer.tokenizer, tokenizer.config).encode(text.text, { add_special_tokens: false }).ids : [];
  const windows = textWindows(tokens, options, spec.arch.maxContext, wanted.length > 1);
  const beside = rotation && ranges ? join(context.directory, 'rotation.safetensors') : null;
  if (beside && rotation) {
    const dense = denseOf(new Map(context.source.tensors.map((tensor) => [tensor.name, tensor])), options.addon);
    await writeCalibrationRotation(beside, rotation, spec.arch, dense);
  }
  const basis: ModelSpec = beside ? spec : { ...spec, transform: 'none' };
  const files = beside ? [weights, beside] : [weights];
  const found = await calibrate({
    spec: basis,
    files,
    tokens,
    windows: windows.ranges,
    windowTokens: windows.tokens,
    settings: wanted,
    moments,
    addon: options.addon,
    threads: options.threads ?? availableParallelism(),
    signal: options.signal,
    onProgress: (done, total) => options.onProgress?.({ stage: 'calibration', done, total }),
  });
  const [first = { linears: {}, factors: new Map(), unrepaired: new Set<string>(), hot: new Map() }] = found.chosen;
  const { record: choice, ...chosen } =
    wanted.length > 1 ? await chosenOf(context, basis, files, found.chosen, windows.apart()) : { ...first, record: null };
  if (beside) await rm(beside);
  const result = { ...chosen, moments: found.moments };
  if (!text || !ranges) return { ...result, record: null };
  const used = Math.min(windows.ranges, Math.floor(tokens.length / windows.tokens)) * windows.tokens;
  const record = { text: text.name, textSha256: sha256(text.bytes), tokens: used, method: options.method ?? 'recipe' };
  return { ...result, record: choice ? { ...record, choice } : record };
}

/** Chooses between settings: by their effect on windows of the text that no range was taken from. */
async function chosenOf(
  context: Context,
  spec: ModelSpec,
  files: readonly string[],
  found: readonly Chosen[],
  windows: { alone: number[][]; together: number[][] },
): Promise<Chosen & { record: ChoiceRecord | null }> {
  const { options, npu, source, directory, rotation } = context;
  const weights = join(directory, 'trial.safetensors');
  const scales = new Map<string, Float32Array>();
  const layouts = Object.entries(found[0]?.linears ?? {}).map(([key, linear]): [string, LinearSpec] => [
    key,
    { ...linear, layout: 'conv' },
  ]);
  await writeNpuWeights(weights, {
    path: source.path,
    arch: source.arch,
    linears: Object.fromEntries(layouts.map(([key, { factors: _, ...linear }]) => [key, linear])),
    factors: new Map(),
    hot: new Map(),
    rotation,
    tensors: new Map(source.tensors.map((tensor) => [tensor.name, tensor])),
    addon: options.addon,
    threads: options.threads ?? availableParallelism(),
    trialScales: scales,
    onLayer: layerProgress(context, 'trial weights'),
  });
  const choice = await choose({
    spec,
    files: [...files, weights],
    scales,
    directory,
    settings: found,
    goal: npu && 'goal' in npu ? npu.goal : null,
    strict: npu !== null && 'goal' in npu && npu.strict,
    ...windows,
    addon: options.addon,
    threads: options.threads ?? availableParallelism(),
    signal: options.signal,
    onProgress: (done, total) => options.onProgress?.({ stage: 'trials', done, total }),
  });
  await rm(weights);
  return choice;
}

/** For the stages that go through the layers. */
function layerProgress({ options, source }: Context, stage: ConvertProgress['stage']): (layer: number) => void {
  return (layer) => {
    options.signal?.throwIfAborted();
    options.onProgress?.({ stage, done: layer + 1, total: source.arch.layers });
  };
}

function tensorTable(tensors: readonly CpuTensor[]): Record<string, TensorSpec> {
  return Object.fromEntries(
    tensors.map(({ name, type, shape, order }) => [name, order === undefined ? { type, shape } : { type, shape, order }]),
  );
}

/** Writes a file that must be on the disk before the directory gets its name. */
async function writeWhole(directory: string, name: string, bytes: Buffer): Promise<void> {
  await writeFile(join(directory, name), bytes, { flag: 'wx', flush: true });
}

function json(value: object, indent?: number): Buffer {
  return Buffer.from(`${JSON.stringify(value, null, indent)}\n`);
}

/** Linears that say how many channels are listed for them. */
function withHot(linears: Readonly<Record<string, LinearSpec>>, hot: ReadonlyMap<string, Uint32Array>): Record<string, LinearSpec> {
  const listed = (key: string) => hot.get(key)?.length;
  return Object.fromEntries(
    Object.entries(linears).map(([key, linear]) => [key, { ...linear, ...(listed(key) ? { hot: listed(key) } : {}) }]),
  );
}

/** Writes all files of the model into the context's directory. */
async function writeModel(context: Context): Promise<ModelSpec> {
  const { options, source, directory, npu: choice, rotation, tensors } = context;
  const { arch, tokenizer, path } = source;
  const final = join(directory, 'cpu.safetensors');
  // The float model that calibration runs has the source's values.
  const { ranges, moments: weighed } = askedOfText(context);
  const apart = tensors.some(isRequantised) && (ranges || weighed) ? join(directory, 'source.safetensors') : null;
  const first = apart ? source.tensors : tensors;
  const written = await writeCpuWeights(context, apart ?? final, first);
  const tokenizerFiles = { 'tokenizer.json': json(tokenizer.tokenizer), 'tokenizer_config.json': json(tokenizer.config, 2) };
  const hashes: ModelSpec['hashes'] = {
    cpu: written,
    npu: null,
    tokenizer: {
      'tokenizer.json': sha256(tokenizerFiles['tokenizer.json']),
      'tokenizer_config.json': sha256(tokenizerFiles['tokenizer_config.json']),
    },
  };
  let spec: ModelSpec = {
    format: MODEL_FORMAT,
    name: source.name,
    arch,
    chunk: checkChunk(options.chunk ?? 128),
    tensors: tensorTable(first),
    linears: {},
    transform: rotation ? 'rotate' : 'none',
    hashes,
    source: { file: basename(path), sha256: context.sha256 },
    calibration: null,
    tokens: tokenizer.tokens,
  };
  const { factors, hot, record, moments, ...found } = await calibrated(context, spec, apart ?? final);
  const linears = withHot(found.linears, hot);
  if (apart) {
    await rm(apart);
    hashes.cpu = await writeCpuWeights(context, final, tensors, moments);
    spec = { ...spec, tensors: tensorTable(tensors), hashes };
  }
  if (choice) {
    const onLayer = layerProgress(context, 'npu weights');
    const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
    const npu = await writeNpuWeights(join(directory, 'npu.safetensors'), {
      path,
      arch,
      linears,
      factors,
      hot,
      rotation,
      tensors: byName,
      addon: options.addon,
      threads: options.threads ?? availableParallelism(),
      onLayer,
    });
    spec = { ...spec, linears, calibration: record, hashes: { ...hashes, npu } };
  }
  await writeWhole(directory, 'config.json', json(hfConfig(arch, tokenizer.tokens), 2));
  for (const name of TOKENIZER_FILES) await writeWhole(directory, name, tokenizerFiles[name]);
  await writeWhole(directory, 'lutra.json', sealJson(spec));
  return spec;
}

/** The same for conversions whose files would be the same. */
function keyOf({ options, source, sha256: weights, npu, rotation, tensors, text }: Omit<Context, 'directory'>): string {
  const { method, calibrationWindows, calibrationWindowTokens, chunk, threads } = options;
  const facts = [
    ...[MODEL_FORMAT, weights, source.arch, source.tokenizer, tensorTable(tensors), npu, rotation !== null],
    ...[method, text && sha256(text.bytes), calibrationWindows, calibrationWindowTokens, chunk, threads],
  ];
  return sha256(Buffer.from(JSON.stringify(facts))).slice(0, 16);
}

/** What failed, as the caller should see it. */
function asLutraError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return new LutraError('LUTRA_ABORTED', 'The conversion was aborted.', '', { cause: error });
  if (error instanceof LutraError) return error;
  const code = (error as NodeJS.ErrnoException | null)?.code;
  if (typeof code !== 'string') return error;
  const remedy = code === 'ENOSPC' ? 'Free some space on the disk of the output directory.' : '';
  return new LutraError('LUTRA_IO', `The conversion failed: ${error instanceof Error ? error.message : String(error)}`, remedy, {
    cause: error,
  });
}

/** Throws LUTRA_UNSUPPORTED when the model cannot have the transform that is asked for. */
function transformOf({ transform }: ConvertOptions, { arch }: ModelSource): Transform {
  if (transform === 'rotate') checkRotatable(arch.hidden);
  return transform ?? (canRotate(arch.hidden) ? 'rotate' : 'none');
}

/** Throws LUTRA_INVALID_ARGUMENT. */
function npuChoice({ precision, goal }: ConvertOptions): NpuChoice | null {
  if (goal !== undefined && precision !== undefined)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', 'A goal chooses the precisions that are given', 'Give one of the two.');
  if (precision === null) return null;
  if (precision !== undefined) return { precision: checkPrecision(precision) };
  return { goal: checkGoal(goal ?? DEFAULT_GOAL), strict: goal !== undefined };
}

/** Everything that can be refused without reading the weights is refused here, before anything is written. */
async function openSource(path: string, config: string | undefined): Promise<ModelSource> {
  checkPath(path, 'a model');
  if (config !== undefined) checkPath(config, 'a directory with config.json');
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile() && (await isMllmFile(path))) return openMllm(path, config);
  if (config === undefined || !found) return found?.isDirectory() ? openCheckpoint(path) : openGguf(path);
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `${path} is no .mllm file, and needs no other config than its own`,
    'Leave --config out: GGUF files and directories of Hugging Face say themselves what they are.',
  );
}

/**
 * Converts a GGUF file, a checkpoint of Hugging Face or an .mllm file into a model directory and resolves to its `lutra.json`. The directory appears whole or not at all; a conversion that was
 * killed is gone on with by the next call with the same source and options.
 * Errors (LutraError): LUTRA_NOT_FOUND, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED (architecture, tensor type, tokenizer), LUTRA_INVALID_ARGUMENT,
 * LUTRA_IO, LUTRA_ABORTED.
 */
export async function convertModel(options: ConvertOptions): Promise<ModelSpec> {
  const { signal } = options;
  const npu = npuChoice(options);
  checkChunk(options.chunk ?? 128);
  if (signal?.aborted) throw asLutraError(signal.reason, signal);
  const source = await openSource(options.input, options.config);
  try {
    const tensors = requantised(source.tensors, options.cpuWeights ?? null, options.lmHead ?? null);
    const rotation = npu && transformOf(options, source) === 'rotate' ? rotationOf(source.arch.hidden) : null;
    await OutputDirectory.check(options.output);
    const known: Known = { options, source, npu, rotation, tensors };
    const { ranges, moments } = askedOfText(known);
    const text = ranges || moments ? await readText(options.calibrationText) : null;
    const read = { ...known, text, sha256: await hashSource({ options, source }) };
    const output = await OutputDirectory.create(options.output, keyOf(read));
    try {
      const spec = await writeModel({ ...read, directory: output.path });
      await output.commit();
      return spec;
    } catch (error) {
      await output.discard();
      throw error;
    }
  } catch (error) {
    throw asLutraError(error, signal);
  } finally {
    await source.close();
  }
}
