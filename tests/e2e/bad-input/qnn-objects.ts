/** The QNN API around graphs: libraries, backends, devices, contexts, profiles, binaries and images. On the host NPU. */
import { qnn } from '../../../lib/index.js';
import { silu } from '../qnn-libraries.js';
import { type BadCase, bad, file, made, type World } from './case.js';

/** What a call may use. */
export interface Objects {
  library: qnn.Library;
  backend: qnn.Backend;
  device: qnn.Device;
  context: qnn.Context;
}

function create(): Objects {
  const library = qnn.Library.open('host');
  const backend = library.createBackend({ threads: 1 });
  const device = backend.createDevice();
  return { library, backend, device, context: device.createContext() };
}

let kept: Objects | undefined;

/** A context of the call's own. The rest is shared: a process has few backends, and objects that were not disposed of hold theirs until they are collected. */
export function withObjects<T>(use: (objects: Objects) => T): T {
  kept ??= create();
  const context = kept.device.createContext();
  let result: T;
  try {
    result = use({ ...kept, context });
  } catch (error) {
    context.dispose();
    throw error;
  }
  if (result instanceof Promise) return result.finally(() => context.dispose()) as T;
  context.dispose();
  return result;
}

const call = (name: string, code: BadCase['code'], says: string | RegExp, use: (objects: Objects) => unknown): BadCase =>
  bad(name, code, says, () => withObjects(use));
const argument = (name: string, says: string | RegExp, use: (objects: Objects) => unknown): BadCase =>
  call(name, 'LUTRA_INVALID_ARGUMENT', says, use);

const open = (name: string, code: BadCase['code'], says: string, path: (world: World) => unknown): BadCase =>
  made(name, code, says, path, (made) => qnn.Library.open(made as string).dispose());

const libraries: BadCase[] = [
  open('no library', 'LUTRA_INVALID_ARGUMENT', 'undefined', () => undefined),
  open('a number for a library', 'LUTRA_INVALID_ARGUMENT', '7', () => 7),
  open('an empty path for a library', 'LUTRA_INVALID_ARGUMENT', "''", () => ''),
  open('a library with NUL', 'LUTRA_INVALID_ARGUMENT', 'NUL', () => 'a\0b'),
  open('a library that is not there', 'LUTRA_LIBRARY_NOT_FOUND', 'libNone.so', (world) => `${world.root}/libNone.so`),
  open('a directory for a library', 'LUTRA_LIBRARY_NOT_FOUND', 'lutra-bad-input', (world) => world.root),
  open('a text for a library', 'LUTRA_LIBRARY_NOT_FOUND', 'libText.so', (world) => file(world, 'libText.so', 'x'.repeat(100))),
  bad('library options that are null', 'LUTRA_INVALID_ARGUMENT', 'null', () => qnn.Library.open('host', null as unknown as object)),
  bad('a library option that is a text', 'LUTRA_INVALID_ARGUMENT', 'quiet', () =>
    qnn.Library.open('/none.so', { quietStdout: 'yes' as unknown as boolean }),
  ),
  argument('null for backend options', 'null', ({ library }) => library.createBackend(null as unknown as object)),
  argument('a backend option that is not there', 'thread', ({ library }) => library.createBackend({ thread: 1 } as object)),
  ...([0, -1, 1.5, Number.NaN, 1e9, '2'] as const).map((threads) =>
    argument(`${threads} threads of a backend`, 'threads', ({ library }) => library.createBackend({ threads: threads as number })),
  ),
  argument('a log level that is not there', 'loud', ({ library }) => library.createBackend({ logLevel: 'loud' as 'warn' })),
  argument('a log function that is none', 'onLog', ({ library }) => library.createBackend({ onLog: 7 as unknown as () => void })),
];

const devices: BadCase[] = [
  argument('null for device options', 'null', ({ backend }) => backend.createDevice(null as unknown as object)),
  argument('a device option that is not there', 'sock', ({ backend }) => backend.createDevice({ sock: 57 } as object)),
  ...(['57', -1, 0.5, Number.NaN, 2 ** 40] as const).flatMap((value) => [
    argument(`a SoC of ${value}`, 'soc', ({ backend }) => backend.createDevice({ soc: value as number })),
    argument(`an architecture of ${value}`, 'arch', ({ backend }) => backend.createDevice({ arch: value as number })),
  ]),
  argument('a profile level that is not there', 'deep', ({ backend }) => backend.createProfile('deep' as 'basic')),
  argument('a number for a profile level', '7', ({ backend }) => backend.createProfile(7 as unknown as 'basic')),
];

const name = (what: string, says: string | RegExp, value: unknown): BadCase =>
  argument(`${what} for the name of a graph`, says, ({ context }) => context.createGraph(value as string));
const option = (what: string, says: string, options: unknown): BadCase =>
  argument(what, says, ({ context }) => context.createGraph('g', options as object));

const contexts: BadCase[] = [
  name('nothing', 'name', undefined),
  name('a number', 'name', 7),
  name('an empty text', 'empty', ''),
  name('NUL', 'NUL', 'a\0b'),
  name('a megabyte', '1024', 'n'.repeat(2 ** 20)),
  call('one name for two graphs', 'LUTRA_QNN_CALL', "'g'", ({ context }) => {
    context.createGraph('g');
    context.createGraph('g');
  }),
  option('null for graph options', 'null', null),
  option('a graph option that is not there', 'optimisation', { optimisation: 3 }),
  option('an optimisation of 5', 'optimization', { optimization: 5 }),
  option('an optimisation of NaN', 'optimization', { optimization: Number.NaN }),
  option('a negative VTCM', 'vtcmMb', { vtcmMb: -1 }),
  option('threads of a graph as a text', 'hvxThreads', { hvxThreads: 'two' }),
  call('a graph that the context has not', 'LUTRA_NOT_FOUND', "'nowhere'", ({ context }) => context.graph('nowhere')),
  call('a number for a graph', 'LUTRA_NOT_FOUND', '7', ({ context }) => context.graph(7 as unknown as string)),
  argument('a graph with other inputs', 'inputs', ({ context }) => {
    silu(context);
    context.graph('silu', { inputs: { z: 'f16' }, outputs: { y: 'f16' } });
  }),
  argument('a graph with other types', 'outputs', ({ context }) => {
    silu(context);
    context.graph('silu', { inputs: { x: 'f16' }, outputs: { y: 'u8' } });
  }),
  argument('a graph with types that are null', 'types', ({ context }) => {
    silu(context);
    context.graph('silu', { inputs: null, outputs: null } as never);
  }),
];

const disposed = (what: string, use: (objects: Objects) => unknown): BadCase =>
  bad(what, 'LUTRA_DISPOSED', 'disposed', () => {
    const objects = create();
    for (const one of [objects.context, objects.device, objects.backend, objects.library]) one.dispose();
    return use(objects);
  });

const ends: BadCase[] = [
  disposed('a backend of a disposed library', ({ library }) => library.createBackend()),
  disposed('a binary read by a disposed library', ({ library }) => library.readBinary(new Uint8Array(100))),
  disposed('the system of a disposed library', ({ library }) => library.system),
  disposed('the operations of a disposed backend', ({ backend }) => backend.operations),
  disposed('a device of a disposed backend', ({ backend }) => backend.createDevice()),
  disposed('a profile of a disposed backend', ({ backend }) => backend.createProfile()),
  disposed('a context of a disposed device', ({ device }) => device.createContext()),
  disposed('a vote of a disposed device', ({ device }) => device.boost()),
  disposed('a binary for a disposed device', ({ device }) => qnn.Context.fromBinary(device, new Uint8Array(100), { signatures: [] })),
  disposed('a graph of a disposed context', ({ context }) => context.createGraph('g')),
  disposed('the binary of a disposed context', ({ context }) => context.binary()),
  disposed('an image of a disposed context', ({ context }) => context.save()),
  call('events of a disposed profile', 'LUTRA_DISPOSED', 'disposed', ({ backend }) => {
    const profile = backend.createProfile();
    profile.dispose();
    return profile.events();
  }),
];

/** Bytes of a context with one graph. */
const binaryOf = (): Uint8Array =>
  withObjects(({ context }) => {
    silu(context).dispose();
    return context.binary();
  });
const imageOf = (): Uint8Array =>
  withObjects(({ context }) => {
    silu(context).dispose();
    return context.save({ key: 'k' });
  });

const binary = (what: string, code: BadCase['code'], says: string | RegExp, change: (good: Uint8Array) => unknown): BadCase =>
  made(
    what,
    code,
    says,
    () => change(binaryOf()),
    (bytes) => withObjects(({ device }) => qnn.Context.fromBinary(device, bytes as Uint8Array)),
  );
const image = (
  what: string,
  code: BadCase['code'],
  says: string | RegExp,
  change: (good: Uint8Array) => unknown,
  options: object = { key: 'k' },
): BadCase =>
  made(
    what,
    code,
    says,
    () => change(imageOf()),
    (bytes) => withObjects(({ device }) => qnn.Context.load(device, bytes as Uint8Array, options)),
  );
const flip = (at: (length: number) => number) => (good: Uint8Array) => good.with(at(good.length), (good[at(good.length)] ?? 0) ^ 1);
const detach = (good: Uint8Array): Uint8Array => {
  structuredClone(good.buffer, { transfer: [good.buffer as ArrayBuffer] });
  return good;
};
const signatures = (what: string, value: unknown): BadCase =>
  made(
    what,
    'LUTRA_INVALID_ARGUMENT',
    'signatures',
    () => binaryOf(),
    (bytes) => withObjects(({ device }) => qnn.Context.fromBinary(device, bytes, { signatures: value as [] })),
  );

const binaries: BadCase[] = [
  binary('no binary', 'LUTRA_INVALID_ARGUMENT', 'binary', () => undefined),
  binary('a text for a binary', 'LUTRA_INVALID_ARGUMENT', 'binary', () => 'x'),
  binary('words for a binary', 'LUTRA_INVALID_ARGUMENT', 'binary', (good) => new Uint16Array(good)),
  binary('an empty binary', 'LUTRA_BAD_FILE', 'empty', () => new Uint8Array()),
  binary('a detached binary', 'LUTRA_BAD_FILE', 'empty', detach),
  binary('a binary of zeros', 'LUTRA_BAD_FILE', /binary/, () => new Uint8Array(1000)),
  binary('half a binary', 'LUTRA_BAD_FILE', /binary/, (good) => good.slice(0, good.length >> 1)),
  binary(
    'a binary with a flipped bit at its beginning',
    'LUTRA_BAD_FILE',
    /binary/,
    flip(() => 1),
  ),
  binary(
    'a binary with a flipped bit in the middle',
    'LUTRA_BAD_FILE',
    /binary/,
    flip((length) => length >> 1),
  ),
  signatures('signatures that are a text', 'x'),
  signatures('signatures that are null', [null]),
  signatures('signatures without inputs', [{ name: 'silu', outputs: [] }]),
  signatures('a signature of an unknown type', [{ name: 'silu', inputs: [{ id: 1, name: 'x', dtype: 'f8', dims: [2, 8] }], outputs: [] }]),
  signatures('a signature with a fraction for an id', [
    { name: 'silu', inputs: [{ id: 0.5, name: 'x', dtype: 'f16', dims: [2, 8] }], outputs: [] },
  ]),
  image('no image', 'LUTRA_INVALID_ARGUMENT', 'binary', () => undefined),
  image('an empty image', 'LUTRA_BAD_FILE', 'LULC', () => new Uint8Array()),
  image('a detached image', 'LUTRA_BAD_FILE', 'LULC', detach),
  image('a binary for an image', 'LUTRA_BAD_FILE', 'LULC', () => binaryOf()),
  image('half an image', 'LUTRA_BAD_FILE', 'length', (good) => good.slice(0, good.length >> 1)),
  image('an image of a later version', 'LUTRA_BAD_FILE', 'version', (good) => good.with(4, 9)),
  image('an image whose header has 2^32 − 1 bytes', 'LUTRA_BAD_FILE', 'length', (good) =>
    good.with(8, 255).with(9, 255).with(10, 255).with(11, 255),
  ),
  image(
    'an image with a flipped bit in its header',
    'LUTRA_BAD_FILE',
    'checksum',
    flip(() => 70),
  ),
  image(
    'an image with a flipped bit at its end',
    'LUTRA_BAD_FILE',
    'checksum',
    flip((length) => length - 1),
  ),
  image('an image with another key', 'LUTRA_BAD_FILE', 'key', (good) => good, { key: 'other' }),
  image('an image without a key', 'LUTRA_BAD_FILE', 'key', (good) => good, {}),
  image('null for image options', 'LUTRA_INVALID_ARGUMENT', 'null', (good) => good, null as unknown as object),
  argument('a key that is a number', 'key', ({ context }) => context.save({ key: 7 as unknown as string })),
];

export const qnnObjectCases: BadCase[] = [...libraries, ...devices, ...contexts, ...ends, ...binaries];
