/** Composite ops inside a plan: cut into segments, encoded, with their constants in a weight file, and run by the engine. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SafetensorsDtype, SafetensorsWriter } from '../../lib/convert/safetensors.js';
import { addOp, type CompositeAttrs, type CompositeName } from '../../lib/graph/composite/index.js';
import { encodePlan, GraphBuilder, NO_QUANT, type TensorId } from '../../lib/graph/index.js';
import { type Constant, floatConstant } from '../../lib/graph/sink.js';
import type { NativeNpu } from '../../lib/native/addon.js';
import { loadAddon } from '../../lib/native/loader.js';
import { REFERENCES } from '../reference/composite.js';
import { ENCODINGS, encoding } from '../reference/composite-cases.js';
import { halfEven, type Nd } from '../reference/nd.js';
import { Random } from '../reference/random.js';
import { codesOf, decode, realsOf } from '../reference/standard-ops.js';
import { qnnLibrary, SOC } from './helpers.js';

const [CHUNK, HIDDEN, FFN, VOCAB] = [8, 96, 64, 16];
const CONFIG = {
  vocab: VOCAB,
  hidden: HIDDEN,
  layers: 1,
  heads: 2,
  kvHeads: 2,
  headDim: 48,
  maxContext: 32,
  chunk: CHUNK,
  kvType: 'f16',
} as const;
const TOKENS = Uint32Array.from([3, 1, 4, 1, 5, 9, 2, 6]);
const FILE_TYPES = { f32: 'F32', f16: 'F16', s8: 'I8', u8: 'U8' } as const satisfies Record<string, SafetensorsDtype>;

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'lutra-plan-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

/** A plan under construction, and beside it the float64 value of everything that it computes. */
class Twin {
  readonly g = new GraphBuilder(CONFIG);
  readonly values = new Map<TensorId, Nd>();

  weight(name: string, value: Constant): TensorId {
    const id = this.g.constant(name, value);
    this.values.set(
      id,
      decode({ ...value, rows: 'fixed', name, role: 'constant' }, value.data, (scales) => this.scalesOf(scales)),
    );
    return id;
  }

  add<K extends CompositeName>(op: K, inputs: TensorId[], attrs: CompositeAttrs<K>, name: string): TensorId {
    const [id] = addOp(this.g, op, inputs, attrs, name);
    const [value] = REFERENCES[op](
      inputs.map((input) => this.values.get(input)!),
      attrs,
    );
    const t = this.g.tensor(id!);
    this.values.set(id!, t.quant.kind === 'scale' ? { ...value!, data: realsOf(t, codesOf(t, value!.data)) } : value!);
    return id!;
  }

  private scalesOf(id: TensorId): ArrayLike<number> {
    return this.g.constants().find(({ name }) => name === this.g.tensor(id).name)!.value.data;
  }
}

function w8(twin: Twin, name: string, dims: number[], axis: number, random: Random): TensorId {
  const scales = Float32Array.from({ length: dims[axis]! }, () => 0.002 + 0.004 * random.uniform());
  const data = Int8Array.from({ length: dims.reduce((n, d) => n * d, 1) }, () =>
    Math.max(-127, Math.min(127, halfEven(random.normal() * 40))),
  );
  const id = twin.weight(`${name}.scale`, floatConstant('f32', [scales.length], scales));
  return twin.weight(`${name}.w8`, { dtype: 's8', dims, quant: { kind: 'axis', axis, scales: id }, data });
}

/** x [CHUNK, HIDDEN] → h of the same shape. */
type Body = (twin: Twin, x: TensorId, random: Random) => TensorId;

const feedForward: Body = (twin, x, random) => {
  const gain = twin.weight('gain', floatConstant('f16', [HIDDEN], random.normals(HIDDEN)));
  const n = twin.add('RMSNorm', [x, gain], { epsilon: 1e-5, to: ENCODINGS.u8 }, 'n');
  const to = encoding('u8', 0.03, -128);
  const gate = twin.add('LinearINT8', [n, w8(twin, 'gate', [FFN, HIDDEN], 0, random)], { to }, 'gate');
  const up = twin.add('LinearINT8', [n, w8(twin, 'up', [1, 1, HIDDEN, FFN], 3, random)], { to }, 'up');
  const product = twin.add('SuperSiLU', [gate, up], { to: encoding('u8', 0.02, -40) }, 'product');
  const down = twin.add('LinearINT8', [product, w8(twin, 'down', [HIDDEN, FFN], 0, random)], { to: encoding('u8', 0.02, -128) }, 'down');
  const real = twin.add('Dequantize', [down], { to: 'f16' }, 'down.real');
  return twin.add('Add', [twin.add('Scale', [real], { scale: 0.5, bias: 0.25 }, 'scaled'), x], {}, 'h');
};

/** Tokens of the chunk attend to those before them; one head, keys and values are x. */
const selfAttention: Body = (twin, x) => {
  const line = twin.add('View', [x], { dims: [1, 1, CHUNK, HIDDEN] }, 'x.head');
  const turned = twin.add('RoPE', [line], { theta: 1e4, maxPosition: 32, start: 3, scale: HIDDEN ** -0.5 }, 'turned');
  const scores = twin.add('MatMul', [turned, line], { transposeB: true }, 'scores');
  const p = twin.add('Softmax', [twin.add('CausalMask', [scores], {}, 'masked')], {}, 'p');
  const mixed = twin.add('MatMul', [p, line], {}, 'mixed');
  return twin.add('Add', [twin.add('View', [mixed], { dims: [CHUNK, HIDDEN] }, 'rows'), x], {}, 'h');
};

async function run(body: Body, name: string, npu: NativeNpu): Promise<{ found: Float32Array; expected: Float64Array; nodes: number }> {
  const twin = new Twin();
  const random = new Random(17);
  const embedding = random.normals(VOCAB * HIDDEN);
  let h: TensorId | undefined;
  twin.g.program('npu', '', () => {
    const embed = twin.weight('embed', floatConstant('f32', [VOCAB, HIDDEN], embedding));
    const x = twin.g.cpu.embed(embed, 'f16', 'x');
    const halves = floatConstant(
      'f16',
      [CHUNK, HIDDEN],
      [...TOKENS].flatMap((t) => [...embedding.subarray(t * HIDDEN, (t + 1) * HIDDEN)]),
    );
    twin.values.set(
      x,
      decode({ ...halves, rows: 'fixed', name: 'x', role: 'input' }, halves.data, () => []),
    );
    h = body(twin, x, random);
    const [logits] = twin.g.cpu.linear(twin.g.cpu.selectRows(h, 'last'), [embed], true, ['logits']);
    return logits!;
  });
  const file = join(directory, `${name}.safetensors`);
  const entries = twin.g.constants().map(({ name: tensor, value }) => {
    const dtype = FILE_TYPES[value.dtype as keyof typeof FILE_TYPES];
    return { entry: { name: tensor, dtype, shape: [...value.dims] }, data: value.data };
  });
  const writer = await SafetensorsWriter.create(
    file,
    entries.map(({ entry }) => entry),
  );
  for (const { entry, data } of entries) await writer.write(entry.name, data);
  await writer.finish();
  const graph = twin.g.finish();
  expect(graph.segments).toHaveLength(1);
  const engine = await loadAddon().openEngine({ plan: encodePlan(graph), files: [file], npu, threads: 1, keepActivations: true });
  try {
    await engine.prefill(TOKENS, 'last', 'npu');
    expect(twin.g.constants().length).toBeGreaterThan(entries.length - 1);
    return { found: engine.peek('h'), expected: twin.values.get(h!)!.data, nodes: graph.segments[0]!.nodes.length };
  } finally {
    await engine.dispose();
  }
}

function nmse(found: Float32Array, expected: Float64Array): number {
  expect(found.length).toBe(expected.length);
  const error = expected.reduce((sum, v, i) => sum + (v - found[i]!) ** 2, 0);
  return error / expected.reduce((sum, v) => sum + v * v, 0);
}

const LIBRARIES: Record<string, NativeNpu> = { host: { kind: 'host' }, qualcomm: { kind: 'library', path: qnnLibrary, soc: SOC } };

describe.each(Object.keys(LIBRARIES))('composite ops in a plan on %s', (library) => {
  const npu = LIBRARIES[library]!;

  it('8-bit feed-forward', async () => {
    const { found, expected, nodes } = await run(feedForward, `ffn-${library}`, npu);
    expect(nodes).toBe(17);
    // Five requantisations, each off by a step here and there; an op that is wrong is off by 1e-2.
    expect(nmse(found, expected)).toBeLessThan(1e-4);
  });

  it('attention in F16', async () => {
    const { found, expected } = await run(selfAttention, `attention-${library}`, npu);
    expect(nmse(found, expected)).toBeLessThan(1e-6);
  });
});

describe('what a plan cannot hold', () => {
  it('is refused when it is encoded', () => {
    const g = new GraphBuilder(CONFIG);
    g.program('npu', '', () => {
      const embed = g.weight('embed', 'f32', [VOCAB, HIDDEN]);
      const x = g.cpu.embed(embed, 'f16', 'x');
      const positions = g.constant('positions', { dtype: 's32', dims: [CHUNK], quant: NO_QUANT, data: new Int32Array(CHUNK) });
      const [masked] = addOp(g, 'KVMask', [x, positions], {}, 'masked');
      const [logits] = g.cpu.linear(g.cpu.selectRows(masked!, 'last'), [embed], true, ['logits']);
      return logits!;
    });
    expect(() => encodePlan(g.finish())).toThrow(/bool8, which a plan cannot hold/);
  });
});
