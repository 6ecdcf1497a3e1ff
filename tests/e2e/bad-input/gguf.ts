/** GGUF files that are none, lie about themselves, or hold what lutra cannot convert. */
import { type GgufTensorInput, ggufBytes, type MetadataValue } from '../../reference/gguf-writer.js';
import { tinyGguf } from '../../unit/convert/tiny-gguf.js';
import { type BadCase, bad, file, made, place, replace, tryConvert, type World } from './case.js';

/** Numbers in front of each other, little endian: u32 for numbers, u64 for bigints. */
function raw(...parts: (number | bigint | string)[]): Buffer {
  return Buffer.concat(
    parts.map((part) => {
      if (typeof part === 'string') return Buffer.from(part, 'latin1');
      const bytes = Buffer.alloc(typeof part === 'bigint' ? 8 : 4);
      if (typeof part === 'bigint') bytes.writeBigUInt64LE(part);
      else bytes.writeUInt32LE(part);
      return bytes;
    }),
  );
}

const text = (value: string): [bigint, string] => [BigInt(value.length), value];
/** Magic, version, counts. */
const head = (tensors: bigint, entries: bigint) => ['GGUF', 3, tensors, entries] as const;

/** A file of these bytes, with enough behind them to be believed. */
function bytes(name: string, code: BadCase['code'], says: string, content: Uint8Array): BadCase {
  return made(name, code, says, (world) => file(world, 'model.gguf', content), tryConvert);
}

const padded = (...parts: Parameters<typeof raw>): Buffer => Buffer.concat([raw(...parts), Buffer.alloc(256)]);

/** The tiny model with its metadata or tensors changed. */
function model(
  name: string,
  code: BadCase['code'],
  says: string | RegExp,
  change: (metadata: Record<string, MetadataValue>, tensors: GgufTensorInput[]) => GgufTensorInput[] | undefined,
): BadCase {
  const prepare = (world: World) => {
    const { metadata, tensors } = tinyGguf();
    const list: GgufTensorInput[] = [...tensors];
    return file(world, 'model.gguf', ggufBytes(metadata, change(metadata, list) ?? list));
  };
  return made(name, code, says, prepare, tryConvert);
}

const metadata = (
  name: string,
  code: BadCase['code'],
  says: string | RegExp,
  changes: Record<string, MetadataValue | undefined>,
): BadCase =>
  model(name, code, says, (table) => {
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) delete table[key];
      else table[key] = value;
    }
    return undefined;
  });

function tensor(name: string, code: BadCase['code'], says: string | RegExp, of: string, change: (t: GgufTensorInput) => void): BadCase {
  return model(name, code, says, (_table, tensors) =>
    tensors.map((one) => {
      if (one.name !== of) return one;
      const changed = { ...one };
      change(changed);
      return changed;
    }),
  );
}

const cut = (name: string, share: (size: number) => number): BadCase =>
  made(
    name,
    'LUTRA_BAD_FILE',
    'model.gguf',
    (world) => {
      const whole = tinyGguf().bytes();
      return file(world, 'model.gguf', whole.subarray(0, share(whole.length)));
    },
    tryConvert,
  );

const thing = (kind: string, code: BadCase['code'], says: string): BadCase =>
  made(
    kind,
    code,
    says,
    (world) => {
      const path = place(world, 'model.gguf');
      replace(path, kind);
      return path;
    },
    tryConvert,
  );

/** The tiny model with one ternary tensor of 256 × 256, which is spoiled; its shape comes last. */
const ternary = (name: string, says: string, change: (data: Uint8Array) => void): BadCase =>
  model(`ternary weights: ${name}`, 'LUTRA_BAD_FILE', says, (table, tensors) => {
    Object.assign(table, {
      'llama.embedding_length': { u32: 256 },
      'llama.rope.dimension_count': { u32: 64 },
      'llama.block_count': { u32: 1 },
      'llama.feed_forward_length': { u32: 256 },
    });
    const of = (tensor: GgufTensorInput, ne: number[]) => ({
      ...tensor,
      type: 0,
      ne,
      data: new Uint8Array(4 * ne.reduce((a, b) => a * b)),
    });
    return tensors.flatMap((tensor) => {
      if (tensor.name.startsWith('blk.1')) return [];
      if (tensor.name === 'blk.0.attn_q.weight') {
        const data = new Uint8Array(256 * 66);
        change(data);
        return [{ ...tensor, type: 35, ne: [256, 256], data }];
      }
      if (/attn_[kv]/.test(tensor.name)) return [of(tensor, [256, 128])];
      if (tensor.ne.length === 1) return [of(tensor, [256])];
      return [of(tensor, [256, tensor.name === 'token_embd.weight' ? (tensor.ne[1] ?? 0) : 256])];
    });
  });

const places: BadCase[] = [
  bad('a path where nothing is', 'LUTRA_NOT_FOUND', 'none.gguf', (world) => tryConvert(`${world.root}/none.gguf`, world)),
  bad('a path below a file', 'LUTRA_NOT_FOUND', 'model.gguf/x', (world) => tryConvert(`${world.files.path}/x`, world)),
  bad('an empty path', 'LUTRA_INVALID_ARGUMENT', "''", (world) => tryConvert('', world)),
  bad('a path with NUL', 'LUTRA_INVALID_ARGUMENT', 'a\\x00b', (world) => tryConvert('a\0b', world)),
  bad('a name that is too long', 'LUTRA_IO', 'ENAMETOOLONG', (world) => tryConvert(`${world.root}/${'n'.repeat(300)}`, world)),
  thing('a directory', 'LUTRA_BAD_FILE', 'no config.json'),
  thing('a FIFO', 'LUTRA_BAD_FILE', 'is not a file'),
  thing('a link to /dev/null', 'LUTRA_BAD_FILE', 'is not a file'),
  thing('a link to /dev/zero', 'LUTRA_BAD_FILE', 'is not a file'),
  thing('a link to itself', 'LUTRA_IO', 'model.gguf'),
  thing('a dangling link', 'LUTRA_NOT_FOUND', 'model.gguf'),
  thing('the memory of a process', 'LUTRA_BAD_FILE', 'model.gguf'),
];

const NESTED = Array.from({ length: 1000 }, () => [9, 1n] as const).flat();

const headers: BadCase[] = [
  cut('an empty file', () => 0),
  cut('3 bytes', () => 3),
  cut('a file that ends in its metadata', () => 700),
  cut('a file that ends in its tensor table', (size) => size - 60_000),
  cut('a file that ends in its last tensor', (size) => size - 40),
  bytes('noise', 'LUTRA_BAD_FILE', 'GGUF', Buffer.alloc(9000, 0x5a)),
  bytes('text', 'LUTRA_BAD_FILE', 'GGUF', Buffer.from('just a text, and not even a long one')),
  bytes('version 1', 'LUTRA_UNSUPPORTED', 'version 1', padded('GGUF', 1, 0n, 0n)),
  bytes('version 99', 'LUTRA_BAD_FILE', '99', padded('GGUF', 99, 0n, 0n)),
  bytes('big endian', 'LUTRA_UNSUPPORTED', 'big-endian', padded('GGUF', 0x03000000, 0n, 0n)),
  bytes('2^62 tensors', 'LUTRA_BAD_FILE', '4611686018427387904', padded(...head(1n << 62n, 0n))),
  bytes('a million metadata entries in 300 bytes', 'LUTRA_BAD_FILE', '1000000', padded(...head(0n, 1_000_000n))),
  bytes('a key of 2^61 bytes', 'LUTRA_BAD_FILE', 'metadata entry 0', padded(...head(0n, 1n), 1n << 61n)),
  bytes('a value of an unknown type', 'LUTRA_BAD_FILE', 'type 77', padded(...head(0n, 1n), ...text('k'), 77, 0)),
  bytes('an array of 2^40 elements', 'LUTRA_BAD_FILE', '1099511627776', padded(...head(0n, 1n), ...text('k'), 9, 4, 1n << 40n)),
  bytes('an array of strings, 2^52 of them', 'LUTRA_BAD_FILE', '4503599627370496', padded(...head(0n, 1n), ...text('k'), 9, 8, 1n << 52n)),
  bytes('arrays a thousand deep', 'LUTRA_BAD_FILE', 'nests', padded(...head(0n, 1n), ...text('k'), 9, ...NESTED)),
  bytes('a tensor of 5 dimensions', 'LUTRA_BAD_FILE', '5 dimensions', padded(...head(1n, 0n), ...text('t'), 5, 1n, 1n, 1n, 1n, 1n, 0, 0n)),
  bytes('a tensor without dimensions', 'LUTRA_BAD_FILE', '0 dimensions', padded(...head(1n, 0n), ...text('t'), 0, 0, 0n)),
  bytes('a dimension of 0', 'LUTRA_BAD_FILE', 'length 0', padded(...head(1n, 0n), ...text('t'), 2, 0n, 4n, 0, 0n)),
  bytes('an unknown tensor type', 'LUTRA_BAD_FILE', 'type 999', padded(...head(1n, 0n), ...text('t'), 1, 4n, 999, 0n)),
  bytes('a shape that overflows', 'LUTRA_BAD_FILE', '1099511627776', padded(...head(1n, 0n), ...text('t'), 2, 1n << 40n, 1n << 40n, 0, 0n)),
  bytes('a tensor at 2^50', 'LUTRA_BAD_FILE', 'tensor t ends', padded(...head(1n, 0n), ...text('t'), 1, 4n, 0, 1n << 50n)),
  bytes('a tensor that is not aligned', 'LUTRA_BAD_FILE', 'not aligned', padded(...head(1n, 0n), ...text('t'), 1, 4n, 0, 3n)),
];

const contents: BadCase[] = [
  metadata('no architecture', 'LUTRA_BAD_FILE', 'general.architecture', { 'general.architecture': undefined }),
  metadata('an architecture that lutra does not know', 'LUTRA_UNSUPPORTED', 'mamba', { 'general.architecture': 'mamba' }),
  metadata('an architecture named as a built-in property', 'LUTRA_UNSUPPORTED', 'constructor', { 'general.architecture': 'constructor' }),
  metadata('an alignment of 3', 'LUTRA_BAD_FILE', 'alignment is 3', { 'general.alignment': { u32: 3 } }),
  metadata('an alignment that is a text', 'LUTRA_BAD_FILE', 'alignment', { 'general.alignment': 'big' }),
  metadata('no width', 'LUTRA_BAD_FILE', 'embedding_length', { 'llama.embedding_length': undefined }),
  metadata('a width of 0', 'LUTRA_BAD_FILE', 'embedding_length', { 'llama.embedding_length': { u32: 0 } }),
  metadata('a width that is a text', 'LUTRA_BAD_FILE', 'embedding_length', { 'llama.embedding_length': '64' }),
  metadata('2^32 − 1 layers', 'LUTRA_BAD_FILE', '4294967295', { 'llama.block_count': { u32: 0xffffffff } }),
  metadata('2^30 layers', 'LUTRA_BAD_FILE', 'blk.2', { 'llama.block_count': { u32: 2 ** 30 } }),
  metadata('3 heads on 2 key heads', 'LUTRA_BAD_FILE', '3 heads', { 'llama.attention.head_count': { u32: 3 } }),
  metadata('a RoPE base of NaN', 'LUTRA_BAD_FILE', 'freq_base', { 'llama.rope.freq_base': { f32: Number.NaN } }),
  metadata('a negative RoPE base', 'LUTRA_BAD_FILE', 'freq_base', { 'llama.rope.freq_base': { f32: -1 } }),
  metadata('an epsilon of infinity', 'LUTRA_BAD_FILE', 'epsilon', {
    'llama.attention.layer_norm_rms_epsilon': { f32: Number.POSITIVE_INFINITY },
  }),
  metadata('an epsilon of 0', 'LUTRA_BAD_FILE', 'epsilon', { 'llama.attention.layer_norm_rms_epsilon': { f32: 0 } }),
  metadata('experts', 'LUTRA_UNSUPPORTED', 'experts', { 'llama.expert_count': { u32: 8 } }),
  metadata('a RoPE scaling', 'LUTRA_UNSUPPORTED', 'yarn', { 'llama.rope.scaling.type': 'yarn' }),
  metadata('a tokenizer of another kind', 'LUTRA_UNSUPPORTED', 'llama', { 'tokenizer.ggml.model': 'llama' }),
  metadata('an unknown pre-tokenizer', 'LUTRA_UNSUPPORTED', 'klingon', { 'tokenizer.ggml.pre': 'klingon' }),
  metadata('no vocabulary', 'LUTRA_BAD_FILE', 'tokenizer.ggml.tokens', { 'tokenizer.ggml.tokens': undefined }),
  metadata('a vocabulary of numbers', 'LUTRA_BAD_FILE', 'tokenizer.ggml.tokens', { 'tokenizer.ggml.tokens': { i32s: [1, 2] } }),
  metadata('one token twice', 'LUTRA_UNSUPPORTED', 'tokens 0 and 1', {
    'tokenizer.ggml.tokens': Array.from({ length: 271 }, () => 'a'),
  }),
  metadata('too few token types', 'LUTRA_BAD_FILE', 'token types', { 'tokenizer.ggml.token_type': { i32s: [1, 1] } }),
  metadata('an end token outside the vocabulary', 'LUTRA_BAD_FILE', '99999', { 'tokenizer.ggml.eos_token_id': { u32: 99_999 } }),
  metadata('merges that are none', 'LUTRA_BAD_FILE', 'merge', { 'tokenizer.ggml.merges': ['a', 'b c d', ''] }),
  metadata('a chat template that is a number', 'LUTRA_BAD_FILE', 'chat_template', { 'tokenizer.chat_template': { u32: 1 } }),
  model('a tensor that is missing', 'LUTRA_BAD_FILE', 'blk.1.ffn_down.weight', (_table, tensors) =>
    tensors.filter(({ name }) => name !== 'blk.1.ffn_down.weight'),
  ),
  model('a tensor twice', 'LUTRA_BAD_FILE', 'twice', (_table, tensors) => [...tensors, ...tensors.slice(-1)]),
  model('a tensor that nothing uses', 'LUTRA_UNSUPPORTED', 'blk.0.surprise', (_table, tensors) => [
    ...tensors,
    { name: 'blk.0.surprise', type: 0, ne: [4], data: new Uint8Array(16) },
  ]),
  tensor('a tensor of another shape', 'LUTRA_BAD_FILE', 'blk.0.attn_q.weight', 'blk.0.attn_q.weight', (t) => {
    t.ne = [32, 128];
  }),
  tensor('blocks of which a row has half a one', 'LUTRA_BAD_FILE', 'blk.0.attn_q.weight', 'blk.0.attn_q.weight', (t) => {
    t.ne = [48, 64];
  }),
  tensor('a tensor type that is not converted', 'LUTRA_UNSUPPORTED', 'Q5_0', 'blk.0.attn_q.weight', (t) => {
    Object.assign(t, { type: 6, data: new Uint8Array(64 * 2 * 22) });
  }),
  tensor('ternary blocks of which a row has a quarter of one', 'LUTRA_BAD_FILE', 'TQ1_0', 'blk.0.attn_q.weight', (t) => {
    Object.assign(t, { type: 34, data: new Uint8Array(64 * 54) });
  }),
  ternary('a fourth digit', 'digit 3', (data) => data.fill(0xff, 0, 64)),
  ternary('a fourth digit in the last row', `element ${255 * 256 + 255}`, (data) => data.fill(0xc0, data.length - 3, data.length - 2)),
  ternary('a scale of NaN', 'blk.0.attn_q.weight', (data) => data.fill(0xff, 64, 66)),
  ternary('an infinite scale', 'blk.0.attn_q.weight', (data) => data.set([0x00, 0x7c], data.length - 2)),
  tensor('a norm gain of NaN', 'LUTRA_BAD_FILE', 'norm', 'output_norm.weight', (t) => {
    t.data = new Uint8Array(new Float32Array(64).fill(Number.NaN).buffer);
  }),
  tensor('a block scale of infinity', 'LUTRA_BAD_FILE', 'blk.1.ffn_up.weight', 'blk.1.ffn_up.weight', (t) => {
    t.data = t.data.slice();
    t.data.set([0x00, 0x7c], t.data.length - 20);
  }),
];

export const ggufCases: BadCase[] = [...places, ...headers, ...contents];
