/** `config.json` in the words of Hugging Face. */
import type { ArchSpec, ModelSpec } from '../graph/spec.js';
import { importFamily } from './families/index.js';

export function hfConfig(arch: ArchSpec, tokens: ModelSpec['tokens']): object {
  const { architecture, modelType } = importFamily(arch.family).huggingFace;
  return {
    architectures: [architecture],
    model_type: modelType,
    vocab_size: arch.vocab,
    hidden_size: arch.hidden,
    intermediate_size: arch.ffn,
    num_hidden_layers: arch.layers,
    num_attention_heads: arch.heads,
    num_key_value_heads: arch.kvHeads,
    head_dim: arch.headDim,
    hidden_act: arch.activation,
    max_position_embeddings: arch.maxContext,
    rms_norm_eps: arch.rmsEps,
    rope_theta: arch.ropeTheta,
    rope_interleaved: arch.ropeInterleaved,
    attention_bias: arch.qkvBias,
    mlp_bias: false,
    tie_word_embeddings: arch.tied,
    bos_token_id: tokens.bos,
    eos_token_id: tokens.eos.length === 1 ? tokens.eos[0] : tokens.eos,
  };
}
