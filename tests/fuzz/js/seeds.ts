/** Writes the seeds that TypeScript can make, a folder for each target. Usage: node seeds.js DIRECTORY */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { safetensorsHeader } from '../../../lib/convert/safetensors.js';
import { sealJson } from '../../../lib/files/sealed.js';
import { encodePlan } from '../../../lib/graph/encode.js';
import { ggufBytes } from '../../reference/gguf-writer.js';
import { GOLDENS, goldenPlan } from '../../reference/golden-plans.js';
import { ternaryBlocks } from '../../reference/ternary.js';
import { tinyModel } from '../../reference/tiny.js';
import { checkpointSeeds } from './checkpoint.js';
import { mllmSeeds } from './mllm.js';
import { smallGguf, tinyTokenizer } from './tiny-files.js';

const [root = 'seeds'] = process.argv.slice(2);

function put(targets: readonly string[], seeds: readonly (string | Uint8Array)[]): void {
  for (const target of targets) {
    mkdirSync(join(root, target), { recursive: true });
    seeds.forEach((seed, index) => {
      writeFileSync(join(root, target, `ts${index}`), seed);
    });
  }
}

/** Weight files: a few tensors of several types, names with escapes, and many small entries. */
function weightFiles(): Buffer[] {
  const file = (header: string | Uint8Array, data: number) => {
    const prefix = Buffer.alloc(typeof header === 'string' ? 8 : 0);
    if (typeof header === 'string') prefix.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
    return Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(data, 1)]);
  };
  const written = safetensorsHeader([
    { name: 'embed', dtype: 'F32', shape: [3, 4] },
    { name: 'layers.0.q', dtype: 'U8', shape: [5] },
    { name: 'layers.0.q.w8', dtype: 'I8', shape: [1, 1, 2, 2] },
  ]);
  const bytes = written.laidOut.reduce((sum, { dtype, shape }) => sum + shape.reduce((a, b) => a * b, dtype === 'F32' ? 4 : 1), 0);
  const empty = (index: number) => `"${index.toString(16)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`;
  return [
    file(written.header, bytes),
    file(`{"__metadata__":{"format":"pt"},"a\\u00e9\\ud83e\\udda6":{"dtype":"BF16","shape":[],"data_offsets":[0,2]}}`, 2),
    file(`{${Array.from({ length: 20 }, (_, index) => empty(index)).join(',')}}`, 0),
  ];
}

const plans = Object.values(GOLDENS).map(({ model, options }) =>
  encodePlan(goldenPlan({ ...model, arch: { ...model.arch, layers: 1 } }, options)),
);
put(['plan', 'plan_run', 'plan_reader'], plans);
put(['safetensors', 'weight_header'], weightFiles());
put(['checkpoint'], checkpointSeeds());
put(['mllm'], mllmSeeds());
const ternary = (
  [
    ['tq1_0', 34],
    ['tq2_0', 35],
  ] as const
).map(([name, type]) => ({ name, type, ne: [256, 2], data: ternaryBlocks(name, new Array<number>(512).fill(1), [0.5, 2]) }));
put(
  ['gguf'],
  [smallGguf(), ggufBytes({ a: 'b' }, ternary), ggufBytes({ a: 'b', c: ['d', 'e'], f: { i32s: [1, 2] }, g: true, h: { f32: 1 } }, [])],
);
const specs = Object.values(GOLDENS).map(({ model }) => tinyModel({ ...model, arch: { ...model.arch, layers: 1 } }).spec);
put(['lutra_json'], specs.map(sealJson));
const tokenizer = await tinyTokenizer();
put(['tokenizer_json'], [JSON.stringify(tokenizer.tokenizer)]);
put(['tokenizer_text'], ['Hello world 1234', '<|im_start|>user\nhé 🦦<|im_end|>', "'s 'LL \t\r\n  \u0301a\u200d", '\0\x7f\ufffd']);
put(
  ['chat_template'],
  [
    "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] }}{% endfor %}{% if add_generation_prompt %}!{% endif %}",
    '{% for m in messages %}{{ m.content | trim }}{% endfor %}{{ [1, 2][0] + 1 }}',
  ],
);
