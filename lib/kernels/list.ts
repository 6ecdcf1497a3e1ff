/** What kernels there are, and which one runs what. */
import { loadAddon } from '../native/loader.js';
import { type Format, formatOfCode } from './format.js';

/** For weights of `format` and `from` to `to` rows of activations; `to` may be Infinity. */
export interface Choice {
  readonly format: Format;
  readonly from: number;
  readonly to: number;
}

export interface Kernel {
  readonly name: string;
  /** `lut`: table look-up; `dot`: dot products of codes of 1 to 4 bits; `linear`: those of GGUF's block types. */
  readonly family: 'lut' | 'dot' | 'linear';
  /** Instructions that it is written for: portable, avx2, avxvnni, avx512, avx512vbmi, neon, dotprod, i8mm. */
  readonly isa: string;
  /** Bits of the codes that it multiplies, ascending. */
  readonly bits: readonly number[];
  readonly formats: readonly Format[];
  /** Whether this processor runs it. */
  readonly available: boolean;
  /** What it is chosen for on this machine; LUTRA_FORCE_KERNEL lowers the instructions that are used. */
  readonly chosen: readonly Choice[];
}

const bitsOf = (format: Format): number => Number(format.slice(1, 2));

/** Every kernel of this build, portable ones first. Throws LUTRA_INVALID_ARGUMENT when LUTRA_FORCE_KERNEL names none. */
export function list(): Kernel[] {
  return loadAddon()
    .kernels.list()
    .map(({ types, chosen, ...kernel }) => {
      const formats = types.map(formatOfCode);
      return {
        ...kernel,
        bits: [...new Set(formats.map(bitsOf))].sort((a, b) => a - b),
        formats,
        chosen: chosen.map(({ type, from, to }) => ({ format: formatOfCode(type), from, to: to ?? Number.POSITIVE_INFINITY })),
      };
    });
}
