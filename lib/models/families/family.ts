/** What all models of a family have in common beyond the figures of an `ArchSpec`: which of the shared blocks a decoder is made of. */
export interface ModelFamily {
  /** `arch.family` of lutra.json. */
  readonly name: string;
  /** Heads of q and k are normed before they are rotated, each by the gains `layers.N.q_norm` and `layers.N.k_norm`. */
  readonly qkNorm: boolean;
  /** Cosines and sines of RoPE are rounded to multiples of 1 ÷ this; 0: they are not. */
  readonly ropeLevels: number;
}
