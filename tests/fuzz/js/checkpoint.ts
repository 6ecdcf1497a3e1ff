/** Checkpoints of Hugging Face for the fuzzer: config.json in the first line of an input, the weight file behind it. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint } from '../../../lib/convert/huggingface/index.js';
import { Scratch } from '../../../lib/convert/scratch.js';
import { type PackAddon, packedBytes } from '../../../lib/convert/tensors.js';
import { type BlockType, dtypeOfCode } from '../../../lib/graph/dtype.js';
import { safetensorsBytes, type TinyCheckpointOptions, tinyCheckpoint, writeCheckpoint } from '../../reference/checkpoint.js';
import { widen } from '../../reference/fold.js';
import { temporaryFolder } from './tiny-files.js';

const LINEARS: NonNullable<TinyCheckpointOptions['linears']>[] = [
  { method: 'gptq', bits: 4, group: 32, symmetric: false, actOrder: true },
  { method: 'gptq_v2', bits: 3, group: -1, symmetric: true },
  { method: 'awq', bits: 4, group: 32, symmetric: false },
  { method: 'bitnet', inverse: true },
];

const sizes = { hidden: 32, ffn: 64, layers: 1, heads: 2, kvHeads: 2, headDim: 16, vocab: 32 };

/** One of each method, small enough to be mutated as a whole. */
export function checkpointSeeds(): Buffer[] {
  return LINEARS.map((linears) => {
    const { config, tensors } = tinyCheckpoint({ linears, sizes, tied: true });
    return Buffer.concat([Buffer.from(`${JSON.stringify(config)}\n`), safetensorsBytes(tensors)]);
  });
}

/** Packs nothing: what is fuzzed are the readers. */
const addon: Pick<PackAddon, 'packLowBit' | 'widen'> = {
  widen,
  packLowBit: (type, rows, cols) => new Uint8Array(packedBytes(dtypeOfCode(type) as BlockType, rows, cols)),
};
const tools = { addon: addon as PackAddon, scratch: new Scratch() };

let folder: string | undefined;

/** Opens the input as a checkpoint and reads every tensor. */
export async function readCheckpoint(input: Buffer): Promise<void> {
  folder ??= writeCheckpoint(join(temporaryFolder(), 'hf'), tinyCheckpoint({ sizes }));
  const end = input.indexOf(0x0a);
  writeFileSync(join(folder, 'config.json'), input.subarray(0, Math.max(end, 0)));
  const weights = join(folder, 'model.safetensors');
  rmSync(weights, { force: true });
  writeFileSync(weights, input.subarray(end + 1));
  const source = await openCheckpoint(folder);
  try {
    for (const tensor of source.tensors) for await (const slab of tensor.source.slabs(tools)) slab.stored();
  } finally {
    await source.close();
  }
}

/** Makes the length of the header right again: it ends where its braces do. */
export function repairCheckpoint(input: Buffer): Buffer {
  const start = input.indexOf(0x0a) + 1;
  let depth = 0;
  for (let at = start + 8; at < input.length; at++) {
    if (input[at] === 0x7b) depth++;
    if (input[at] !== 0x7d || --depth > 0) continue;
    input.writeBigUInt64LE(BigInt(at + 1 - start - 8), start);
    break;
  }
  return input;
}
