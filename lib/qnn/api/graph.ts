/** Executable graphs. */
import { LutraError } from '../../graph/errors.js';
import { loadAddon } from '../../native/loader.js';
import type { GraphHandle, TypedArray } from '../../native/qnn-addon.js';
import type { Profile } from './device.js';
import { type ArrayOf, checkArray, type DType, QNN_DTYPES } from './dtype.js';
import { checkFields, profileHandle } from './options.js';
import type { GraphSignature, TensorSignature } from './signature.js';
import { elementsOf } from './tensor.js';

/** Names of inputs or outputs with their types. */
export type IoTypes = Readonly<Record<string, DType>>;
/** One typed array per name. */
export type ArraysOf<T extends IoTypes> = { [N in keyof T]: ArrayOf[T[N]] };

export interface ExecuteOptions<O extends IoTypes> {
  /** Where outputs are written; those that are left out get new arrays. They must not share memory with anything else of the call. */
  readonly outputs?: Partial<ArraysOf<O>>;
  /** Collects what the library measures. */
  readonly profile?: Profile;
}

/**
 * A finalized graph. Inputs and outputs are typed arrays by name. Executions of one graph run one after the other; those of different graphs
 * may overlap when they are asynchronous.
 */
export class Graph<I extends IoTypes = IoTypes, O extends IoTypes = IoTypes> {
  readonly name: string;
  /** Everything that is needed to take the graph out of a context binary again; plain data. */
  readonly signature: GraphSignature;
  readonly #handle: GraphHandle;

  /** Made by GraphBuilder.finalize and Context.graph. */
  constructor(handle: GraphHandle, signature: GraphSignature) {
    this.#handle = handle;
    this.name = signature.name;
    this.signature = signature;
  }

  /**
   * Runs on the calling thread, and reads and writes the arrays in place. Throws LUTRA_INVALID_ARGUMENT, LUTRA_BUSY (an asynchronous execution of
   * this graph is under way), LUTRA_QNN_CALL, LUTRA_DISPOSED.
   */
  execute(inputs: Readonly<ArraysOf<I>>, options: ExecuteOptions<O> = {}): ArraysOf<O> {
    checkFields('execute', options, ['outputs', 'profile']);
    const given: Readonly<Record<string, unknown>> = options.outputs ?? {};
    if (typeof given !== 'object') throw new LutraError('LUTRA_INVALID_ARGUMENT', 'The outputs are not an object of typed arrays.');
    this.#refuseUnknown('output', given, this.signature.outputs);
    const outputs = this.signature.outputs.map((tensor) => {
      const length = elementsOf(tensor.dims);
      const own = given[tensor.name];
      if (own === undefined) return new QNN_DTYPES[tensor.dtype].array(length);
      checkArray(own, tensor.dtype, length, `output '${tensor.name}'`);
      return own;
    });
    loadAddon().qnn.execute(this.#handle, this.#inputs(inputs), outputs, profileHandle(options.profile));
    return this.#named(outputs);
  }

  /**
   * Runs on a thread of the graph's own. The inputs are copied before this returns. Calls may overlap; they run in the order in which they were made. Rejects as
   * {@link execute} throws; calls that had not begun when the graph was disposed of reject with LUTRA_DISPOSED.
   */
  async executeAsync(inputs: Readonly<ArraysOf<I>>, options: { readonly profile?: Profile } = {}): Promise<ArraysOf<O>> {
    checkFields('executeAsync', options, ['profile']);
    const buffers = await loadAddon().qnn.executeAsync(this.#handle, this.#inputs(inputs), profileHandle(options.profile));
    return this.#named(this.signature.outputs.map((tensor, i) => new QNN_DTYPES[tensor.dtype].array(buffers[i]!)));
  }

  /** Frees the graph's handle; see Library.dispose for what that means. */
  dispose(): void {
    loadAddon().qnn.dispose(this.#handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #inputs(inputs: Readonly<Record<string, unknown>>): TypedArray[] {
    if (typeof inputs !== 'object' || inputs === null)
      throw new LutraError('LUTRA_INVALID_ARGUMENT', 'The inputs are not an object of typed arrays.');
    this.#refuseUnknown('input', inputs, this.signature.inputs);
    return this.signature.inputs.map((tensor) => {
      const array = inputs[tensor.name];
      checkArray(array, tensor.dtype, elementsOf(tensor.dims), `input '${tensor.name}' of graph '${this.name}'`);
      return array;
    });
  }

  #refuseUnknown(what: string, given: Readonly<Record<string, unknown>>, known: readonly TensorSignature[]): void {
    const stray = Object.keys(given).find((name) => !known.some((tensor) => tensor.name === name));
    if (stray === undefined) return;
    const names = known.map(({ name }) => name).join(', ');
    throw new LutraError('LUTRA_INVALID_ARGUMENT', `Graph '${this.name}' has no ${what} '${stray}'.`, `It has: ${names || 'none'}.`);
  }

  #named(arrays: readonly TypedArray[]): ArraysOf<O> {
    return Object.fromEntries(this.signature.outputs.map((tensor, i) => [tensor.name, arrays[i]!])) as ArraysOf<O>;
  }
}
