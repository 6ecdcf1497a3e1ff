/** Tiny random Llama models as GGUF files, converted, with the float weights that they hold: what the float64 references need. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fromHalf, toHalf } from '../../lib/convert/floats.js';
import { type ConvertOptions, convertModel } from '../../lib/convert/index.js';
import type { PrecisionByKind } from '../../lib/convert/precision.js';
import { encodePlan, type Graph } from '../../lib/graph/index.js';
import type { ArchSpec, ModelSpec } from '../../lib/graph/spec.js';
import type { EngineOptions, NativeEngine } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/loader.js';
import type { Session } from '../../lib/runtime/session.js';
import { BLOCKS, type BlockName, ggmlValues } from '../reference/ggml.js';
import { type GgufTensorInput, type MetadataValue, writeGguf } from '../reference/gguf-writer.js';
import { storedTensors } from '../reference/golden-checkpoints.js';
import { Random } from '../reference/random.js';
import { TERNARY, type TernaryName, ternaryBlocks } from '../reference/ternary.js';
import { tinyModel, type Weight } from '../reference/tiny.js';
import { type Storage, TINY, tinyGguf, tinyVocabulary } from '../unit/convert/tiny-gguf.js';

export const CHUNK = 8;
export const VOCAB = tinyVocabulary().tokens.length;
export const CONTEXT = 8192;

/** How lib/convert names tensors, and how GGUF does. */
const GGUF_NAMES: Readonly<Record<string, string>> = {
  embed: 'token_embd',
  norm: 'output_norm',
  lm_head: 'output',
  rope_factors: 'rope_freqs',
  attn_norm: 'attn_norm',
  ffn_norm: 'ffn_norm',
  q: 'attn_q',
  k: 'attn_k',
  v: 'attn_v',
  o: 'attn_output',
  gate: 'ffn_gate',
  up: 'ffn_up',
  down: 'ffn_down',
};

function ggufName(name: string): string {
  const [, layer, part] = /^layers\.(\d+)\.(\w+)$/.exec(name) ?? [];
  return layer === undefined ? `${GGUF_NAMES[name]}.weight` : `blk.${layer}.${GGUF_NAMES[part ?? '']}.weight`;
}

/** Rows of each head from halves (first, second) to pairs, as Llama's GGUF files have q and k. */
export function interleaveHeads({ shape, data }: Weight, headDim: number): Weight {
  const [rows = 0, cols = 0] = shape;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const [head, at] = [Math.floor(row / headDim) * headDim, row % headDim];
    const to = head + (at < headDim / 2 ? 2 * at : 2 * (at - headDim / 2) + 1);
    out.set(data.subarray(row * cols, (row + 1) * cols), to * cols);
  }
  return { shape, data: out };
}

function halfOf(value: number): number {
  return fromHalf(toHalf(value));
}

/** ggml blocks by round to nearest; good enough for random weights. */
function blocksOf(name: BlockName, values: Float32Array): Uint8Array {
  const { bytes, header } = BLOCKS[name];
  const out = new Uint8Array((values.length / 32) * bytes);
  const view = new DataView(out.buffer);
  for (let block = 0; block * 32 < values.length; block++) {
    const x = values.subarray(block * 32, block * 32 + 32);
    const [lo, hi] = [Math.min(...x), Math.max(...x)];
    const extreme = -lo > hi ? lo : hi;
    const d = halfOf(name === 'q4_1' ? (hi - lo) / 15 : name === 'q4_0' ? extreme / -8 : extreme / 127);
    const m = name === 'q4_1' ? halfOf(lo) : 0;
    const at = block * bytes;
    view.setUint16(at, toHalf(d), true);
    if (name === 'q4_1') view.setUint16(at + 2, toHalf(m), true);
    x.forEach((v, i) => {
      const code = Math.round((v - m) / d);
      if (name === 'q8_0') view.setInt8(at + header + i, Math.max(-127, Math.min(127, code)));
      else {
        const nibble = Math.max(0, Math.min(15, name === 'q4_0' ? code + 8 : code));
        const place = at + header + (i % 16);
        out[place] = (out[place] ?? 0) | (i < 16 ? nibble : nibble << 4);
      }
    });
  }
  return out;
}

/** Weights −d, 0, d with a scale of each 256. */
function ternary(name: TernaryName, values: Float32Array): { type: number; data: Uint8Array; values: Float32Array } {
  const scales = Array.from({ length: values.length / 256 }, (_, i) => {
    const block = values.subarray(i * 256, (i + 1) * 256);
    return halfOf(block.reduce((sum, value) => sum + Math.abs(value), 0) / 200);
  });
  const codes = Array.from(values, (value, i) => Math.max(-1, Math.min(1, Math.round(value / (scales[i >> 8] ?? 1)))));
  const data = ternaryBlocks(name, codes, scales);
  return { type: TERNARY[name].ggml, data, values: Float32Array.from(codes, (code, i) => code * (scales[i >> 8] ?? 0)) };
}

/** Bytes in a GGUF file and the values that they stand for. */
function encode(storage: Storage | TernaryName, values: Float32Array): { type: number; data: Uint8Array; values: Float32Array } {
  switch (storage) {
    case 'f32':
      return { type: 0, data: new Uint8Array(values.slice().buffer), values };
    case 'f16': {
      const halves = Uint16Array.from(values, toHalf);
      return { type: 1, data: new Uint8Array(halves.buffer), values: Float32Array.from(halves, fromHalf) };
    }
    case 'bf16': {
      const high = Uint16Array.from(new Uint32Array(values.slice().buffer), (bits) => bits >>> 16);
      const cut = new Float32Array(Uint32Array.from(high, (bits) => bits << 16).buffer);
      return { type: 30, data: new Uint8Array(high.buffer), values: cut };
    }
    case 'tq1_0':
    case 'tq2_0':
      return ternary(storage, values);
    default: {
      const data = blocksOf(storage, values);
      return { type: BLOCKS[storage].ggml, data, values: ggmlValues(storage, data) };
    }
  }
}

export interface TinyFileOptions {
  seed?: number;
  /** Storage of the matrices in turn. */
  storages?: readonly (Storage | TernaryName)[];
  /** Storage of the embedding and of lm_head; default: their turn. */
  head?: Storage;
  tied?: boolean;
  ropeFactors?: boolean;
  /** How far the gains of the norms spread, as the deviation of their logarithm: channels that matter more than others. */
  gainSpread?: number;
  /** Columns of what the layers' norms give that are made so much larger, and the weights that read them as much smaller: the same function, with the outliers that large models have. */
  outliers?: { channels: readonly number[]; factor: number };
  /** Where blocks are longer than the rows of the tiny model. */
  sizes?: { hidden: number; ffn: number; headDim: number };
}

export interface TinyFile {
  path: string;
  arch: ArchSpec;
  /** Values that the file holds, under lutra's names, with q and k in halves. */
  weights: Map<string, Weight>;
  /** The same with q and k as they lie in the file. */
  interleaved: Map<string, Weight>;
}

function inject(weights: ReadonlyMap<string, Weight>, { channels, factor }: NonNullable<TinyFileOptions['outliers']>): void {
  for (const [name, { shape, data }] of weights) {
    const [rows = 0, cols = 0] = shape;
    for (const channel of channels) {
      if (/\.(attn|ffn)_norm$/.test(name)) data[channel] = (data[channel] ?? 0) * factor;
      if (!/\.(q|k|v|gate|up)$/.test(name)) continue;
      for (let row = 0; row < rows; row++) data[row * cols + channel] = (data[row * cols + channel] ?? 0) / factor;
    }
  }
}

/** Writes a GGUF file. Vectors hold values that F16 holds too. */
export function writeTinyFile(
  path: string,
  { seed = 1, storages = ['q4_1'], head, tied = true, ropeFactors = false, gainSpread = 0, outliers, sizes = TINY }: TinyFileOptions,
): TinyFile {
  const arch = { ...TINY, ...sizes, vocab: VOCAB, maxContext: CONTEXT, tied, ropeFactors };
  const { spec, weights: random } = tinyModel({ seed, arch });
  const tensors: GgufTensorInput[] = [];
  const weights = new Map<string, Weight>();
  const interleaved = new Map<string, Weight>();
  const gains = new Random(seed + 1);
  for (const [name, { data }] of random) {
    if (gainSpread > 0 && name.endsWith('_norm'))
      data.forEach((gain, i) => {
        data[i] = gain * Math.exp(gainSpread * gains.normal());
      });
  }
  if (outliers) inject(random, outliers);
  let turn = 0;
  for (const [name, weight] of random) {
    const { shape } = weight;
    const vector = shape.length === 1;
    const turned = vector ? 'f32' : (storages[turn++ % storages.length] ?? 'f32');
    const storage = (/^(embed|lm_head)$/.test(name) && head) || turned;
    const asInFile = (w: Weight): Weight => (/\.[qk]$/.test(name) ? interleaveHeads(w, arch.headDim) : w);
    const rounded = { shape, data: encode(storage, vector ? Float32Array.from(weight.data, halfOf) : weight.data).values };
    weights.set(name, rounded);
    interleaved.set(name, asInFile(rounded));
    // From the unrounded values again: blocks lie along a row, so permuting rows and rounding may change places.
    const { type, data } = encode(storage, asInFile(vector ? rounded : weight).data);
    tensors.push({ name: ggufName(name), type, ne: [...shape].reverse(), data });
  }
  const metadata: Record<string, MetadataValue> = {
    ...tinyGguf().metadata,
    'llama.context_length': { u32: CONTEXT },
    'llama.embedding_length': { u32: arch.hidden },
    'llama.feed_forward_length': { u32: arch.ffn },
    'llama.rope.dimension_count': { u32: arch.headDim },
  };
  writeGguf(path, metadata, tensors);
  return { path, arch: spec.arch, weights, interleaved };
}

/** Words of random letters: a text for calibration. */
export function tinyText(seed: number, words: number): string {
  const random = new Random(seed);
  const word = () => Array.from({ length: 1 + random.below(7) }, () => String.fromCharCode(97 + random.below(26))).join('');
  return Array.from({ length: words }, word).join(' ');
}

export interface TinyModelFiles extends TinyFile {
  directory: string;
  spec: ModelSpec;
}

/** A converted model in `root`/`name`. `precision` null: CPU weights only. */
export async function makeTiny(
  root: string,
  name: string,
  precision: PrecisionByKind | null,
  options: TinyFileOptions = {},
  weights: Pick<ConvertOptions, 'cpuWeights' | 'lmHead' | 'calibrationText' | 'transform'> = {},
): Promise<TinyModelFiles> {
  const file = writeTinyFile(join(root, `${name}.gguf`), options);
  const text = join(root, `${name}.txt`);
  await writeFile(text, tinyText(7, 400));
  const directory = join(root, name);
  const spec = await convertModel({
    input: file.path,
    output: directory,
    addon: loadAddon(),
    precision,
    calibrationText: text,
    calibrationWindows: 4,
    calibrationWindowTokens: 64,
    chunk: CHUNK,
    threads: 1,
    transform: 'none',
    ...weights,
  });
  return { ...file, directory, spec };
}

/** What the converter wrote as factors of outputs. */
export function factorsOf({ directory }: TinyModelFiles): [string, Weight][] {
  return storedTensors(join(directory, 'npu.safetensors'))
    .filter(([name]) => name.endsWith('.factors.f16'))
    .map(([name, { shape, data }]) => [
      name.replace('.f16', ''),
      { shape, data: Float32Array.from(new Uint16Array(data.buffer), fromHalf) },
    ]);
}

/** An engine on a graph of the test's own making. */
export function openTiny(model: TinyModelFiles, graph: Graph, options: Partial<EngineOptions> = {}): Promise<NativeEngine> {
  const files = ['cpu', ...(model.spec.hashes.npu === null ? [] : ['npu'])].map((kind) => join(model.directory, `${kind}.safetensors`));
  const npu = graph.segments.length > 0 ? ({ kind: 'host' } as const) : ({ kind: 'none' } as const);
  return loadAddon().openEngine({ plan: encodePlan(graph), files, npu, threads: 1, ...options });
}

/** Logits of all positions, with the prompt in these pieces. */
export async function logitsInPieces(session: Session, tokens: readonly number[], pieces: readonly number[]): Promise<Float32Array> {
  const logits: number[] = [];
  let at = 0;
  for (const piece of pieces) {
    logits.push(...(await session.prefill(tokens.slice(at, at + piece), { logits: 'all' })));
    at += piece;
  }
  return Float32Array.from(logits);
}

/** Ids of no special token. */
export function tinyTokens(seed: number, count: number): number[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => 3 + random.below(VOCAB - 3));
}

/** Σ (a − b)² / Σ b² over rows. */
export function nmseRows(got: Float32Array, want: readonly Float64Array[]): number {
  let error = 0;
  let power = 0;
  let at = 0;
  for (const row of want) {
    for (const w of row) {
      error += ((got[at++] ?? Number.NaN) - w) ** 2;
      power += w ** 2;
    }
  }
  if (at !== got.length || !(power > 0)) throw new Error(`${got.length} values for ${at}, power ${power}`);
  return error / power;
}
