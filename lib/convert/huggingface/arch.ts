/** config.json of Hugging Face as an {@link ArchSpec}. */
import type { ArchSpec } from '../../graph/spec.js';
import { IMPORT_FAMILIES, type ImportFamily } from '../families/index.js';
import type { Fields } from './fields.js';

/** What lacks for others, where somebody may expect them. */
const MISSING: Readonly<Record<string, string>> = { bitnet: ', whose blocks have norms before o and down and a squared ReLU' };
const ACTIVATIONS: Readonly<Record<string, ArchSpec['activation']>> = { silu: 'silu', swish: 'silu', relu: 'relu' };

/** What a plan can hold. */
const MAX_HEAD_DIM = 1024;

/** Rotary embedding of a model: base, and what each frequency is divided by (Llama 3). */
interface Rope {
  theta: number;
  factors: Float32Array | null;
}

/**
 * Llama 3 divides long wavelengths by `factor`, leaves short ones, and blends between the two where a wavelength fits `low` to `high` times into the context that the model was
 * trained on first.
 */
function llama3Factors(scaling: Fields, headDim: number, theta: number): Float32Array {
  const factor = scaling.positive('factor');
  const [low, high] = [scaling.positive('low_freq_factor'), scaling.positive('high_freq_factor')];
  const context = scaling.integer('original_max_position_embeddings', 1);
  return Float32Array.from({ length: headDim / 2 }, (_, i) => {
    const turns = context / (2 * Math.PI * theta ** ((2 * i) / headDim));
    if (turns >= high) return 1;
    if (turns <= low) return factor;
    const kept = (turns - low) / (high - low);
    return 1 / ((1 - kept) / factor + kept);
  });
}

function readRope(config: Fields, headDim: number): Rope {
  const parameters = config.object('rope_parameters');
  const scaling = parameters ?? config.object('rope_scaling');
  const theta = (parameters?.has('rope_theta') ? parameters : config).positive('rope_theta', 10_000);
  if (!scaling) return { theta, factors: null };
  const type = scaling.string(scaling.has('rope_type') ? 'rope_type' : 'type', 'default');
  if (type === 'default') return { theta, factors: null };
  if (type === 'llama3') return { theta, factors: llama3Factors(scaling, headDim, theta) };
  throw config.unsupported(`its RoPE scaling is "${type}"`);
}

function familyOf(config: Fields): ImportFamily {
  const type = config.string('model_type');
  const found = IMPORT_FAMILIES.find(({ huggingFace }) => huggingFace.modelType === type);
  if (found) return found;
  throw config.unsupported(
    `its model_type is "${type}"${Object.hasOwn(MISSING, type) ? MISSING[type] : ''}`,
    `lutra converts: ${IMPORT_FAMILIES.map(({ huggingFace }) => huggingFace.modelType).join(', ')}.`,
  );
}

/** Keys that say of a model that it computes what lutra does not. */
function refuseUnknownMechanisms(config: Fields): void {
  if (config.boolean('mlp_bias', false)) throw config.unsupported('its MLP has biases');
  if (config.boolean('use_sliding_window', false)) throw config.unsupported('its attention looks at a sliding window');
  const types: unknown = config.get('layer_types') ?? [];
  if (!Array.isArray(types)) throw config.wrong('layer_types', 'a list');
  const other = (types as unknown[]).find((type) => type !== 'full_attention');
  if (other !== undefined) throw config.unsupported(`it has layers of type ${JSON.stringify(other)}`);
}

/** Shape facts of a model. Errors: LUTRA_UNSUPPORTED, LUTRA_BAD_FILE. */
export function readArch(config: Fields): { arch: ArchSpec; ropeFactors: Float32Array | null } {
  const { family, biases, activation: usual, huggingFace } = familyOf(config);
  const { defaults } = huggingFace;
  const act = config.string('hidden_act', usual);
  const activation = Object.hasOwn(ACTIVATIONS, act) ? ACTIVATIONS[act] : undefined;
  if (!activation) throw config.unsupported(`its hidden_act is "${act}"`);
  refuseUnknownMechanisms(config);
  const hidden = config.integer('hidden_size', 1);
  const heads = config.integer('num_attention_heads', 1);
  const kvHeads = config.integer('num_key_value_heads', 1, heads);
  const headDim = config.integer('head_dim', 2, defaults.headDim ?? Math.floor(hidden / heads), MAX_HEAD_DIM);
  if (heads % kvHeads !== 0 || headDim % 2 !== 0)
    throw config.unsupported(`${heads} heads and ${kvHeads} key heads of ${headDim} dimensions do not fit together`);
  const { theta, factors } = readRope(config, headDim);
  const arch: ArchSpec = {
    family,
    vocab: config.integer('vocab_size', 1),
    hidden,
    ffn: config.integer('intermediate_size', 1),
    layers: config.integer('num_hidden_layers', 1),
    heads,
    kvHeads,
    headDim,
    maxContext: config.integer('max_position_embeddings', 1, defaults.maxContext),
    ropeTheta: theta,
    ropeInterleaved: false,
    ropeFactors: factors !== null,
    rmsEps: config.positive('rms_norm_eps', 1e-6),
    tied: config.boolean('tie_word_embeddings', defaults.tied),
    activation,
    qkvBias: biases === 'always' || config.boolean('attention_bias', false),
  };
  return { arch, ropeFactors: factors };
}
