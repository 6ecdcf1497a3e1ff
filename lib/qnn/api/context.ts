/** Contexts: the graphs that share a life and a binary. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import { loadAddon } from '../../native/loader.js';
import type { ContextHandle } from '../../native/qnn-addon.js';
import { GraphBuilder } from './builder.js';
import type { Device } from './device.js';
import { checkBytes } from './dtype.js';
import { Graph, type IoTypes } from './graph.js';
import { decodeImage, encodeImage, type ImageIdentity } from './image.js';
import { checkFields } from './options.js';
import { type GraphSignature, isSignature, nativeSignature } from './signature.js';

/** Settings of the HTP graph compiler; other backends ignore them. What is left out keeps the library's default. */
export interface GraphOptions {
  /** 1, 2 or 3: how hard the compiler tries. */
  readonly optimization?: 1 | 2 | 3;
  /** On-chip memory that the graph may use. */
  readonly vtcmMb?: number;
  readonly hvxThreads?: number;
}

export class Context {
  readonly device: Device;
  readonly #handle: ContextHandle;
  /** Undefined: the binary could not be read. */
  readonly #signatures: Map<string, GraphSignature> | undefined;

  private constructor(device: Device, handle: ContextHandle, signatures: readonly GraphSignature[] | undefined) {
    this.device = device;
    this.#handle = handle;
    this.#signatures = signatures && new Map(signatures.map((signature) => [signature.name, signature]));
  }

  /** An empty context. Throws LUTRA_QNN_CALL. */
  static create(device: Device): Context {
    return new Context(device, loadAddon().qnn.createContext(device.handle), []);
  }

  /**
   * The context that a QNN binary holds; it must come from the same release and SoC, and be undamaged: Qualcomm's library does not check much (docs/qnn-api.md).
   * What its graphs look like is read by {@link Library.readBinary}, or given as `signatures` where there is no system interface.
   * Throws LUTRA_BAD_FILE, LUTRA_UNSUPPORTED (the library reads no binaries), LUTRA_QNN_CALL.
   */
  static fromBinary(device: Device, binary: Uint8Array, options: { readonly signatures?: readonly GraphSignature[] } = {}): Context {
    checkFields('fromBinary', options, ['signatures']);
    checkBytes(binary);
    const signatures = options.signatures ?? readSignatures(device, binary);
    if (signatures && !(Array.isArray(signatures) && signatures.every(isSignature)))
      throw new LutraError('LUTRA_INVALID_ARGUMENT', 'signatures holds something else than signatures.');
    return new Context(device, loadAddon().qnn.contextFromBinary(device.handle, binary), signatures);
  }

  /**
   * The context of an image that {@link save} made. The image is checked first: damage, another library build or SoC, and another `key` than it was saved with are
   * LUTRA_BAD_FILE, and nothing of it reaches the library.
   */
  static load(device: Device, image: Uint8Array, options: { readonly key?: string } = {}): Context {
    checkFields('load', options, ['key']);
    const { binary, graphs } = decodeImage(checkBytes(image), identity(device, options.key));
    return Context.fromBinary(device, binary, { signatures: graphs });
  }

  /** A new graph, `name` unique in the context. Throws LUTRA_INVALID_ARGUMENT, LUTRA_BUSY, LUTRA_QNN_CALL. */
  createGraph(name: string, options: GraphOptions = {}): GraphBuilder {
    checkFields('createGraph', options, ['optimization', 'vtcmMb', 'hvxThreads']);
    const { optimization, vtcmMb, hvxThreads } = options;
    const given = Object.fromEntries(Object.entries({ optimization, vtcmMb, hvxThreads }).filter(([, value]) => value !== undefined));
    const handle = loadAddon().qnn.createGraph(this.#handle, name, given);
    return new GraphBuilder(handle, name, (signature) => this.#signatures?.set(signature.name, signature));
  }

  /** Finalized graphs of the context, as far as they are known. */
  get graphNames(): string[] {
    return [...(this.#signatures?.keys() ?? [])];
  }

  /**
   * A graph of a context that came out of a binary. `types` gives its inputs and outputs TypeScript types and is compared with what the binary says.
   * Throws LUTRA_NOT_FOUND, LUTRA_INVALID_ARGUMENT, LUTRA_UNSUPPORTED (no system interface told what is in the binary), LUTRA_QNN_CALL.
   */
  graph<const I extends IoTypes = IoTypes, const O extends IoTypes = IoTypes>(
    name: string,
    types?: { readonly inputs: I; readonly outputs: O },
  ): Graph<I, O> {
    if (this.#signatures === undefined) {
      throw new LutraError(
        'LUTRA_UNSUPPORTED',
        'What is in the context binary is not known, because the library has no system interface beside it.',
        'Lay libQnnSystem.so beside it, give fromBinary the signatures, or use save and load.',
      );
    }
    const signature = this.#signatures.get(name);
    if (!signature)
      throw new LutraError(
        'LUTRA_NOT_FOUND',
        `The context has no graph ${inspect(name)}.`,
        `It has: ${this.graphNames.join(', ') || 'none'}.`,
      );
    if (types !== undefined) {
      checkFields('types', types, ['inputs', 'outputs']);
      checkTypes('inputs', signature.inputs, types.inputs);
      checkTypes('outputs', signature.outputs, types.outputs);
    }
    const { inputs, outputs } = signature;
    const handle = loadAddon().qnn.retrieveGraph(this.#handle, {
      name,
      inputs: inputs.map(nativeSignature),
      outputs: outputs.map(nativeSignature),
    });
    return new Graph<I, O>(handle, signature);
  }

  /** The compiled form of all graphs as QNN tools know it. All must be finalized. Throws LUTRA_UNSUPPORTED, LUTRA_BUSY, LUTRA_QNN_CALL. */
  binary(): Uint8Array {
    return loadAddon().qnn.contextBinary(this.#handle);
  }

  /** The same with everything that {@link load} needs and checks. `key`: names what the graphs were made from. */
  save(options: { readonly key?: string } = {}): Uint8Array {
    checkFields('save', options, ['key']);
    if (this.#signatures === undefined) throw new LutraError('LUTRA_UNSUPPORTED', 'What is in the context is not known.', 'Use binary().');
    return encodeImage(this.binary(), [...this.#signatures.values()], identity(this.device, options.key));
  }

  /** Gives the context up; its graphs stay usable. See Library.dispose. */
  dispose(): void {
    loadAddon().qnn.dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function identity(device: Device, key = ''): ImageIdentity {
  if (typeof key !== 'string') throw new LutraError('LUTRA_INVALID_ARGUMENT', `The key is ${inspect(key, { depth: 0 })}, not a text.`);
  const { name, buildId } = device.backend.library.info;
  return { provider: name, buildId, soc: device.soc ?? null, arch: device.arch ?? null, key };
}

/** Undefined when there is nothing to read with. */
function readSignatures(device: Device, binary: Uint8Array): readonly GraphSignature[] | undefined {
  try {
    return device.backend.library.readBinary(binary).graphs;
  } catch (error) {
    const absent: readonly string[] = ['LUTRA_LIBRARY_NOT_FOUND', 'LUTRA_NOT_QNN', 'LUTRA_QNN_VERSION', 'LUTRA_UNSUPPORTED'];
    if (error instanceof LutraError && absent.includes(error.code)) return undefined;
    throw error;
  }
}

function checkTypes(what: string, known: GraphSignature['inputs'], expected: IoTypes): void {
  if (typeof expected !== 'object' || expected === null)
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `The types of the ${what} are ${inspect(expected)}, not an object.`);
  const describe = (types: [string, string][]) =>
    types
      .map(([name, dtype]) => `${name}: ${dtype}`)
      .sort()
      .join(', ');
  const is = describe(known.map(({ name, dtype }) => [name, dtype]));
  const wanted = describe(Object.entries(expected));
  if (is !== wanted) throw new LutraError('LUTRA_INVALID_ARGUMENT', `The ${what} are ${is || 'none'}; expected: ${wanted || 'none'}.`);
}
