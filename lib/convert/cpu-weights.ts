/**
 * `--cpu-weights` and `--lm-head`: low-bit types that the CPU's weights are quantised to anew, instead of keeping the values of the source.
 */
import { type LowBitType, lowBitFormat } from '../graph/dtype.js';
import { LutraError } from '../graph/errors.js';
import type { CpuTensor } from './tensors.js';

/** Names on the command line, and the type that each stands for: a scale and a minimum per group. */
export const CPU_WEIGHTS = { w4g32: 'w4g32m', w4g64: 'w4g64m', w3g32: 'w3g32m', w2g64: 'w2g64m' } as const satisfies Record<
  string,
  LowBitType
>;

export type CpuWeights = keyof typeof CPU_WEIGHTS;

/** Parses an option; null keeps what the source has. */
export function parseCpuWeights(option: string, text: string | undefined): CpuWeights | null {
  if (text === undefined || text === 'keep') return null;
  if (text in CPU_WEIGHTS) return text as CpuWeights;
  const names = Object.keys(CPU_WEIGHTS).join(', ');
  throw new LutraError('LUTRA_INVALID_ARGUMENT', `${option} is ${JSON.stringify(text)}`, `Give keep, ${names}.`);
}

const isHead = (name: string): boolean => name === 'embed' || name === 'lm_head';

/** The tensors as they are to be stored: matrices of the layers in one type, the embedding and lm_head in another. */
export function requantised(tensors: readonly CpuTensor[], layers: CpuWeights | null, head: CpuWeights | null): CpuTensor[] {
  return tensors.map((tensor) => {
    const choice = tensor.shape.length !== 2 ? null : isHead(tensor.name) ? head : layers;
    if (choice === null) return tensor;
    // Made of the values, whose columns are in the order of the input.
    const { order: _, ...rest } = tensor;
    return { ...rest, type: CPU_WEIGHTS[choice] };
  });
}

/** Whether a tensor is quantised anew. */
export const isRequantised = ({ type, imported }: CpuTensor): boolean => type !== imported && lowBitFormat(type) !== undefined;
