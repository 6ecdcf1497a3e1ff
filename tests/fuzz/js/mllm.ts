/** Files of mllm for the fuzzer. */
import { join } from 'node:path';
import { readArch } from '../../../lib/convert/huggingface/arch.js';
import { listCheckpointTensors } from '../../../lib/convert/huggingface/tensors.js';
import { MllmCheckpoint } from '../../../lib/convert/mllm/checkpoint.js';
import { Scratch } from '../../../lib/convert/scratch.js';
import { type PackAddon, packedBytes } from '../../../lib/convert/tensors.js';
import { type BlockType, dtypeOfCode } from '../../../lib/graph/dtype.js';
import { tinyCheckpoint, writeCheckpoint } from '../../reference/checkpoint.js';
import { widen } from '../../reference/fold.js';
import { MLLM_TYPES, type MllmArray, mllmFile, npuMllm, plainMllm } from '../../reference/mllm-writer.js';
import { temporaryFolder } from './tiny-files.js';

const sizes = { hidden: 32, ffn: 16, layers: 1, heads: 2, kvHeads: 1, headDim: 4, vocab: 16 };
const tiny = tinyCheckpoint({ sizes, tied: true });

/** With the ranges and flags of one linear, so that the fuzzer mutates the whole file. */
function npu(widened: boolean): Map<string, MllmArray> {
  const all = [...npuMllm(tiny, { widened }).file];
  return new Map(all.filter(([name]) => name.includes('q_proj') || !/(input|output)(_scale)?$/.test(name)));
}

/** As for the CPU, with blocks, and as for the NPU, with codes that are widened and not. */
export function mllmSeeds(): Buffer[] {
  const blocks = plainMllm(tiny);
  for (const [name, { shape }] of blocks) {
    const [rows = 1, cols = 1] = shape;
    if (cols === 32) blocks.set(name, { type: MLLM_TYPES.Q4_0, shape, data: new Uint8Array(rows * 18) });
  }
  const files = ([1, 2] as const).flatMap((version) => [plainMllm(tiny), blocks, npu(false)].map((file) => mllmFile(version, file)));
  return [...files, mllmFile(1, npu(true))].map(({ bytes }) => bytes);
}

/** Packs nothing: what is fuzzed is the reader. */
const addon: Pick<PackAddon, 'packGgml' | 'widen'> = {
  widen,
  packGgml: (type, _blocks, rows, cols) => new Uint8Array(packedBytes(dtypeOfCode(type) as BlockType, rows, cols)),
};
const tools = { addon: addon as PackAddon, scratch: new Scratch() };

let config: string | undefined;

/** Opens the file at `path` and reads every tensor. */
export async function readMllm(path: string): Promise<void> {
  config ??= writeCheckpoint(join(temporaryFolder(), 'config'), tiny);
  const checkpoint = await MllmCheckpoint.openFile(path, config);
  try {
    const { tensors } = await listCheckpointTensors(checkpoint, readArch(checkpoint.config).arch, null, { method: 'blocks' });
    for (const tensor of tensors) for await (const slab of tensor.source.slabs(tools)) slab.stored();
  } finally {
    await checkpoint.close();
  }
}
