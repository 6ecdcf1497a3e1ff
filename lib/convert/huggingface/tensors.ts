/** Which tensors of a checkpoint become which tensors of cpu.safetensors. */
import type { BlockType } from '../../graph/dtype.js';
import { LutraError } from '../../graph/errors.js';
import type { ArchSpec, LinearName } from '../../graph/spec.js';
import { LINEAR_NAMES, linearKey, linearShape, type ModelFamily, modelFamily, SHARED_INPUTS } from '../../models/index.js';
import { type CpuTensor, type ModelSource, plainSlab, type Slab, type SlabTools, slabRanges, type TensorSource } from '../tensors.js';
import { openBitnet } from './bitnet.js';
import { openBlocks } from './blocks.js';
import type { Checkpoint, CheckpointTensor } from './checkpoint.js';
import { type LowBitMatrix, openGrouped } from './grouped.js';
import type { Quantization } from './quantization.js';

const LINEARS: Readonly<Record<LinearName, string>> = {
  q: 'self_attn.q_proj',
  k: 'self_attn.k_proj',
  v: 'self_attn.v_proj',
  o: 'self_attn.o_proj',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
};
const NORMS = { attn_norm: 'input_layernorm', ffn_norm: 'post_attention_layernorm' } as const;
const PLAIN = ['F32', 'F16', 'BF16'] as const;
type Plain = (typeof PLAIN)[number];

/** What is kept of old exports although it follows from the configuration. */
const DERIVED = /\.rotary_emb\.inv_freq$/;

class Lister {
  readonly tensors: CpuTensor[] = [];
  readonly orders = new Map<string, Uint32Array>();
  private readonly used = new Set<string>();
  private readonly family: ModelFamily;

  constructor(
    private readonly checkpoint: Checkpoint,
    private readonly arch: ArchSpec,
    private readonly quantization: Quantization,
  ) {
    this.family = modelFamily(arch.family);
  }

  private plain(name: string, from: string, shape: number[]): void {
    const tensor = this.checkpoint.tensor(from, PLAIN, shape);
    this.used.add(from);
    const vector = shape.length === 1;
    const imported = tensor.dtype === 'F16' && !vector ? 'f16' : 'f32';
    const source: TensorSource = {
      name: from,
      bytes: tensor.end - tensor.begin,
      slabs: (tools) => plainSlabs(this.checkpoint, tensor, tools),
    };
    this.tensors.push({ name, source, type: imported, imported, shape });
  }

  /** A vector whose values are not in the files. */
  private made(name: string, values: Float32Array): void {
    const slab: Slab = { first: 0, rows: 1, stored: () => values, floats: () => values };
    async function* slabs() {
      yield slab;
    }
    const source = { name, bytes: values.byteLength, slabs };
    this.tensors.push({ name, source, type: 'f32', imported: 'f32', shape: [values.length] });
  }

  /** null: it is not quantised. */
  private async lowBit(prefix: string, rows: number, cols: number): Promise<LowBitMatrix<BlockType> | null> {
    const { checkpoint, quantization } = this;
    switch (quantization.method) {
      case 'none':
        if (checkpoint.tensors.has(`${prefix}.qweight`))
          throw checkpoint.bad(`${prefix} is quantised, but neither config.json nor quantize_config.json says how`);
        return null;
      case 'grouped':
        return checkpoint.tensors.has(`${prefix}.weight`) ? null : openGrouped(checkpoint, quantization.format, prefix, rows, cols);
      case 'bitnet':
        return checkpoint.tensors.get(`${prefix}.weight`)?.dtype === 'U8'
          ? openBitnet(checkpoint, quantization.inverse, prefix, rows, cols)
          : null;
      case 'blocks':
        return openBlocks(checkpoint, prefix, rows, cols);
      default:
        throw new LutraError('LUTRA_INTERNAL', `unknown quantisation ${String(quantization satisfies never)}`);
    }
  }

  /** A matrix that may be quantised. `after`: names of matrices of the same input. */
  private async matrix(name: string, prefix: string, rows: number, cols: number, after: readonly string[] = []): Promise<void> {
    const found = await this.lowBit(prefix, rows, cols);
    if (!found) return this.plain(name, `${prefix}.weight`, [rows, cols]);
    for (const one of found.used) this.used.add(one);
    const { type, source, order } = found;
    const tensor = { name, source, type, imported: type, shape: [rows, cols] };
    this.tensors.push(order ? { ...tensor, order: this.orderName(name, order, after) } : tensor);
  }

  /** The name of an order: that of an equal one of the same input, or a new one. */
  private orderName(name: string, order: Uint32Array, after: readonly string[]): string {
    const equal = after.map((other) => `${other}.order`).find((other) => this.orders.get(other)?.every((column, i) => column === order[i]));
    if (equal !== undefined) return equal;
    this.orders.set(`${name}.order`, order);
    return `${name}.order`;
  }

  private async layer(layer: number): Promise<void> {
    const { arch } = this;
    const block = `model.layers.${layer}`;
    for (const [norm, from] of Object.entries(NORMS)) this.plain(`layers.${layer}.${norm}`, `${block}.${from}.weight`, [arch.hidden]);
    if (this.family.qkNorm)
      for (const name of ['q', 'k'] as const)
        this.plain(`layers.${layer}.${name}_norm`, `${block}.self_attn.${name}_norm.weight`, [arch.headDim]);
    for (const linear of LINEAR_NAMES) {
      const [rows, cols] = linearShape(arch, linear);
      const key = linearKey(layer, linear);
      const prefix = `${block}.${LINEARS[linear]}`;
      const shared = SHARED_INPUTS.find((names) => names.includes(linear)) ?? [];
      const after = shared.slice(0, shared.indexOf(linear)).map((other) => linearKey(layer, other));
      await this.matrix(key, prefix, rows, cols, after);
      if (arch.qkvBias && (linear === 'q' || linear === 'k' || linear === 'v')) this.plain(`${key}.bias`, `${prefix}.bias`, [rows]);
    }
  }

  async list(ropeFactors: Float32Array | null): Promise<void> {
    const { arch } = this;
    // Of other quantisations, an embedding could come out with its columns in another order.
    if (this.quantization.method === 'blocks') await this.matrix('embed', 'model.embed_tokens', arch.vocab, arch.hidden);
    else this.plain('embed', 'model.embed_tokens.weight', [arch.vocab, arch.hidden]);
    this.plain('norm', 'model.norm.weight', [arch.hidden]);
    if (arch.tied) this.used.add('lm_head.weight');
    else await this.matrix('lm_head', 'lm_head', arch.vocab, arch.hidden);
    if (ropeFactors) this.made('rope_factors', ropeFactors);
    for (let layer = 0; layer < arch.layers; layer++) await this.layer(layer);
    await this.checkUnused();
  }

  /** A tensor that nothing uses means a model that lutra does not know, unless it adds nothing. */
  private async checkUnused(): Promise<void> {
    for (const tensor of this.checkpoint.tensors.values()) {
      if (this.used.has(tensor.name) || DERIVED.test(tensor.name) || (await isZeroBias(this.checkpoint, tensor))) continue;
      throw this.checkpoint.config.unsupported(`tensor ${tensor.name} is none that lutra knows in this architecture`);
    }
  }
}

/** Some writers give every quantised linear a bias. */
async function isZeroBias(checkpoint: Checkpoint, tensor: CheckpointTensor): Promise<boolean> {
  if (!tensor.name.endsWith('.bias') || tensor.shape.length !== 1) return false;
  return (await checkpoint.read(tensor)).every((byte) => byte === 0);
}

async function* plainSlabs(checkpoint: Checkpoint, tensor: CheckpointTensor, tools: SlabTools): AsyncGenerator<Slab> {
  const { name, dtype, shape, begin, end } = tensor;
  const vector = shape.length === 1;
  const rows = vector ? 1 : (shape[0] ?? 1);
  const rowBytes = (end - begin) / rows;
  for (const { first, count } of slabRanges(rows, rowBytes)) {
    const bytes = await checkpoint.read(tensor, first * rowBytes, count * rowBytes, tools.scratch.bytes('read', count * rowBytes));
    yield plainSlab(checkpoint.path, name, dtype as Plain, bytes, { first, rows: count, vector }, tools);
  }
}

/** All tensors of cpu.safetensors in file order, and the orders of columns that they name. Errors: LUTRA_BAD_FILE, LUTRA_UNSUPPORTED, LUTRA_IO. */
export async function listCheckpointTensors(
  checkpoint: Checkpoint,
  arch: ArchSpec,
  ropeFactors: Float32Array | null,
  quantization: Quantization,
): Promise<Pick<ModelSource, 'tensors' | 'orders'>> {
  const lister = new Lister(checkpoint, arch, quantization);
  await lister.list(ropeFactors);
  return { tensors: lister.tensors, orders: lister.orders };
}
