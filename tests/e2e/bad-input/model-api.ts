/** Calls of loadModel, Model, Chat and Tokenizer with what they cannot use. */
import { writeFileSync } from 'node:fs';
import { type LoadOptions, loadModel } from '../../../lib/runtime/model.js';
import { type BadCase, bad, file, made, place, type World } from './case.js';

/** Loads the good model with one option. */
function option(name: string, says: string | RegExp, options: object, code: BadCase['code'] = 'LUTRA_INVALID_ARGUMENT'): BadCase {
  return bad(name, code, says, async ({ files }) => {
    const model = await loadModel(files.directory, { threads: 1, ...options } as LoadOptions);
    try {
      await model.createSession();
    } finally {
      await model.dispose();
    }
  });
}

const path = (name: string, says: string, value: unknown, code: BadCase['code'] = 'LUTRA_INVALID_ARGUMENT'): BadCase =>
  bad(name, code, says, () => loadModel(value as string));

const paths: BadCase[] = [
  path('no path', 'undefined', undefined),
  path('an empty path', "''", ''),
  path('a number for a path', '7', 7),
  path('an object for a path', '{}', {}),
  path('a path with NUL', 'a\\x00b', 'a\0b'),
  path('a path of a million letters', 'nnn', 'n'.repeat(1_000_000)),
  path('a path where nothing is', 'nowhere', '/nowhere/at/all', 'LUTRA_NOT_FOUND'),
  path('a device', '/dev/zero', '/dev/zero', 'LUTRA_BAD_FILE'),
  bad('a file', 'LUTRA_BAD_FILE', 'is a file', ({ files }) => loadModel(files.path)),
  made(
    'a directory of something else',
    'LUTRA_BAD_FILE',
    'lutra.json',
    (world) => file(world, 'config.json', '{}').replace('/config.json', ''),
    (directory) => loadModel(directory),
  ),
];

const options: BadCase[] = [
  bad('options that are no object', 'LUTRA_INVALID_ARGUMENT', 'options', ({ files }) => loadModel(files.directory, 7 as LoadOptions)),
  bad('null for options', 'LUTRA_INVALID_ARGUMENT', 'options', ({ files }) => loadModel(files.directory, null as unknown as LoadOptions)),
  option('an option that is not there', "did you mean 'threads'", { thread: 2 }),
  option('0 threads', 'threads', { threads: 0 }),
  option('−1 threads', '-1', { threads: -1 }),
  option('a million threads', '1000000', { threads: 1_000_000 }),
  option('1.5 threads', '1.5', { threads: 1.5 }),
  option('NaN threads', 'NaN', { threads: Number.NaN }),
  option('threads as a text', "'2'", { threads: '2' }),
  option('a context of 0', 'contextSize', { contextSize: 0 }),
  option('a context of infinity', 'Infinity', { contextSize: Number.POSITIVE_INFINITY }),
  option('a context larger than the model', '1000000', { contextSize: 1_000_000 }),
  option('a context of 2^53', '9007199254740992', { contextSize: 2 ** 53 }),
  option('weights of repairs in flash', "'all' or 'hot' or 'disk'", { shadowResidency: 'flash' }),
  option('a KV cache in 4 bits', "'f16' or 'f32' or 'int8'", { kv: 'int4' }),
  option('a KV cache named as an inherited property', 'kv', { kv: 'toString' }),
  option('eager as a text', "'yes'", { eager: 'yes' }),
  option('profile as a number', 'profile', { profile: 1 }),
  option('reference as null', 'reference', { reference: null }),
  option('a log function that is none', 'onLog', { onLog: 'console' }),
  option('log level 9', 'logLevel', { logLevel: 9 }),
  option('a cache that is a number', 'cache', { cache: 7 }),
  option('a cache without a name', 'cache', { cache: '' }),
  option('a cache with NUL', 'cache', { cache: 'a\0b' }),
  option('an NPU that is none', 'gpu', { npu: 'gpu' }),
  option('null for an NPU', 'null', { npu: null }),
  option('a number for an NPU', '7', { npu: 7 }),
  option('a library without a path', 'npu', { npu: { library: '' } }),
  option('a library that is a number', 'npu', { npu: { library: 7 } }),
  option('a library with NUL', 'a\\x00b', { npu: { library: 'a\0b' } }),
  option('a field that an NPU has not', 'sock', { npu: { library: '/x.so', sock: 57 } }),
  option('a SoC with a fraction', '1.5', { npu: { library: '/x.so', soc: 1.5 } }),
  option('a SoC of 2^40', '1099511627776', { npu: { library: '/x.so', soc: 2 ** 40 } }),
  option('a circular object for an NPU', 'npu', { npu: circular() }),
  made(
    'a cache below a file',
    'LUTRA_IO',
    'cache',
    (world) => file(world, 'file', ''),
    async (cache, world) => {
      const model = await loadModel(world.files.directory, { npu: { library: hostLibrary() }, cache: `${cache}/contexts`, threads: 1 });
      try {
        await model.createSession();
      } finally {
        await model.dispose();
      }
    },
  ),
];

function circular(): object {
  const value: Record<string, unknown> = {};
  value.self = value;
  return value;
}

/** Two sessions of one model on which a call is under way are two; these are calls on a model that is gone, or with other things than prompts. */
async function withDisposed(world: World, use: (model: Awaited<ReturnType<typeof loadModel>>) => unknown): Promise<unknown> {
  const model = await loadModel(world.files.directory, { npu: 'host', contextSize: 64, threads: 1 });
  await model.dispose();
  return use(model);
}

const models: BadCase[] = [
  bad('a session of a disposed model', 'LUTRA_DISPOSED', 'model', (world) => withDisposed(world, (model) => model.createSession())),
  bad('a chat of a disposed model', 'LUTRA_DISPOSED', 'model', (world) => withDisposed(world, (model) => model.createChat())),
  bad('a generation of a disposed model', 'LUTRA_DISPOSED', 'model', (world) =>
    withDisposed(world, (model) => model.generate('x').result()),
  ),
  bad('a chat with an option that is not there', 'LUTRA_INVALID_ARGUMENT', 'systems', ({ model }) =>
    model.createChat({ systems: 'x' } as object),
  ),
  bad('a system message that is a number', 'LUTRA_INVALID_ARGUMENT', 'system', ({ model }) =>
    model.createChat({ system: 7 as unknown as string }),
  ),
  bad('null for the options of a chat', 'LUTRA_INVALID_ARGUMENT', 'createChat', ({ model }) => model.createChat(null as unknown as object)),
  chat('an empty message', 'content', ''),
  chat('a message that is a number', 'content', 7),
  chat('no message', 'content', undefined),
];

function chat(name: string, says: string, content: unknown): BadCase {
  return bad(name, 'LUTRA_INVALID_ARGUMENT', says, async ({ model }) => {
    const conversation = await model.createChat();
    try {
      await conversation.send(content as string).result();
    } finally {
      await conversation.dispose();
    }
  });
}

const tokenizer = (name: string, says: string | RegExp, call: (tokenizer: World['model']['tokenizer']) => unknown): BadCase =>
  bad(name, 'LUTRA_INVALID_ARGUMENT', says, ({ model }) => call(model.tokenizer));
const messages = (name: string, says: string | RegExp, value: unknown): BadCase =>
  tokenizer(name, says, (t) => t.applyChatTemplate(value as { role: string; content: string }[]));

const tokenizers: BadCase[] = [
  tokenizer('a number to encode', '7', (t) => t.encode(7 as unknown as string)),
  tokenizer('nothing to encode', 'undefined', (t) => t.encode(undefined as unknown as string)),
  tokenizer('null for encode options', 'encode', (t) => t.encode('x', null as unknown as object)),
  tokenizer('an encode option that is not there', 'specials', (t) => t.encode('x', { specials: true } as object)),
  tokenizer('a number to decode', '7', (t) => t.decode(7 as unknown as number[])),
  tokenizer('tokens to decode that are texts', "'x'", (t) => t.decode(['x' as unknown as number])),
  tokenizer('a token to decode that is negative', '-1', (t) => t.decode([-1])),
  tokenizer('bytes of a token with a fraction', '0.5', (t) => t.bytesOf(0.5)),
  messages('messages that are a text', "'hi'", 'hi'),
  messages('no messages', 'messages', []),
  messages('messages of numbers', 'messages', [1, 2]),
  messages('a message of null', 'messages', [null]),
  messages('a message without a role', 'role', [{ content: 'x' }]),
  messages('a message whose content is an object', 'content', [{ role: 'user', content: {} }]),
];

/** The host NPU as a library of its own. */
export function hostLibrary(): string {
  return new URL('../../../build/Release/libQnnHost.so', import.meta.url).pathname;
}

const library = (
  name: string,
  says: string,
  prepare: (world: World) => string,
  code: BadCase['code'] = 'LUTRA_LIBRARY_NOT_FOUND',
): BadCase =>
  made(name, code, says, prepare, async (path, { files }) => {
    const model = await loadModel(files.directory, { npu: { library: path }, cache: false, threads: 1 });
    try {
      await model.createSession();
    } finally {
      await model.dispose();
    }
  });

const libraries: BadCase[] = [
  library('a library that is not there', 'libNone.so', (world) => `${world.root}/libNone.so`),
  library('a directory for a library', 'there is no library', (world) => world.root),
  library('a device for a library', '/dev/zero', () => '/dev/zero'),
  library('a text for a library', 'libText.so', (world) =>
    file(world, 'libText.so', 'not a library at all, but a text that is long enough to look at'),
  ),
  library('an empty file for a library', 'libEmpty.so', (world) => file(world, 'libEmpty.so', '')),
  library('an ELF header and nothing else', 'libElf.so', (world) => {
    const path = place(world, 'libElf.so');
    writeFileSync(path, Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(500)]));
    return path;
  }),
  library('a library of another kind', 'libm', () => libm(), 'LUTRA_NOT_QNN'),
];

function libm(): string {
  const { sharedObjects } = process.report.getReport() as unknown as { sharedObjects: string[] };
  return sharedObjects.find((name) => /\/libm[.-]/.test(name)) ?? '';
}

export const modelCases: BadCase[] = [...paths, ...options, ...models, ...tokenizers, ...libraries];
