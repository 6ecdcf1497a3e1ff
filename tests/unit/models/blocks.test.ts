/** Blocks whose variants no whole plan of today shows. */
import { describe, expect, it } from 'vitest';
import { GraphBuilder } from '../../../lib/graph/builder.js';
import { NO_QUANT } from '../../../lib/graph/tensor.js';
import type { Decoder } from '../../../lib/models/blocks.js';
import { mlp } from '../../../lib/models/decoder-npu.js';
import { modelFamily } from '../../../lib/models/families/index.js';
import { encodingIn } from '../../../lib/models/npu-linear.js';
import { Weights } from '../../../lib/models/weights.js';
import { tinyModel } from '../../reference/tiny.js';

function nodesOfMlp(activation: 'silu' | 'relu'): string[] {
  const { spec } = tinyModel({ arch: { activation } });
  const { vocab, hidden, layers, heads, kvHeads, headDim } = spec.arch;
  const g = new GraphBuilder({ vocab, hidden, layers, heads, kvHeads, headDim, maxContext: 8, chunk: 8, kvType: 'f16' });
  const d: Decoder = {
    g,
    spec,
    family: modelFamily(spec.arch.family),
    weights: new Weights(g, spec),
    exact: false,
    observer: null,
    repair: true,
  };
  g.program('npu', '', () => {
    const x = g.cpu.embed(d.weights.embed(), 'f16', 'x');
    const m = mlp(d, 0, x, x);
    const rows = g.cpu.selectRows(m, 'rows');
    const [logits] = g.cpu.linear(rows, [d.weights.lmHead()], false, ['logits']);
    if (logits === undefined) throw new Error('no logits');
    return logits;
  });
  return g.finish().segments.flatMap((s) => s.nodes.map((n) => `${n.op} ${n.name}`));
}

describe('mlp', () => {
  it('is Sigmoid · gate · up for SiLU', () => {
    expect(nodesOfMlp('silu')).toEqual(['Sigmoid l0.sigmoid', 'ElementWiseMultiply l0.silu', 'ElementWiseMultiply l0.m']);
  });

  it('is Relu · up for ReLU', () => {
    expect(nodesOfMlp('relu')).toEqual(['Relu l0.relu', 'ElementWiseMultiply l0.m']);
  });
});

describe('encodingIn', () => {
  it('shifts between signed and unsigned without changing a real value', () => {
    const signed = { dtype: 's8', scale: 0.25, offset: 5 } as const;
    const unsigned = encodingIn(signed, 'u8');
    expect(unsigned).toEqual({ dtype: 'u8', quant: { kind: 'scale', scale: 0.25, offset: -123 } });
    // Smallest stored value: −128 + 5 = 0 − 123.
    expect(encodingIn({ dtype: 'u8', scale: 0.25, offset: -123 }, 's8')).toEqual({
      dtype: 's8',
      quant: { kind: 'scale', scale: 0.25, offset: 5 },
    });
    expect(encodingIn({ dtype: 'u16', scale: 0.1, offset: -7 }, 'u16').quant).toEqual({
      ...NO_QUANT,
      kind: 'scale',
      scale: Math.fround(0.1),
      offset: -7,
    });
  });
});
