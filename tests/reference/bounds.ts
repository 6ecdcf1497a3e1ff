/** How close a result comes to float64, and how close it has to (NUMERICS, "How right is right"). */
import { isQuantType, quantLimits } from '../../lib/graph/dtype.js';
import type { NpuTensor } from '../../lib/graph/npu-graph.js';
import type { Nd } from './nd.js';
import { codesOf, decode } from './standard-ops.js';

export type Bound =
  /** Every value as float64 has it. */
  | { readonly kind: 'exact' }
  /** Σ (found − expected)² / Σ expected². */
  | { readonly kind: 'nmse'; readonly most: number }
  /** Codes of a quantised result: the largest difference, and the smallest share that is equal. */
  | { readonly kind: 'steps'; readonly most: number; readonly equal: number };

export const EXACT: Bound = { kind: 'exact' };
export const F16_BOUND: Bound = { kind: 'nmse', most: 1e-6 };

export interface Distance {
  readonly nmse: number;
  /** Largest difference in steps, and the share of equal codes; of a float result 0 and the share of equal values. */
  readonly steps: number;
  readonly equal: number;
}

/** `stored`: elements of the result as they lie in memory. */
export function distance(tensor: NpuTensor, stored: ArrayLike<number>, expected: Nd): Distance {
  const found = decode(tensor, stored, () => []);
  if (found.data.length !== expected.data.length || found.data.length === 0) throw new Error(`${found.data.length} values`);
  let [error, power, steps, equal] = [0, 0, 0, 0];
  const quantised = tensor.quant.kind === 'scale';
  const codes = quantised ? codesOf(tensor, expected.data) : expected.data;
  found.data.forEach((value, i) => {
    const want = clamp(tensor, expected.data[i]!);
    error += (value - want) ** 2;
    power += want ** 2;
    const [a, b] = quantised ? [stored[i]!, codes[i]!] : [value, want];
    if (quantised) steps = Math.max(steps, Math.abs(a - b));
    if (a === b) equal++;
  });
  return { nmse: error === 0 ? 0 : error / power, steps, equal: equal / found.data.length };
}

/** A quantised result saturates. */
function clamp({ dtype, quant }: NpuTensor, value: number): number {
  if (quant.kind !== 'scale' || !isQuantType(dtype)) return value;
  const { lo, hi } = quantLimits(dtype);
  return Math.min((hi + quant.offset) * quant.scale, Math.max((lo + quant.offset) * quant.scale, value));
}

/** What is wrong, or null. */
export function breach({ nmse, steps, equal }: Distance, bound: Bound): string | null {
  switch (bound.kind) {
    case 'exact':
      return equal === 1 ? null : `${((1 - equal) * 100).toFixed(1)} % of the values differ, NMSE ${nmse.toExponential(1)}`;
    case 'nmse':
      return nmse <= bound.most ? null : `NMSE ${nmse.toExponential(1)}, at most ${bound.most}`;
    case 'steps':
      return steps <= bound.most && equal >= bound.equal
        ? null
        : `off by up to ${steps} steps, ${(equal * 100).toFixed(1)} % equal; at most ${bound.most}, at least ${bound.equal * 100} %`;
    default:
      throw new Error(`unknown bound ${String(bound satisfies never)}`);
  }
}
