import type { ImportFamily } from './family.js';

export const qwen2: ImportFamily = {
  family: 'qwen2',
  biases: 'always',
  activation: 'silu',
  huggingFace: {
    modelType: 'qwen2',
    architecture: 'Qwen2ForCausalLM',
    defaults: { headDim: null, maxContext: 32_768, tied: false },
  },
  gguf: { architecture: 'qwen2', permutedQk: false },
};
