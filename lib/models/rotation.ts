/** The rotation of the NPU's residual stream: diagonal · (Hadamard 2^k ⊗ orthogonal m × m) for a hidden size of 2^k · m with odd m. */
import { MAX_ROTATION_MATRIX } from '../graph/cpu-ops.js';
import { LutraError } from '../graph/errors.js';

/** Tensors of the rotation: signs, F32 [hidden]; the small matrix, F32 [m, m]; gains of the norms that have none any more. */
export const ROTATION = { signs: 'rotation.signs', matrix: 'rotation.matrix', ones: 'ones' } as const;

export type NormName = 'attn_norm' | 'ffn_norm';

/** Signs times the gains of a norm, F32 [hidden]: while calibrating, leads from what the NPU reads back to what the float model reads. */
export function gainedSigns(layer: number, norm: NormName): string {
  return `rotation.layers.${layer}.${norm}`;
}

/** m of a hidden size. */
export function rotationSize(hidden: number): number {
  let odd = hidden;
  while (odd % 2 === 0) odd /= 2;
  return odd;
}

/** Whether a hidden size can be rotated. */
export function canRotate(hidden: number): boolean {
  return rotationSize(hidden) <= MAX_ROTATION_MATRIX;
}

/** Throws LUTRA_UNSUPPORTED. */
export function checkRotatable(hidden: number): void {
  if (canRotate(hidden)) return;
  throw new LutraError(
    'LUTRA_UNSUPPORTED',
    `A hidden size of ${hidden} cannot be rotated: its largest odd factor is ${rotationSize(hidden)}, the most is ${MAX_ROTATION_MATRIX}`,
    'Convert with --transform none.',
  );
}
