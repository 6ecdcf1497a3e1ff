/** Checkpoints of every family that lack, misshape or spoil what is special about it, or say of themselves what lutra does not compute. */
import type { StoredArray } from '../../reference/checkpoint.js';
import { f32 } from '../../reference/checkpoint.js';
import {
  asF32,
  GOLDEN_CHECKPOINTS,
  type GoldenCheckpoint,
  ggufName,
  goldenCheckpoint,
  writeGoldenCheckpoint,
  writeGoldenGguf,
} from '../../reference/golden-checkpoints.js';
import { type BadCase, made, place, tryConvert, type World } from './case.js';

/** A golden, changed before it is written. The change may replace tensors and fields, not alter them. */
function changed(
  golden: GoldenCheckpoint,
  what: string,
  code: BadCase['code'],
  says: string | RegExp,
  change: (tensors: Map<string, StoredArray>, config: Record<string, unknown>) => void,
): BadCase {
  const prepare = (world: World) => {
    const tensors = new Map(golden.tensors);
    const config = { ...golden.config };
    change(tensors, config as unknown as Record<string, unknown>);
    return writeGoldenCheckpoint(place(world, 'hf'), { ...golden, tensors, config });
  };
  return made(`${golden.name}: ${what}`, code, says, prepare, tryConvert);
}

const config = (
  golden: GoldenCheckpoint,
  what: string,
  code: BadCase['code'],
  says: string | RegExp,
  fields: Record<string, unknown>,
): BadCase => changed(golden, what, code, says, (_, values) => Object.assign(values, fields));

/** The same tensor with its first row, or element, gone. */
function shortened({ dtype, shape: [rows = 0, ...rest], data }: StoredArray): StoredArray {
  return { dtype, shape: [rows - 1, ...rest], data: data.slice(data.length / rows) };
}

function spoiled(array: StoredArray, value: number): StoredArray {
  const values = new Float32Array(asF32(array).slice().buffer);
  values[values.length - 1] = value;
  return f32(array.shape, values);
}

/** Tensors of the second layer and those outside the layers. */
const isOne = (name: string): boolean => !/\.layers\.0\./.test(name);

/** What not every family has, and one of each shape that all have. */
const isSpecial = (name: string): boolean => isOne(name) && /_proj\.bias|[qk]_norm/.test(name);
const isSample = (name: string): boolean => isSpecial(name) || /^model\.(norm|embed_tokens)|1\.mlp\.down/.test(name);

function tensorCases(golden: GoldenCheckpoint): BadCase[] {
  const one = [...golden.tensors].filter(([name]) => isOne(name));
  return [
    ...one.map(([name]) => changed(golden, `no ${name}`, 'LUTRA_BAD_FILE', name, (tensors) => tensors.delete(name))),
    ...one
      .filter(([name]) => isSample(name))
      .flatMap(([name, array]) => [
        changed(golden, `a short ${name}`, 'LUTRA_BAD_FILE', name, (tensors) => tensors.set(name, shortened(array))),
        changed(golden, `NaN in ${name}`, 'LUTRA_BAD_FILE', name, (tensors) => tensors.set(name, spoiled(array, Number.NaN))),
      ]),
  ];
}

function familyCases(golden: GoldenCheckpoint): BadCase[] {
  const { hidden_size: hidden, num_attention_heads: heads, vocab_size: vocab, tie_word_embeddings: tied } = golden.config;
  const attention = 'model.layers.1.self_attn';
  const has = (name: string) => golden.tensors.has(`${attention}.${name}`);
  const cases = [
    config(golden, 'another width', 'LUTRA_BAD_FILE', 'embed_tokens', { hidden_size: 2 * hidden }),
    config(golden, 'more layers', 'LUTRA_BAD_FILE', 'layers.2', { num_hidden_layers: 3 }),
    config(golden, 'fewer layers', 'LUTRA_UNSUPPORTED', 'layers.1', { num_hidden_layers: 1 }),
    config(golden, 'another number of heads', 'LUTRA_BAD_FILE', /_proj|_norm/, { num_attention_heads: heads * 2 }),
    config(golden, 'another size of heads', 'LUTRA_BAD_FILE', /_proj|_norm/, { head_dim: 4 }),
    config(golden, 'heads of an odd size', 'LUTRA_UNSUPPORTED', 'of 5 dimensions', { head_dim: 5 }),
    config(golden, 'heads of a size in text', 'LUTRA_BAD_FILE', 'head_dim', { head_dim: '16' }),
    config(golden, 'a vocabulary below the tokenizer', 'LUTRA_BAD_FILE', /embed_tokens|id below 200/, { vocab_size: 200 }),
    config(golden, 'another activation', 'LUTRA_UNSUPPORTED', 'gelu', { hidden_act: 'gelu' }),
    config(golden, 'a rotary base of 0', 'LUTRA_BAD_FILE', 'rope_theta', { rope_theta: 0 }),
    config(golden, 'an infinite rotary base', 'LUTRA_BAD_FILE', 'rope_theta', { rope_theta: 1e39 }),
    config(golden, 'an unknown RoPE scaling', 'LUTRA_UNSUPPORTED', 'longrope', { rope_scaling: { type: 'longrope', factor: 2 } }),
    config(golden, 'a RoPE scaling by 0', 'LUTRA_BAD_FILE', 'factor', {
      rope_scaling: { rope_type: 'llama3', factor: 0, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 64 },
    }),
    config(golden, 'a sliding window', 'LUTRA_UNSUPPORTED', 'sliding', { use_sliding_window: true }),
    config(golden, 'layers with a window', 'LUTRA_UNSUPPORTED', 'sliding_attention', {
      layer_types: ['full_attention', 'sliding_attention'],
    }),
    config(golden, 'a number of layer types', 'LUTRA_BAD_FILE', 'layer_types', { layer_types: 2 }),
    changed(golden, 'a tokenizer of more tokens than the model has', 'LUTRA_BAD_FILE', 'id below 200', (tensors, fields) => {
      Object.assign(fields, { vocab_size: 200 });
      for (const name of ['model.embed_tokens.weight', 'lm_head.weight']) {
        const array = tensors.get(name);
        if (array) tensors.set(name, { ...array, shape: [200, hidden], data: array.data.slice(0, (array.data.length / vocab) * 200) });
      }
    }),
    changed(golden, 'a tensor of another family', 'LUTRA_UNSUPPORTED', 'rel_bias', (tensors) =>
      tensors.set(`${attention}.rel_bias.weight`, f32([4], [1, 2, 3, 4])),
    ),
  ];
  if (tied) cases.push(config(golden, 'untied without lm_head', 'LUTRA_BAD_FILE', 'lm_head', { tie_word_embeddings: false }));
  if (!has('q_norm.weight'))
    cases.push(
      changed(golden, 'norms of heads', 'LUTRA_UNSUPPORTED', 'q_norm', (tensors) =>
        tensors.set(`${attention}.q_norm.weight`, f32([8], new Float32Array(8))),
      ),
    );
  if (!has('q_proj.bias'))
    cases.push(
      changed(golden, 'biases that it does not declare', 'LUTRA_UNSUPPORTED', 'q_proj.bias', (tensors) =>
        tensors.set(`${attention}.q_proj.bias`, f32([8], new Float32Array(8).fill(1))),
      ),
    );
  return cases;
}

/** What is special about a family, in its GGUF file. */
function ggufCases(golden: GoldenCheckpoint): BadCase[] {
  const special = [...golden.tensors].filter(([name]) => isSpecial(name));
  return special.flatMap(([name, array]) =>
    [
      { what: 'no', to: null },
      { what: 'a short', to: shortened(array) },
      { what: 'NaN in', to: spoiled(array, Number.NaN) },
    ].map(({ what, to }) => {
      const prepare = (world: World) => {
        const tensors = new Map(golden.tensors);
        if (to) tensors.set(name, to);
        else tensors.delete(name);
        const path = place(world, 'model.gguf');
        writeGoldenGguf(path, { ...golden, tensors });
        return path;
      };
      return made(`${golden.name}.gguf: ${what} ${ggufName(name)}`, 'LUTRA_BAD_FILE', ggufName(name), prepare, tryConvert);
    }),
  );
}

/** One golden of each family. */
const FAMILIES = [...new Map(GOLDEN_CHECKPOINTS.map(goldenCheckpoint).map((golden) => [golden.config.model_type, golden])).values()];

export const familyCheckpointCases: readonly BadCase[] = FAMILIES.flatMap((golden) => [
  ...tensorCases(golden),
  ...familyCases(golden),
  ...ggufCases(golden),
]);
