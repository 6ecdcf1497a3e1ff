/** The program of a self-test: opens one library, runs the golden graphs, keeps them in a binary, takes them out again, frees everything. It may crash or hang at any point. */
import { LutraError } from '../../graph/errors.js';
import type { GraphBuilder } from '../api/builder.js';
import { Context } from '../api/context.js';
import { type Device, Library } from '../api/device.js';
import type { Graph } from '../api/graph.js';
import { fromF16 } from '../api/values.js';
import { GOLDEN_GRAPHS, type GoldenGraph, goldenInput, relativeError } from './golden.js';
import type { Reply, Request } from './protocol.js';

/** Resolves when the parent has it. */
function say(reply: Reply): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(reply, undefined, {}, (error: Error | null) => (error ? reject(error) : resolve()));
  });
}

async function step<T>(what: string, work: () => T): Promise<T> {
  await say({ step: what });
  return work();
}

/** Numbers that are not what they should be. */
class WrongNumbers extends Error {}

const execute = (graph: Graph, n: number): Uint16Array => graph.execute({ x: goldenInput(n) }).y as Uint16Array;

/** False when the library refuses one of the nodes, which it may: not every device computes in every type. */
async function describe(golden: GoldenGraph, builder: GraphBuilder): Promise<boolean> {
  try {
    await step(`building the golden graph '${golden.name}'`, () => golden.build(builder));
    return true;
  } catch (error) {
    if (error instanceof LutraError && error.code === 'LUTRA_QNN_NODE') return false;
    throw error;
  }
}

/** The graph out of the library's own binary gives the same bits. */
async function roundTrip(device: Device, context: Context, { name }: GoldenGraph, expected: Uint16Array): Promise<void> {
  let image: Uint8Array;
  try {
    image = await step(`writing a context binary of '${name}'`, () => context.save());
  } catch (error) {
    if (error instanceof LutraError && error.code === 'LUTRA_UNSUPPORTED') return; // done without: every start compiles
    throw error;
  }
  const restored = await step(`reading a context binary of '${name}'`, () => Context.load(device, image));
  const graph = await step(`taking '${name}' out of a context binary`, () => restored.graph(name));
  const found = await step(`executing '${name}' out of a context binary`, () => execute(graph, 0));
  if (!found.every((bits, i) => bits === expected[i]))
    throw new WrongNumbers(`the golden graph '${name}' computes something else when it comes out of a context binary`);
  await free(graph, restored);
}

async function free(...objects: ({ dispose(): void } | null)[]): Promise<void> {
  await step('freeing', () => {
    for (const object of objects) object?.dispose();
  });
}

/** Whether the library took the graph; throws when it computes something else. */
async function run(device: Device, golden: GoldenGraph): Promise<boolean> {
  const { name, bound } = golden;
  const context = await step('making a context', () => device.createContext());
  const builder = context.createGraph(name);
  if (!(await describe(golden, builder))) {
    await free(context);
    return false;
  }
  const graph = await step(`compiling the golden graph '${name}'`, () => builder.finalize());
  // Twice, so that results that are never written do not pass for the answer.
  const outputs = [];
  for (const n of [0, 1]) {
    const found = await step(`executing the golden graph '${name}'`, () => execute(graph, n));
    outputs.push(found);
    const error = relativeError(fromF16(found), golden.expected(fromF16(goldenInput(n))));
    if (!(error <= bound))
      throw new WrongNumbers(`the golden graph '${name}' has a relative error of ${error.toPrecision(3)}, at most ${bound} is right`);
  }
  await roundTrip(device, context, golden, outputs[0]!);
  await free(graph, context);
  return true;
}

async function test({ path, soc }: Request): Promise<Reply> {
  const library = await step('loading the library', () => Library.open(path));
  const backend = await step('starting the backend', () => library.createBackend());
  const device = await step('opening the device', () => backend.createDevice(soc === undefined ? {} : { soc }));
  const vote = await step('asking for power', () => device.boost());
  let taken = 0;
  for (const golden of GOLDEN_GRAPHS) if (await run(device, golden)) taken++;
  if (taken === 0)
    throw new LutraError(
      'LUTRA_QNN_NODE',
      `The library ${path} refuses every golden graph.`,
      'Use another release of it, or the host NPU.',
    );
  await free(vote, device, backend);
  const { source: _, ...info } = library.info;
  return { passed: info };
}

process.on('message', (request: Request) => {
  test(request)
    .catch((error: unknown): Reply => {
      if (error instanceof WrongNumbers) return { wrong: error.message };
      const { code, message, remedy } = error instanceof LutraError ? error : new LutraError('LUTRA_INTERNAL', String(error));
      return { failed: { code, message, remedy } };
    })
    .then(say);
});
// The parent is gone.
process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
