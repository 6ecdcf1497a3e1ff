import type { ImportFamily } from './family.js';

export const qwen3: ImportFamily = {
  family: 'qwen3',
  biases: 'declared',
  activation: 'silu',
  huggingFace: {
    modelType: 'qwen3',
    architecture: 'Qwen3ForCausalLM',
    defaults: { headDim: 128, maxContext: 32_768, tied: false },
  },
  gguf: { architecture: 'qwen3', permutedQk: false },
};
