/** Checkpoints of Hugging Face that are none, lie about themselves, or hold what lutra cannot convert. */
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  f16,
  f32,
  type GroupedOptions,
  i32,
  type StoredArray,
  type TinyCheckpoint,
  type TinyCheckpointOptions,
  tinyCheckpoint,
  writeCheckpoint,
} from '../../reference/checkpoint.js';
import { type BadCase, made, NO_FILES, place, replace, tryConvert, type World } from './case.js';

type Change = (checkpoint: TinyCheckpoint) => void;

/** A tiny checkpoint, changed before it is written. */
function changed(name: string, code: BadCase['code'], says: string | RegExp, options: TinyCheckpointOptions, change: Change): BadCase {
  const prepare = (world: World) => {
    const checkpoint = tinyCheckpoint({ tied: true, ...options });
    change(checkpoint);
    return writeCheckpoint(place(world, 'hf'), checkpoint);
  };
  return made(name, code, says, prepare, tryConvert);
}

/** A tiny checkpoint whose files are changed after they were written. */
function spoiled(name: string, code: BadCase['code'], says: string | RegExp, change: (directory: string) => void, shards = 1): BadCase {
  const prepare = (world: World) => {
    const directory = writeCheckpoint(place(world, 'hf'), tinyCheckpoint({ tied: true }), shards);
    change(directory);
    return directory;
  };
  return made(name, code, says, prepare, tryConvert);
}

const WEIGHTS = 'model.safetensors';
const UP = 'model.layers.1.mlp.up_proj';

const json = (path: string, value: unknown) => writeFileSync(path, JSON.stringify(value));
const thing = (kind: string, of: string, says: string): BadCase =>
  spoiled(`${of}: ${kind}`, 'LUTRA_BAD_FILE', says, (directory) => replace(join(directory, of), kind));

function headerOf(
  change: (table: Record<string, { dtype: string; shape: unknown; data_offsets: unknown }>) => void,
): (directory: string) => void {
  return (directory) => {
    const path = join(directory, WEIGHTS);
    const bytes = readFileSync(path);
    const end = 8 + Number(bytes.readBigUInt64LE());
    const table = JSON.parse(bytes.toString('utf8', 8, end)) as Parameters<typeof change>[0];
    change(table);
    const header = Buffer.from(JSON.stringify(table));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(header.length));
    writeFileSync(path, Buffer.concat([length, header, bytes.subarray(end)]));
  };
}

const files: BadCase[] = [
  spoiled('no config.json', 'LUTRA_BAD_FILE', 'no config.json', (directory) => rmSync(join(directory, 'config.json'))),
  spoiled('a config.json that is no JSON', 'LUTRA_BAD_FILE', 'config.json', (directory) =>
    writeFileSync(join(directory, 'config.json'), '{'),
  ),
  spoiled('a config.json that is a list', 'LUTRA_BAD_FILE', 'config.json', (directory) => json(join(directory, 'config.json'), [1])),
  spoiled('a config.json of lists in lists', 'LUTRA_BAD_FILE', 'config.json nests', (directory) =>
    writeFileSync(join(directory, 'config.json'), `{"rope_scaling":${'['.repeat(1e5)}${']'.repeat(1e5)}}`),
  ),
  spoiled('a tokenizer of lists in lists', 'LUTRA_BAD_FILE', 'tokenizer.json nests', (directory) =>
    writeFileSync(join(directory, 'tokenizer.json'), `{"decoder":${'{"decoders":['.repeat(5e4)}${']}'.repeat(5e4)}}`),
  ),
  spoiled('no weights', 'LUTRA_BAD_FILE', 'no safetensors file', (directory) => rmSync(join(directory, WEIGHTS))),
  spoiled('two files without an index', 'LUTRA_BAD_FILE', '2 safetensors files', (directory) => {
    for (const name of ['a', 'b']) writeFileSync(join(directory, `${name}.safetensors`), '');
    rmSync(join(directory, WEIGHTS));
  }),
  spoiled('no tokenizer.json', 'LUTRA_BAD_FILE', 'tokenizer.json', (directory) => rmSync(join(directory, 'tokenizer.json'))),
  ...Object.keys(NO_FILES)
    .filter((kind) => !/link to itself|dangling|memory/.test(kind))
    .flatMap((kind) => [thing(kind, 'config.json', 'config.json'), thing(kind, WEIGHTS, WEIGHTS)]),
  spoiled('an empty weight file', 'LUTRA_BAD_FILE', 'truncated', (directory) => truncateSync(join(directory, WEIGHTS), 0)),
  spoiled('a weight file that ends in its header', 'LUTRA_BAD_FILE', 'truncated', (directory) =>
    truncateSync(join(directory, WEIGHTS), 900),
  ),
  spoiled('a weight file that ends in its data', 'LUTRA_BAD_FILE', 'truncated', (directory) =>
    truncateSync(join(directory, WEIGHTS), 60_000),
  ),
  spoiled('noise', 'LUTRA_BAD_FILE', 'header', (directory) => writeFileSync(join(directory, WEIGHTS), Buffer.alloc(9000, 0x5a))),
  spoiled(
    'a tensor of an unknown type',
    'LUTRA_BAD_FILE',
    'X99',
    headerOf((table) => Object.assign(table[`${UP}.weight`] ?? {}, { dtype: 'X99' })),
  ),
  spoiled(
    'a tensor with fewer bytes than its shape',
    'LUTRA_BAD_FILE',
    UP,
    headerOf((table) => Object.assign(table[`${UP}.weight`] ?? {}, { shape: [96, 640] })),
  ),
  spoiled(
    'a shape of texts',
    'LUTRA_BAD_FILE',
    UP,
    headerOf((table) => Object.assign(table[`${UP}.weight`] ?? {}, { shape: ['96', '64'] })),
  ),
  spoiled(
    'offsets beyond the file',
    'LUTRA_BAD_FILE',
    'truncated',
    headerOf((table) => Object.assign(table[`${UP}.weight`] ?? {}, { data_offsets: [2 ** 40, 2 ** 40 + 96 * 64 * 2] })),
  ),
  spoiled(
    'an index that is none',
    'LUTRA_BAD_FILE',
    'weight_map',
    (directory) => json(join(directory, 'model.safetensors.index.json'), { weight_map: 7 }),
    2,
  ),
  spoiled(
    'an index that leaves the directory',
    'LUTRA_BAD_FILE',
    'weight_map',
    (directory) => json(join(directory, 'model.safetensors.index.json'), { weight_map: { a: '../x.safetensors' } }),
    2,
  ),
  spoiled(
    'a shard that is missing',
    'LUTRA_BAD_FILE',
    '00002-of-00002',
    (directory) => rmSync(join(directory, 'model-00002-of-00002.safetensors')),
    2,
  ),
  spoiled(
    'a tensor in two shards',
    'LUTRA_BAD_FILE',
    'two files',
    (directory) =>
      writeFileSync(join(directory, 'model-00002-of-00002.safetensors'), readFileSync(join(directory, 'model-00001-of-00002.safetensors'))),
    2,
  ),
  spoiled('an empty directory', 'LUTRA_BAD_FILE', 'no config.json', (directory) => {
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
  }),
];

const config = (name: string, code: BadCase['code'], says: string | RegExp, changes: Record<string, unknown>): BadCase =>
  changed(name, code, says, {}, (checkpoint) => Object.assign(checkpoint.config, changes));

const configs: BadCase[] = [
  config('another model_type', 'LUTRA_UNSUPPORTED', 'mamba', { model_type: 'mamba' }),
  config('the model_type of BitNet', 'LUTRA_UNSUPPORTED', /"bitnet", whose blocks/, { model_type: 'bitnet', hidden_act: 'relu2' }),
  config('a model_type named as a built-in property', 'LUTRA_UNSUPPORTED', 'constructor', { model_type: 'constructor' }),
  config('no model_type', 'LUTRA_BAD_FILE', 'model_type is missing', { model_type: null }),
  config('another activation', 'LUTRA_UNSUPPORTED', 'relu2', { hidden_act: 'relu2' }),
  config('a RoPE scaling', 'LUTRA_UNSUPPORTED', 'yarn', { rope_scaling: { rope_type: 'yarn', factor: 4 } }),
  config('a RoPE scaling that is a number', 'LUTRA_BAD_FILE', 'rope_scaling', { rope_scaling: 7 }),
  config('a width of 0', 'LUTRA_BAD_FILE', 'hidden_size', { hidden_size: 0 }),
  config('a width that is a text', 'LUTRA_BAD_FILE', 'hidden_size', { hidden_size: '64' }),
  config('another width than the tensors have', 'LUTRA_BAD_FILE', 'embed_tokens', { hidden_size: 128 }),
  config('2^30 layers', 'LUTRA_BAD_FILE', 'layers.2', { num_hidden_layers: 2 ** 30 }),
  config('heads of 2^30', 'LUTRA_BAD_FILE', 'head_dim', {
    head_dim: 2 ** 30,
    rope_scaling: { rope_type: 'llama3', factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 },
  }),
  config('a RoPE scaling without its numbers', 'LUTRA_BAD_FILE', 'low_freq_factor', { rope_scaling: { rope_type: 'llama3', factor: 8 } }),
  config('3 heads on 2 key heads', 'LUTRA_UNSUPPORTED', '3 heads', { num_attention_heads: 3 }),
  config('an epsilon of 0', 'LUTRA_BAD_FILE', 'rms_norm_eps', { rms_norm_eps: 0 }),
  config('biases in the MLP', 'LUTRA_UNSUPPORTED', 'bias', { mlp_bias: true }),
  config('a token outside the vocabulary', 'LUTRA_BAD_FILE', 'eos_token_id', { eos_token_id: 99_999 }),
  changed('another kind of tokenizer', 'LUTRA_UNSUPPORTED', 'Unigram', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { model: { type: 'Unigram', vocab: [] } }),
  ),
  changed('a tokenizer that is not byte-level', 'LUTRA_UNSUPPORTED', 'byte-level', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { decoder: { type: 'Metaspace' } }),
  ),
  changed('a tokenizer without a vocabulary', 'LUTRA_UNSUPPORTED', 'cannot be used', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { model: { type: 'BPE' } }),
  ),
  changed('a vocabulary that is a list', 'LUTRA_BAD_FILE', 'vocab', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { model: { type: 'BPE', vocab: ['a'], merges: [] } }),
  ),
  changed('a token that the model has not', 'LUTRA_BAD_FILE', 'an id below 288 for "b"', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { model: { type: 'BPE', vocab: { a: 287, b: 288 }, merges: [] } }),
  ),
  changed('an added token that the model has not', 'LUTRA_BAD_FILE', 'added_tokens', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { added_tokens: [{ id: 4711, content: '<x>' }] }),
  ),
  changed('a pattern that is none', 'LUTRA_UNSUPPORTED', 'cannot be used', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Isolated', invert: false } }),
  ),
  changed('added tokens that are none', 'LUTRA_BAD_FILE', 'added_tokens', {}, ({ tokenizer }) =>
    Object.assign(tokenizer, { added_tokens: [7] }),
  ),
  changed('a chat template that is a number', 'LUTRA_BAD_FILE', 'chat_template', {}, ({ tokenizerConfig }) =>
    Object.assign(tokenizerConfig, { chat_template: 7 }),
  ),
  changed('a tensor that is missing', 'LUTRA_BAD_FILE', UP, {}, ({ tensors }) => tensors.delete(`${UP}.weight`)),
  changed('a tensor that nothing uses', 'LUTRA_UNSUPPORTED', 'surprise', {}, ({ tensors }) =>
    tensors.set('model.surprise', f16([4], [1, 2, 3, 4])),
  ),
  changed('a bias that is not zero', 'LUTRA_UNSUPPORTED', 'o_proj.bias', {}, ({ tensors }) =>
    tensors.set('model.layers.0.self_attn.o_proj.bias', f16([64], new Float32Array(64).fill(1))),
  ),
  changed('a weight of NaN', 'LUTRA_BAD_FILE', UP, {}, ({ tensors }) =>
    tensors.set(`${UP}.weight`, f16([96, 64], new Float32Array(96 * 64).fill(Number.NaN))),
  ),
  changed('weights of whole numbers', 'LUTRA_BAD_FILE', 'I32', {}, ({ tensors }) =>
    tensors.set(`${UP}.weight`, i32([96, 64], new Int32Array(96 * 64))),
  ),
];

const GPTQ: GroupedOptions = { method: 'gptq', bits: 4, group: 32, symmetric: false, actOrder: true };
const AWQ: GroupedOptions = { method: 'awq', bits: 4, group: 32, symmetric: false };

/** Cases of one method; its config and tensors are changed. */
function cases(linears: NonNullable<TinyCheckpointOptions['linears']>) {
  const of = linears.method === 'bitnet' ? 'BitNet' : linears.method.toUpperCase();
  const quantised = (name: string, code: BadCase['code'], says: string | RegExp, change: Change) =>
    changed(`${of}: ${name}`, code, says, { linears }, change);
  return {
    config: (name: string, code: BadCase['code'], says: string | RegExp, changes: Record<string, unknown>) =>
      quantised(name, code, says, ({ config }) => Object.assign(config.quantization_config as object, changes)),
    part: (
      name: string,
      code: BadCase['code'],
      says: string | RegExp,
      part: string,
      to: StoredArray | ((array: StoredArray) => void) | null,
    ) =>
      quantised(name, code, says, ({ tensors }) => {
        const key = `${UP}.${part}`;
        const array = tensors.get(key);
        if (to === null) tensors.delete(key);
        else if (typeof to === 'function') to(array as StoredArray);
        else tensors.set(key, to);
      }),
    quantised,
  };
}

/** What GPTQ and AWQ have in common. */
function grouped(linears: GroupedOptions): BadCase[] {
  const { config, part, quantised } = cases(linears);
  return [
    config('an unknown quant_method', 'LUTRA_UNSUPPORTED', 'hqq', { quant_method: 'hqq' }),
    config('a quant_method named as a built-in property', 'LUTRA_UNSUPPORTED', 'constructor', { quant_method: 'constructor' }),
    config('no quant_method', 'LUTRA_BAD_FILE', 'quant_method is missing', { quant_method: null }),
    config('5 bits', 'LUTRA_UNSUPPORTED', '5 bits', { bits: 5 }),
    config('8 bits', 'LUTRA_UNSUPPORTED', '8 bits', { bits: 8 }),
    config('bits that are a text', 'LUTRA_BAD_FILE', 'bits', { bits: '4' }),
    config('a group of 0', 'LUTRA_UNSUPPORTED', 'group_size is 0', { group_size: 0 }),
    config('a group of 48', 'LUTRA_UNSUPPORTED', 'group_size is 48', { group_size: 48 }),
    config('a group of −2', 'LUTRA_BAD_FILE', 'group_size', { group_size: -2 }),
    config('a group of half a column', 'LUTRA_BAD_FILE', 'group_size', { group_size: 32.5 }),
    config('another group than the scales have', 'LUTRA_BAD_FILE', 'scales', { group_size: 64 }),
    quantised('a quantization_config that is a list', 'LUTRA_BAD_FILE', 'quantization_config', (tiny) =>
      Object.assign(tiny.config, { quantization_config: [] }),
    ),
    quantised('no quantization_config', 'LUTRA_BAD_FILE', 'says how', (tiny) => Object.assign(tiny.config, { quantization_config: null })),
    part('no scales', 'LUTRA_BAD_FILE', `${UP}.scales`, 'scales', null),
    part('no zero points', 'LUTRA_BAD_FILE', `${UP}.qzeros`, 'qzeros', null),
    part('no codes', 'LUTRA_BAD_FILE', `${UP}.qweight`, 'qweight', null),
    part('scales of another shape', 'LUTRA_BAD_FILE', 'scales', 'scales', f16([96, 2], new Float32Array(192))),
    part('scales of whole numbers', 'LUTRA_BAD_FILE', 'scales', 'scales', i32([2, 96], new Int32Array(192))),
    part('a scale of NaN', 'LUTRA_BAD_FILE', 'scales', 'scales', f16([2, 96], new Float32Array(192).fill(Number.NaN))),
    part('an infinite scale', 'LUTRA_BAD_FILE', 'scales', 'scales', f16([2, 96], new Float32Array(192).fill(Number.POSITIVE_INFINITY))),
    part('a scale that F16 does not hold', 'LUTRA_UNSUPPORTED', 'F16', 'scales', f32([2, 96], new Float32Array(192).fill(1e-9))),
    part('zero points of another shape', 'LUTRA_BAD_FILE', 'qzeros', 'qzeros', i32([1, 24], new Int32Array(24))),
    part('codes of another shape', 'LUTRA_BAD_FILE', 'qweight', 'qweight', i32([4, 192], new Int32Array(768))),
    part('codes in floats', 'LUTRA_BAD_FILE', 'qweight', 'qweight', (array) => {
      array.dtype = 'F32';
    }),
    quantised('codes and a plain weight', 'LUTRA_UNSUPPORTED', `${UP}.`, ({ tensors }) =>
      tensors.set(`${UP}.weight`, f16([96, 64], new Float32Array(96 * 64))),
    ),
  ];
}

const gptq = cases(GPTQ);
const index = (change: (groups: Int32Array) => void) => (array: StoredArray) => {
  const groups = new Int32Array(array.data.buffer);
  change(groups);
};

const gptqs: BadCase[] = [
  ...grouped(GPTQ),
  gptq.part('act-order without g_idx', 'LUTRA_BAD_FILE', 'g_idx', 'g_idx', null),
  gptq.part('g_idx of another length', 'LUTRA_BAD_FILE', 'g_idx', 'g_idx', i32([32], new Int32Array(32))),
  gptq.part('g_idx in floats', 'LUTRA_BAD_FILE', 'g_idx', 'g_idx', f32([64], new Float32Array(64))),
  gptq.part(
    'g_idx beyond the groups',
    'LUTRA_BAD_FILE',
    /input 5 into group 2 of 2/,
    'g_idx',
    index((groups) => {
      groups[5] = 2;
    }),
  ),
  gptq.part(
    'g_idx below 0',
    'LUTRA_BAD_FILE',
    /input 5 into group -1/,
    'g_idx',
    index((groups) => {
      groups[5] = -1;
    }),
  ),
  gptq.part(
    'g_idx with groups of unequal size',
    'LUTRA_BAD_FILE',
    '32 inputs',
    'g_idx',
    index((groups) => {
      groups[groups.indexOf(1)] = 0;
    }),
  ),
  gptq.part(
    'g_idx of zeros under act-order',
    'LUTRA_BAD_FILE',
    '32 inputs',
    'g_idx',
    index((groups) => {
      groups.fill(0);
    }),
  ),
  gptq.config('a desc_act that is a text', 'LUTRA_BAD_FILE', 'desc_act', { desc_act: 'yes' }),
  gptq.config('an unknown checkpoint_format', 'LUTRA_UNSUPPORTED', 'marlin', { checkpoint_format: 'marlin' }),
  gptq.config('the layout of Marlin', 'LUTRA_UNSUPPORTED', 'marlin', { checkpoint_format: null, is_marlin_format: true }),
  gptq.config('words of 16 bits', 'LUTRA_UNSUPPORTED', 'int16', { pack_dtype: 'int16' }),
  gptq.config('linears of different kinds', 'LUTRA_UNSUPPORTED', 'dynamic', { dynamic: { '-:lm_head': {} } }),
  gptq.config('3 bits where there are 4', 'LUTRA_BAD_FILE', 'qweight', { bits: 3 }),
];

const awq = cases(AWQ);
const awqs: BadCase[] = [
  ...grouped(AWQ),
  ...['gemv', 'gemv_fast', 'marlin', 'exllama'].map((version) =>
    awq.config(`version ${version}`, 'LUTRA_UNSUPPORTED', version, { version }),
  ),
  awq.config('a version that is a number', 'LUTRA_BAD_FILE', 'version', { version: 2 }),
  awq.config('a version without zero points', 'LUTRA_UNSUPPORTED', 'zero points', { zero_point: false }),
  awq.config('3 bits', 'LUTRA_UNSUPPORTED', '3 bits', { bits: 3 }),
  awq.part('an order of inputs', 'LUTRA_UNSUPPORTED', 'g_idx', 'g_idx', i32([64], new Int32Array(64))),
];

const bitnet = cases({ method: 'bitnet', inverse: true });
const bitnets: BadCase[] = [
  bitnet.config('an unknown linear_class', 'LUTRA_UNSUPPORTED', 'trilinear', { linear_class: 'trilinear' }),
  bitnet.config('weights that are quantised when they are used', 'LUTRA_UNSUPPORTED', 'online', {
    linear_class: 'autobitlinear',
    quantization_mode: 'online',
  }),
  bitnet.config('linears that norm their inputs', 'LUTRA_UNSUPPORTED', 'use_rms_norm', { use_rms_norm: true }),
  bitnet.config('a linear_class that is a number', 'LUTRA_BAD_FILE', 'linear_class', { linear_class: 1 }),
  bitnet.config('a use_rms_norm that is a text', 'LUTRA_BAD_FILE', 'use_rms_norm', { use_rms_norm: 'no' }),
  bitnet.config('another method', 'LUTRA_BAD_FILE', 'U8', { quant_method: 'awq', bits: 4, group_size: 32 }),
  bitnet.part('no scale', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', null),
  bitnet.part('a scale for each output', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', f16([96], new Float32Array(96).fill(1))),
  bitnet.part('a scale of NaN', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', f16([1], [Number.NaN])),
  bitnet.part('a scale of 0 that divides', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', f16([1], [0])),
  bitnet.part('an infinite scale', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', f32([1], [Number.POSITIVE_INFINITY])),
  bitnet.part('a scale of whole numbers', 'LUTRA_BAD_FILE', 'weight_scale', 'weight_scale', i32([1], Int32Array.of(1))),
  bitnet.part('no weight', 'LUTRA_BAD_FILE', UP, 'weight', null),
  bitnet.part('a weight of another shape', 'LUTRA_BAD_FILE', UP, 'weight', { dtype: 'U8', shape: [48, 32], data: new Uint8Array(1536) }),
  bitnet.part('a weight that was not packed', 'LUTRA_BAD_FILE', UP, 'weight', {
    dtype: 'U8',
    shape: [96, 64],
    data: new Uint8Array(96 * 64),
  }),
  bitnet.part('a weight of signed bytes', 'LUTRA_BAD_FILE', UP, 'weight', { dtype: 'I8', shape: [24, 64], data: new Uint8Array(1536) }),
  bitnet.part('a fourth value', 'LUTRA_BAD_FILE', 'code 3', 'weight', (array) => array.data.fill(0xff)),
  bitnet.part('a fourth value in the last output', 'LUTRA_BAD_FILE', /code 3 in row 95/, 'weight', (array) => {
    array.data[array.data.length - 1] = 0xc0;
  }),
  bitnet.quantised('sub-norms', 'LUTRA_UNSUPPORTED', 'attn_sub_norm', ({ tensors }) =>
    tensors.set('model.layers.0.self_attn.attn_sub_norm.weight', f16([64], new Float32Array(64).fill(1))),
  ),
  bitnet.quantised('a quantization_config that is a text', 'LUTRA_BAD_FILE', 'quantization_config', (tiny) =>
    Object.assign(tiny.config, { quantization_config: 'bitnet' }),
  ),
  bitnet.quantised('no quantization_config', 'LUTRA_BAD_FILE', 'U8', (tiny) => Object.assign(tiny.config, { quantization_config: null })),
];

export const checkpointCases: BadCase[] = [...files, ...configs, ...gptqs, ...awqs, ...bitnets];
