/** Builds one graph: tensors first, then nodes in an order in which every node comes after those that it reads from. */
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import { loadAddon } from '../../native/loader.js';
import type { BuilderHandle, GraphHandle, NativeNode, NativeParam, TypedArray } from '../../native/qnn-addon.js';
import type { Profile } from './device.js';
import { type ArrayOf, checkArray, type DType } from './dtype.js';
import type { Encoding, EncodingOf, KindOf } from './encoding.js';
import type { OpForms } from './forms.js';
import { Graph } from './graph.js';
import { type OpName, type OpParams, QNN_OPS, shapeOf } from './ops.js';
import { checkFields, profileHandle } from './options.js';
import { paramsBySchema, paramsByTag, type TaggedParam } from './params.js';
import { checkShapes } from './shapes.js';
import { type GraphSignature, tensorSignature } from './signature.js';
import { type Dims, elementsOf, nativeTensor, type Role, Tensor, type TensorSpec } from './tensor.js';

type ParamsField<P> = Record<never, never> extends P ? { readonly params?: P } : { readonly params: P };

/** A node of a typed op. `null` stands for an optional input that is left out. */
export type TypedNode<K extends OpName> = OpForms[K] & ParamsField<OpParams<K>> & { readonly name?: string };

/** A node of any op. */
export interface UntypedNode {
  /** Unique among the nodes of the graph; absent: made from the type. */
  readonly name?: string;
  /** QNN's name in package `qti.aisw`. */
  readonly type: string;
  /** null or undefined: an optional input that is left out. */
  readonly inputs: readonly (Tensor | null | undefined)[];
  readonly outputs: readonly Tensor[];
  readonly params?: Readonly<Record<string, TaggedParam>>;
}

/** Names and types of a list of tensors. */
export type IoOf<T extends readonly Tensor[]> = { readonly [X in T[number] as X['name']]: X['dtype'] };

export interface FinalizeOptions<I extends readonly Tensor[], O extends readonly Tensor[]> {
  /** All inputs and outputs of the graph: with them the arrays of `execute` are checked by the compiler, name by name. */
  readonly inputs?: I;
  readonly outputs?: O;
  readonly profile?: Profile;
}

/** What the builder hands on when it is done. */
export type OnFinalized = (signature: GraphSignature) => void;

export class GraphBuilder {
  readonly name: string;
  readonly #handle: BuilderHandle;
  readonly #onFinalized: OnFinalized;
  readonly #inputs: Tensor[] = [];
  readonly #outputs: Tensor[] = [];
  readonly #nodeNames = new Set<string>();

  /** Made by Context.createGraph. */
  constructor(handle: BuilderHandle, name: string, onFinalized: OnFinalized) {
    this.#handle = handle;
    this.name = name;
    this.#onFinalized = onFinalized;
  }

  /** A tensor that is given at every execution. All of these throw LUTRA_INVALID_ARGUMENT, LUTRA_UNSUPPORTED, LUTRA_QNN_CALL. */
  input<const N extends string, const D extends DType, const S extends Dims, const E extends Encoding | undefined = undefined>(
    name: N,
    spec: TensorSpec<D, S, E>,
  ): Tensor<N, D, S, KindOf<E>> {
    return this.#tensor('input', name, spec);
  }

  /** A tensor that is taken at every execution. Nodes may read it as well. */
  output<const N extends string, const D extends DType, const S extends Dims, const E extends Encoding | undefined = undefined>(
    name: N,
    spec: TensorSpec<D, S, E>,
  ): Tensor<N, D, S, KindOf<E>> {
    return this.#tensor('output', name, spec);
  }

  /** A tensor between nodes. */
  internal<const N extends string, const D extends DType, const S extends Dims, const E extends Encoding | undefined = undefined>(
    name: N,
    spec: TensorSpec<D, S, E>,
  ): Tensor<N, D, S, KindOf<E>> {
    return this.#tensor('internal', name, spec);
  }

  /** A tensor whose values are part of the graph. They are copied. */
  constant<const N extends string, const D extends DType, const S extends Dims, const E extends Encoding | undefined = undefined>(
    name: N,
    spec: TensorSpec<D, S, E> & { readonly data: ArrayOf[NoInfer<D>] },
  ): Tensor<N, D, S, KindOf<E>> {
    return this.#tensor('constant', name, spec, spec?.data);
  }

  /**
   * Adds a node of an op that {@link QNN_OPS} knows: arity, types, encodings and parameters are checked by the compiler, shapes by the library, which
   * is asked first. Throws LUTRA_INVALID_ARGUMENT, LUTRA_QNN_NODE (refused, with the reason in the library's words, or because the library was measured to get such nodes
   * wrong; the graph is as before), LUTRA_QNN_CALL.
   */
  op<K extends OpName>(type: K, node: TypedNode<K>): void {
    this.#add(this.#typed(type, node));
  }

  /** Adds a node of any op of the library, with parameters that say their types. Throws as {@link op} does. */
  node(node: UntypedNode): void {
    this.#add(this.#untyped(node));
  }

  /** Asks the library about a node and adds nothing: why it is refused, or null. What is no node at all throws LUTRA_INVALID_ARGUMENT. */
  validate<K extends OpName>(type: K, node: TypedNode<K>): LutraError | null;
  validate(node: UntypedNode): LutraError | null;
  validate<K extends OpName>(...given: [type: K, node: TypedNode<K>] | [node: UntypedNode]): LutraError | null {
    const asked = given.length === 1 ? this.#untyped(given[0]) : this.#typed(given[0], given[1]);
    try {
      loadAddon().qnn.validateNode(this.#handle, asked);
      return null;
    } catch (error) {
      if (error instanceof LutraError && error.code === 'LUTRA_QNN_NODE') return error;
      throw error;
    }
  }

  /**
   * Compiles the graph; the builder is spent afterwards. With a real library this takes from milliseconds to minutes: prefer {@link finalizeAsync}. Throws
   * LUTRA_INVALID_ARGUMENT, LUTRA_BUSY, LUTRA_QNN_CALL.
   */
  finalize<const I extends readonly Tensor[] = readonly Tensor[], const O extends readonly Tensor[] = readonly Tensor[]>(
    options: FinalizeOptions<I, O> = {},
  ): Graph<IoOf<I>, IoOf<O>> {
    this.#checkIo(options);
    return this.#finished(loadAddon().qnn.finalize(this.#handle, profileHandle(options.profile)));
  }

  /** The same on a thread of its own. Until it settles, other calls on the context throw LUTRA_BUSY. */
  async finalizeAsync<const I extends readonly Tensor[] = readonly Tensor[], const O extends readonly Tensor[] = readonly Tensor[]>(
    options: FinalizeOptions<I, O> = {},
  ): Promise<Graph<IoOf<I>, IoOf<O>>> {
    this.#checkIo(options);
    return this.#finished(await loadAddon().qnn.finalizeAsync(this.#handle, profileHandle(options.profile)));
  }

  #tensor<N extends string, D extends DType, S extends Dims, E extends Encoding | undefined>(
    role: Role,
    name: N,
    spec: TensorSpec<D, S, E>,
    data?: unknown,
  ): Tensor<N, D, S, KindOf<E>> {
    const native = nativeTensor(name, spec as TensorSpec);
    if (role === 'constant') checkArray(data, spec.dtype, elementsOf(spec.dims), `the data of tensor '${name}'`);
    const array = data as TypedArray | undefined;
    const index = loadAddon().qnn.addTensor(this.#handle, { ...native, role, ...(array ? { data: array } : {}) });
    const known = { dtype: spec.dtype, dims: Object.freeze([...spec.dims]) as Dims as S, encoding: spec.encoding as EncodingOf<KindOf<E>> };
    const tensor = new Tensor<N, D, S, KindOf<E>>(name, role, known, this, index);
    if (role === 'input') this.#inputs.push(tensor as Tensor);
    if (role === 'output') this.#outputs.push(tensor as Tensor);
    return tensor;
  }

  #typed<K extends OpName>(type: K, node: TypedNode<K>): NativeNode {
    if (!Object.hasOwn(QNN_OPS, type)) {
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `There is no typed op '${String(type)}'.`, 'Add it as an untyped node.');
    }
    checkNode(node);
    return this.#ask({ ...node, type, params: undefined }, paramsBySchema(type, QNN_OPS[type].params, node.params));
  }

  #untyped(node: UntypedNode): NativeNode {
    checkNode(node);
    return this.#ask(node, paramsByTag(node.type, node.params, shapeOf(node.type)?.params));
  }

  #ask(node: UntypedNode, params: NativeParam[]): NativeNode {
    const name = node.name ?? this.#freeName(String(node.type));
    const { inputs, outputs } = node;
    const shape = shapeOf(node.type);
    if (shape) {
      checkCount(node.type, 'inputs', inputs.length, shape.inputs);
      checkCount(node.type, 'outputs', outputs.length, shape.outputs);
      if (inputs.slice(0, shape.inputs[0]).some((tensor) => tensor == null))
        throw new LutraError('LUTRA_INVALID_ARGUMENT', `The first ${shape.inputs[0]} inputs of ${node.type} are not optional.`);
    }
    const native: NativeNode = {
      name,
      type: node.type,
      inputs: inputs.map((tensor, i) => (tensor == null ? null : Tensor.indexIn(this, tensor, `input ${i} of node '${name}'`))),
      outputs: outputs.map((tensor, i) => Tensor.indexIn(this, tensor, `output ${i} of node '${name}'`)),
      params,
    };
    if (shape?.shape) checkShapes(node.type, shape.shape, inputs as readonly Tensor[], outputs);
    // Optional inputs at the end are left out as if they had not been named.
    while (native.inputs.at(-1) === null) native.inputs.pop();
    return native;
  }

  #add(native: NativeNode): void {
    loadAddon().qnn.addNode(this.#handle, native);
    this.#nodeNames.add(native.name);
  }

  #freeName(type: string): string {
    for (let i = this.#nodeNames.size; ; i++) {
      const name = `${type}.${i}`;
      if (!this.#nodeNames.has(name)) return name;
    }
  }

  #checkIo(options: FinalizeOptions<readonly Tensor[], readonly Tensor[]>): void {
    checkFields('finalize', options, ['inputs', 'outputs', 'profile']);
    const { inputs, outputs } = options;
    for (const [what, given, own] of [
      ['inputs', inputs, this.#inputs],
      ['outputs', outputs, this.#outputs],
    ] as const) {
      if (given === undefined) continue;
      if (!Array.isArray(given) || given.length !== own.length || own.some((tensor) => !given.includes(tensor))) {
        const names = own.map(({ name }) => name).join(', ');
        throw new LutraError(
          'LUTRA_INVALID_ARGUMENT',
          `These are not the ${what} of graph '${this.name}'.`,
          `They are: ${names || 'none'}.`,
        );
      }
    }
  }

  #finished<I extends readonly Tensor[], O extends readonly Tensor[]>(handle: GraphHandle): Graph<IoOf<I>, IoOf<O>> {
    const ids = loadAddon().qnn.graphIds(handle);
    const describe = (tensors: Tensor[], numbers: number[]) =>
      tensors.map(({ name, dtype, dims, encoding }, i) => tensorSignature(numbers[i]!, name, dtype, dims, encoding));
    const signature = { name: this.name, inputs: describe(this.#inputs, ids.inputs), outputs: describe(this.#outputs, ids.outputs) };
    this.#onFinalized(signature);
    return new Graph<IoOf<I>, IoOf<O>>(handle, signature);
  }
}

function checkNode(node: unknown): void {
  const { inputs, outputs } = typeof node === 'object' && node !== null ? (node as Record<string, unknown>) : {};
  if (Array.isArray(inputs) && Array.isArray(outputs)) return;
  throw new LutraError(
    'LUTRA_INVALID_ARGUMENT',
    `${inspect(node, { depth: 0 })} is no node.`,
    'Give an object with the arrays inputs and outputs.',
  );
}

function checkCount(type: string, what: string, count: number, [least, most]: readonly [number, number]): void {
  if (count >= least && count <= most) return;
  const expected = least === most ? `${least}` : `${least} to ${most}`;
  throw new LutraError('LUTRA_INVALID_ARGUMENT', `${type} has ${expected} ${what}, not ${count}.`);
}
