/**
 * Nodes that a library accepts but must not be given, because it crashes on them or computes garbage. Measured: docs/qnn.md and
 * docs/qnn-api.md.
 */
import { LutraError } from '../../graph/errors.js';
import type { Tensor } from './tensor.js';

/** What a refusal depends on. */
export interface Target {
  provider: string;
  soc: number | undefined;
  arch: number | undefined;
}

export interface NodeView {
  name: string;
  type: string;
  inputs: readonly (Tensor | null)[];
}

interface Rule {
  readonly applies: (node: NodeView, target: Target) => boolean;
  readonly reason: string;
  readonly remedy: string;
}

/** SM8350. It is also what the runtime takes on x86-64 when neither SoC nor architecture is given. */
const V68_SOC = 30;

function isV68({ soc, arch }: Target): boolean {
  if (soc !== undefined) return soc === V68_SOC;
  return arch === 68 || (arch === undefined && process.arch === 'x64');
}

const HTP_RULES: readonly Rule[] = [
  {
    applies: ({ type, inputs }) => {
      const right = inputs[1];
      return type === 'MatMul' && right?.role === 'constant' && (right.encoding?.kind === 'axis' || right.encoding?.kind === 'bwAxis');
    },
    reason: 'a MatMul whose constant right side has a scale per channel crashes this library',
    remedy: 'Use FullyConnected with the weight transposed, or one scale for the whole weight.',
  },
  {
    applies: ({ type, inputs }, target) => {
      const [x, weight] = inputs;
      const encoding = weight?.encoding;
      return type === 'FullyConnected' && x?.dtype === 'u16' && encoding?.kind === 'bwAxis' && encoding.bits === 2 && isV68(target);
    },
    reason: 'this library accepts FullyConnected with 16-bit activations and 2-bit weights on v68, but what it computes is wrong',
    remedy: 'Use a newer SoC, 8-bit activations or weights of 4 bits.',
  },
];

/** Why the node is refused before the library is asked, or null. */
export function refusalOf(node: NodeView, target: Target): LutraError | null {
  if (target.provider !== 'HTP_QTI_AISW') return null;
  const rule = HTP_RULES.find(({ applies }) => applies(node, target));
  return rule ? new LutraError('LUTRA_QNN_NODE', `Node '${node.name}' is refused: ${rule.reason}.`, rule.remedy) : null;
}
