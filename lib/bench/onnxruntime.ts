/** onnxruntime-node's MatMulNBits beside lutra's kernels, when it is installed. */
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { matMulNBitsModel } from './onnx.js';
import { nmseOf, Random } from './random.js';

/** As much of onnxruntime-node as is used. */
interface Runtime {
  InferenceSession: {
    create(
      model: Uint8Array,
      options: { intraOpNumThreads: number; interOpNumThreads: number; executionMode: 'sequential'; logSeverityLevel: 3 },
    ): Promise<Session>;
  };
  Tensor: new (type: 'float32', data: Float32Array, dims: readonly number[]) => Tensor;
}
interface Tensor {
  readonly data: Float32Array;
}
interface Session {
  run(inputs: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  release(): Promise<void>;
}

const NAME = 'onnxruntime-node';
const root = fileURLToPath(new URL('../../', import.meta.url));

/** From the benchmark's own packages, or from where the command runs; undefined when it is in neither. */
export function findRuntime(): { runtime: Runtime; version: string } | undefined {
  for (const place of [join(root, 'tests/bench'), process.cwd()]) {
    const require = createRequire(pathToFileURL(join(place, 'package.json')));
    try {
      const { version } = require(`${NAME}/package.json`) as { version: string };
      return { runtime: require(NAME) as Runtime, version };
    } catch {
      // Not here.
    }
  }
  return undefined;
}

/** Outputs of a node of the idle graph. */
const IDLE_ROWS = 16;

export interface PeerShape {
  readonly bits: number;
  readonly block: number;
  readonly rows: number;
  readonly columns: number;
  readonly n: number;
}

/** Nodes of a graph: enough to share the cost of a run, few enough for a run to fit into a slice of a busy processor's time. */
const NODES = 4;

type Weights = { codes: Uint8Array; scales: Float32Array }[];

/** Different weights, quickly made: windows into the same random bytes. */
function someWeights({ bits, block, rows, columns }: PeerShape, count: number): Weights {
  const random = new Random(17);
  const size = (rows * columns * bits) / 8;
  const groups = (rows * columns) / block;
  const codes = random.bytes(size + count);
  const scales = random.normals(groups + count).map((value) => 0.02 * value);
  return Array.from({ length: count }, (_, i) => ({ codes: codes.subarray(i, i + size), scales: scales.subarray(i, i + groups) }));
}

/** Products of one shape: graphs with weights of their own that take turns, and an idle graph that tells what a run costs besides. */
export class Peer {
  /** Of the first outputs of the first node. */
  readonly nmse: number;
  readonly #nodes: number;
  readonly #graphs: readonly Session[];
  readonly #idle: Session;
  readonly #inputs: Record<string, Tensor>;
  #turn = 0;

  private constructor(graphs: readonly Session[], idle: Session, inputs: Record<string, Tensor>, nodes: number, nmse: number) {
    this.#graphs = graphs;
    this.#idle = idle;
    this.#inputs = inputs;
    this.#nodes = nodes;
    this.nmse = nmse;
  }

  /** `products`: how many have weights of their own. */
  static async create(runtime: Runtime, shape: PeerShape, products: number, threads: number): Promise<Peer> {
    const { rows, columns, n } = shape;
    const nodes = Math.min(NODES, products);
    const weights = someWeights(shape, Math.ceil(products / nodes) * nodes);
    const session = (of: PeerShape, some: Weights) =>
      runtime.InferenceSession.create(matMulNBitsModel({ ...of, weights: some }), {
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        executionMode: 'sequential',
        logSeverityLevel: 3,
      });
    const graphs: Session[] = [];
    for (let i = 0; i < weights.length; i += nodes) graphs.push(await session(shape, weights.slice(i, i + nodes)));
    const small = { ...shape, rows: IDLE_ROWS };
    const idle = await session(small, someWeights(small, nodes));
    const x = new Random(19).normals(n * columns);
    const inputs = { x: new runtime.Tensor('float32', x, [n, columns]) };
    const y = (await graphs[0]?.run(inputs))?.y0?.data ?? new Float32Array();
    const nmse = nmseOf(y, x, columns, Math.min(rows, 64), heldBy(shape, weights));
    return new Peer(graphs, idle, inputs, nodes, nmse);
  }

  /** Microseconds of a product: a graph's time less that of the idle one, shared by its nodes. */
  async time(): Promise<number> {
    const graph = this.#graphs[this.#turn++ % this.#graphs.length] ?? this.#idle;
    const idle = await this.#run(this.#idle);
    return Math.max(0, (await this.#run(graph)) - idle) / this.#nodes;
  }

  async #run(graph: Session): Promise<number> {
    const start = performance.now();
    await graph.run(this.#inputs);
    return 1000 * (performance.now() - start);
  }

  async release(): Promise<void> {
    for (const graph of [...this.#graphs, this.#idle]) await graph.release();
  }
}

/** The value at (row, column) of the first weight. */
function heldBy({ bits, block, columns }: PeerShape, [first]: Weights): (row: number, column: number) => number {
  return (row, column) => {
    const at = row * columns + column;
    const code = ((first?.codes[Math.floor((at * bits) / 8)] ?? 0) >> ((at * bits) % 8)) & (2 ** bits - 1);
    return (code - 2 ** (bits - 1)) * (first?.scales[Math.floor(at / block)] ?? 0);
  };
}
