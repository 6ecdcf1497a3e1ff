import type { ImportFamily } from './family.js';

export const llama: ImportFamily = {
  family: 'llama',
  biases: 'declared',
  activation: 'silu',
  huggingFace: {
    modelType: 'llama',
    architecture: 'LlamaForCausalLM',
    defaults: { headDim: null, maxContext: 2048, tied: false },
  },
  gguf: { architecture: 'llama', permutedQk: true },
};
