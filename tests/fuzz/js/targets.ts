/** What the JavaScript fuzzer drives: every parser of bytes that come from outside. A target throws LutraError or nothing. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { GgufFile } from '../../../lib/convert/gguf.js';
import { readArch } from '../../../lib/convert/gguf-arch.js';
import { ternaryRows } from '../../../lib/convert/ternary.js';
import { buildTokenizer } from '../../../lib/convert/tokenizer-json.js';
import { sealJson } from '../../../lib/files/sealed.js';
import { decodePlan } from '../../../lib/graph/decode.js';
import { LutraError } from '../../../lib/graph/errors.js';
import { HEADER_BYTES, sealPlan } from '../../../lib/graph/plan-format.js';
import { buildPlan } from '../../../lib/models/registry.js';
import { openModelDirectory } from '../../../lib/runtime/model-dir.js';
import { Tokenizer } from '../../../lib/runtime/tokenizer.js';
import { WeightFile } from '../../../lib/runtime/weight-file.js';
import { readCheckpoint, repairCheckpoint } from './checkpoint.js';
import { readMllm } from './mllm.js';
import { temporaryFolder, tinyTokenizer } from './tiny-files.js';

export interface Target {
  run(input: Buffer): Promise<void> | void;
  /** Makes lengths and checksums right again, so that mutations reach what lies behind them. */
  repair?(input: Buffer): Buffer;
  /** Words that mean something in this format. */
  words: readonly string[];
}

const folder = temporaryFolder();

/** Writes the input where a reader of files finds it. */
function file(name: string, input: Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, input);
  return path;
}

const jsonWords = ['null', 'true', '-1', '1e999', '0.5', '{}', '[]', '""', '"__proto__"', '[[[[', '\\ud800', '9007199254740993', ',', ':'];

async function gguf(input: Buffer): Promise<void> {
  const opened = await GgufFile.open(file('x.gguf', input));
  try {
    for (const read of [readArch, buildTokenizer]) {
      try {
        read(opened);
      } catch (error) {
        if (!(error instanceof LutraError)) throw error;
      }
    }
    for (const tensor of opened.tensors.values()) {
      const rows = await opened.readRows(tensor, 0, Math.min(tensor.rows, 2));
      if (tensor.type.cpu === 'w2g128') ternaryRows(opened.path, tensor.name, tensor.type.name, rows);
    }
  } finally {
    await opened.close();
  }
}

async function lutraJson(input: Buffer): Promise<void> {
  file('lutra.json', input);
  await openModelDirectory(folder).then(
    () => undefined,
    (error: unknown) => {
      // The weight files are not there: what is wrong with the specification comes first.
      if (!(error instanceof LutraError) || !/\.safetensors/.test(error.message)) throw error;
    },
  );
}

/** The specification without the frame around it: a plan is made of whatever passes the checks. */
function plans(input: Buffer): void {
  const spec: unknown = parse(input);
  if (typeof spec !== 'object' || spec === null) return;
  const { checksum: _, ...value } = spec as Record<string, unknown>;
  for (const mode of ['npu', 'cpu', 'reference'] as const) buildPlan(value as never, { mode, contextSize: 32 });
}

function parse(input: Buffer): unknown {
  try {
    return JSON.parse(input.toString('utf8'));
  } catch {
    return undefined;
  }
}

function tokenizerOf(json: object, config: object): void {
  const tokenizer = new Tokenizer(json, config);
  const ids = [...tokenizer.encode('Hello <|im_start|>\n12'), ...tokenizer.encode('Hello <|im_start|>', { special: false })];
  tokenizer.decode(ids);
  const stream = tokenizer.stream();
  for (const id of [...ids, -1, 1e9, Number.NaN]) stream.push(id);
  stream.end();
}

const tiny = await tinyTokenizer();
const tokenizer = new Tokenizer(tiny.tokenizer, tiny.config);
const messages = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'Hi <|im_end|>' },
];

export const TARGETS: Readonly<Record<string, Target>> = {
  gguf: {
    run: gguf,
    words: [
      'GGUF',
      'general.alignment',
      'llama.block_count',
      'tokenizer.ggml.tokens',
      'blk.0.attn_q.weight',
      '\0\0\0\0',
      '\xff\xff\xff\xff',
    ],
  },
  checkpoint: {
    run: readCheckpoint,
    repair: repairCheckpoint,
    words: [
      ...jsonWords,
      '"quant_method"',
      '"gptq"',
      '"awq"',
      '"bitnet"',
      '"group_size"',
      '"desc_act"',
      '"dtype"',
      '"I32"',
      '"U8"',
      '"BF16"',
      '.qweight',
      '.g_idx',
      '.weight_scale',
      '.bias',
    ],
  },
  mllm: {
    run: (input) => readMllm(file('x.mllm', input)),
    words: [
      '.weight.scale',
      '.input_scale',
      '.clip_output',
      'model.embed_tokens.weight',
      '\0\0\0\0',
      '\x10\0\0\0',
      '\x80\0\0\0',
      '\0\0\xc0\x7f',
      '\xff\xff\xff\xff',
    ],
  },
  lutra_json: {
    run: async (input) => {
      await lutraJson(input);
    },
    repair: (input) => {
      const value = parse(Buffer.from(input.toString('latin1').replace(/,\n "checksum": "[0-9a-f]*"\n\}\n$/, '\n}'), 'latin1'));
      return typeof value === 'object' && value !== null ? sealJson(value) : input;
    },
    words: [...jsonWords, '"w8a8s"', '"q4_1"', '"conv"', '"u8"'],
  },
  plan_build: { run: plans, words: jsonWords },
  plan_reader: {
    run: (input) => {
      decodePlan(input);
    },
    repair: (input) => {
      if (input.length < HEADER_BYTES) return input;
      input.writeUInt32LE(input.length, 8);
      return Buffer.from(sealPlan(input));
    },
    words: ['\0\0\0\0', '\xff\xff\xff\xff', 'ReshapE'],
  },
  weight_header: {
    run: async (input) => {
      await WeightFile.open(file('x.safetensors', input), { sha256: '', header: '', tensors: {} }, 'Convert the model again.');
    },
    repair: (input) => {
      const end = input.lastIndexOf('}') + 1;
      if (end > 8) input.writeBigUInt64LE(BigInt(end - 8));
      return input;
    },
    words: [...jsonWords, '"data_offsets"', '"shape"', '"F32"'],
  },
  tokenizer_json: {
    run: (input) => {
      const value = parse(input);
      if (typeof value === 'object' && value !== null) tokenizerOf(value, {});
    },
    words: [...jsonWords, '"type"', '"BPE"', '"WordPiece"', '"Unigram"', '"Split"', '"Regex"', '"ByteLevel"', '"content"', '"merges"'],
  },
  tokenizer_text: {
    run: (input) => {
      for (const text of [input.toString('utf8'), input.toString('utf16le')]) {
        for (const special of [true, false]) tokenizer.decode(tokenizer.encode(text, { special }));
      }
    },
    words: ['<|im_start|>', '<|', '|>', ' ', '\n', '1234', '\u0301', '\u200d', '🦦', 'İ', "'LL"],
  },
  chat_template: {
    run: (input) => {
      const text = input.toString('utf8');
      new Tokenizer(tiny.tokenizer, { ...tiny.config, chat_template: text }).applyChatTemplate(messages, { addGenerationPrompt: true });
    },
    words: [
      '{%',
      '%}',
      '{{',
      '}}',
      '{#',
      'for',
      'if',
      'set',
      'macro',
      '| tojson',
      '| length',
      'range(',
      'messages',
      'loop.index',
      '[::-1]',
      '*',
      '//',
      'raise_exception(',
    ],
  },
};
