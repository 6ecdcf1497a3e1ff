/** A decoder layer with its attention and its KV cache on the NPU, chunk after chunk, against float64. */
import { describe, expect, it } from 'vitest';
import { fromHalf, toHalf } from '../../lib/graph/half.js';
import { emptyCache, type LayerShape, layerGraph, layerWeights, referenceLayer } from '../reference/npu-layer.js';
import { Random } from '../reference/random.js';
import { runGraph } from '../reference/standard-ops.js';
import { type LibraryName, Runner } from './npu-graph.js';

/** The layer of SmolLM2-135M, and one of odd numbers. */
const SHAPES: Record<string, LayerShape> = {
  smollm2: { hidden: 576, ffn: 1536, heads: 9, kvHeads: 3, headDim: 64, tokens: 32, capacity: 128 },
  odd: { hidden: 80, ffn: 112, heads: 6, kvHeads: 2, headDim: 24, tokens: 5, capacity: 19 },
};

/** NUMERICS, "How right is right": a layer in F16. */
const MOST = 1e-5;

function nmse(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, power] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error += (found[i]! - expected[i]!) ** 2;
    power += expected[i]! ** 2;
  }
  return error / power;
}

const reals = (halves: ArrayLike<number>): Float64Array => Float64Array.from(halves, fromHalf);

describe.each(Object.keys(SHAPES))('%s', (name) => {
  const s = SHAPES[name]!;
  const weights = layerWeights(s, 11);
  const graph = layerGraph(s, weights);

  /** Chunks one after the other; the last one is full of positions that were written before. */
  function run(step: (inputs: ArrayLike<number>[]) => ArrayLike<number>[]): number[] {
    const random = new Random(5);
    const reference = emptyCache(s);
    let [keys, values]: ArrayLike<number>[] = [
      new Uint16Array(s.kvHeads * s.capacity * s.headDim),
      new Uint16Array(s.kvHeads * s.capacity * s.headDim),
    ];
    return [0, s.tokens, 2 * s.tokens - 3].map((start) => {
      const x = Uint16Array.from({ length: s.tokens * s.hidden }, () => toHalf(random.normal() * 2));
      const positions = Int32Array.from({ length: s.tokens }, (_, i) => start + i);
      const rows = Array.from({ length: s.tokens }, (_, t) => reals(x.subarray(t * s.hidden, (t + 1) * s.hidden)));
      const expected = referenceLayer(s, weights, reference, rows, [...positions]);
      const [y, newKeys, newValues] = step([x, keys!, values!, positions]);
      [keys, values] = [newKeys!, newValues!];
      expect(
        nmse(
          reals(keys),
          reference.keys.flatMap((head) => head.flatMap((row) => [...row])),
        ),
      ).toBeLessThan(MOST);
      expect(
        nmse(
          reals(values),
          reference.values.flatMap((head) => head.flatMap((row) => [...row])),
        ),
      ).toBeLessThan(MOST);
      return nmse(
        reals(y!),
        expected.flatMap((row) => [...row]),
      );
    });
  }

  // Slow arithmetic: the small one says it all.
  it.runIf(name === 'odd')('means a decoder layer, node by node in float64', () => {
    const halves = (t: { data: Float64Array }): Uint16Array => Uint16Array.from(t.data, toHalf);
    const far = run((inputs) => {
      const given = inputs.map((stored, i) => ({
        dims: graph.tensors[graph.inputs[i]!]!.dims,
        data: i === 3 ? Float64Array.from(stored) : reals(stored),
      }));
      return runGraph(graph, given).map(halves);
    });
    for (const value of far) expect(value).toBeLessThan(1e-6);
  });

  it.each(['qualcomm', 'host'] satisfies LibraryName[])('runs on %s', (library) => {
    const compiled = new Runner(library).compile(graph);
    const far = run((inputs) => compiled.run(inputs));
    console.log(`${name} on ${library}: NMSE of three chunks ${far.map((value) => value.toExponential(1)).join(', ')}`);
    for (const value of far) expect(value).toBeLessThan(MOST);
    compiled.dispose();
  });
});
