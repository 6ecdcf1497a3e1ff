import type { ImportFamily } from './family.js';

export const phonelm: ImportFamily = {
  family: 'phonelm',
  biases: 'declared',
  activation: 'relu',
  huggingFace: {
    modelType: 'phonelm',
    architecture: 'PhoneLMForCausalLM',
    defaults: { headDim: null, maxContext: 2048, tied: true },
  },
  gguf: null,
};
