/** Where the figures and tensors of a family are in the files that others write. */
import type { ArchSpec } from '../../graph/spec.js';

/** In config.json of Hugging Face, and in the words of its `transformers`. */
export interface HuggingFaceFamily {
  readonly modelType: string;
  /** Name of the class. */
  readonly architecture: string;
  /** What holds where config.json is silent. `headDim` null: hidden size ÷ heads. */
  readonly defaults: {
    readonly headDim: number | null;
    readonly maxContext: number;
    readonly tied: boolean;
  };
}

/** In GGUF files. */
export interface GgufFamily {
  /** `general.architecture`. */
  readonly architecture: string;
  /** q and k rows are permuted for interleaved RoPE; the converter puts them back. */
  readonly permutedQk: boolean;
}

export interface ImportFamily {
  /** A family of lib/models. */
  readonly family: string;
  /** Whether q, k and v have biases: always, or where the files say so. */
  readonly biases: 'always' | 'declared';
  /** Of the gate, where the files do not say. */
  readonly activation: ArchSpec['activation'];
  readonly huggingFace: HuggingFaceFamily;
  /** null: there is no such file. */
  readonly gguf: GgufFamily | null;
}
