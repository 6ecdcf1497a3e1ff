/** The metadata of a GGUF file as an {@link ArchSpec}. */
import { LutraError } from '../graph/errors.js';
import type { ArchSpec, LinearName } from '../graph/spec.js';
import { type GgufFamily, IMPORT_FAMILIES, type ImportFamily } from './families/index.js';
import type { GgufFile } from './gguf.js';

/** Used when a file has no `rope.freq_base`. */
const DEFAULT_ROPE_THETA = 10_000;

/** GGUF name of a linear's tensor within `blk.N.`, without `.weight`. */
export const GGUF_LINEARS: Readonly<Record<LinearName, string>> = {
  q: 'attn_q',
  k: 'attn_k',
  v: 'attn_v',
  o: 'attn_output',
  gate: 'ffn_gate',
  up: 'ffn_up',
  down: 'ffn_down',
};

type GgufImport = ImportFamily & { gguf: GgufFamily };

const IMPORTS = IMPORT_FAMILIES.filter((one): one is GgufImport => one.gguf !== null);

/** The family of a file, or LUTRA_UNSUPPORTED. */
function familyOf(file: GgufFile): GgufImport {
  const name = file.string('general.architecture');
  const found = IMPORTS.find(({ gguf }) => gguf.architecture === name);
  if (found) return found;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `${file.path} holds a model of architecture "${name}"`,
    `lutra converts: ${IMPORTS.map(({ gguf }) => gguf.architecture).join(', ')}.`,
  );
}

function unsupported(file: GgufFile, what: string): LutraError {
  return new LutraError(
    'LUTRA_UNSUPPORTED',
    `${file.path}: ${what}`,
    'lutra converts decoders with RMS norms, rotary embedding and a gated MLP (docs/porting.md).',
  );
}

/** Keys whose presence with another value than the harmless one changes the computation. */
function refuseUnknownMechanisms(file: GgufFile, prefix: string, arch: ArchSpec): void {
  if (file.integer(`${prefix}.expert_count`, 0, 0) > 0) throw unsupported(file, 'it is a mixture of experts');
  const scaling = file.string(`${prefix}.rope.scaling.type`, 'none');
  if (scaling !== 'none') throw unsupported(file, `its RoPE scaling is "${scaling}"`);
  const rotated = file.integer(`${prefix}.rope.dimension_count`, 1, arch.headDim);
  if (rotated !== arch.headDim) throw unsupported(file, `RoPE turns ${rotated} of ${arch.headDim} dimensions of a head`);
  const valueLength = file.integer(`${prefix}.attention.value_length`, 1, arch.headDim);
  if (valueLength !== arch.headDim)
    throw unsupported(file, `its value heads have ${valueLength} dimensions, its key heads ${arch.headDim}`);
}

/** Shortest decimal that is the same number in 32-bit float: 0.00001 rather than 0.000009999999747378752. */
export function shortestFloat32(value: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(value.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(value)) return candidate;
  }
  return value;
}

/** Shape facts of the model in a file. Errors: LUTRA_UNSUPPORTED, LUTRA_BAD_FILE. */
export function readArch(file: GgufFile): { arch: ArchSpec; family: GgufFamily } {
  const { family, biases, activation, gguf } = familyOf(file);
  const prefix = gguf.architecture;
  const hidden = file.integer(`${prefix}.embedding_length`, 1);
  const heads = file.integer(`${prefix}.attention.head_count`, 1);
  const kvHeads = file.integer(`${prefix}.attention.head_count_kv`, 1, heads);
  const headDim = file.integer(`${prefix}.attention.key_length`, 2, Math.floor(hidden / heads));
  const arch: ArchSpec = {
    family,
    vocab: file.strings('tokenizer.ggml.tokens').length,
    hidden,
    ffn: file.integer(`${prefix}.feed_forward_length`, 1),
    layers: file.integer(`${prefix}.block_count`, 1),
    heads,
    kvHeads,
    headDim,
    maxContext: file.integer(`${prefix}.context_length`, 1),
    ropeTheta: file.positive(`${prefix}.rope.freq_base`, DEFAULT_ROPE_THETA),
    ropeInterleaved: false,
    ropeFactors: file.tensors.has('rope_freqs.weight'),
    rmsEps: shortestFloat32(file.positive(`${prefix}.attention.layer_norm_rms_epsilon`)),
    tied: !file.tensors.has('output.weight'),
    activation,
    qkvBias: biases === 'always' || file.tensors.has('blk.0.attn_q.bias'),
  };
  if (heads % kvHeads !== 0 || headDim % 2 !== 0) {
    throw new LutraError(
      'LUTRA_BAD_FILE',
      `${file.path}: ${heads} heads, ${kvHeads} key heads of ${headDim} dimensions do not fit together`,
      'Export the file again.',
    );
  }
  refuseUnknownMechanisms(file, prefix, arch);
  return { arch, family: gguf };
}
