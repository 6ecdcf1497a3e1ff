/** Runs graphs of lib/graph on QNN libraries. */
import type { NpuGraph } from '../../lib/graph/npu-graph.js';
import * as qnn from '../../lib/qnn/api/index.js';
import { addNpuGraph } from '../../lib/qnn/npu-graph.js';
import { qnnLibrary, SOC } from './helpers.js';

export type LibraryName = 'host' | 'qualcomm';

/** A library with a device. */
export class Runner {
  private readonly context: qnn.Context;
  private count = 0;

  constructor(name: LibraryName) {
    const library = name === 'host' ? qnn.Library.open('host') : qnn.Library.open(qnnLibrary);
    const backend = library.createBackend();
    const device = name === 'host' ? backend.createDevice() : backend.createDevice({ soc: SOC });
    this.context = device.createContext();
  }

  compile(graph: NpuGraph): { run(inputs: readonly ArrayLike<number>[]): ArrayLike<number>[]; dispose(): void } {
    const builder = this.context.createGraph(`g${this.count++}`);
    addNpuGraph(builder, graph);
    const compiled = builder.finalize();
    const name = (id: number): string => graph.tensors[id]!.name;
    return {
      run: (inputs) => {
        const given = Object.fromEntries(graph.inputs.map((id, i) => [name(id), inputs[i]]));
        const results: Record<string, ArrayLike<number>> = compiled.execute(given as never) as never;
        return graph.outputs.map((id) => results[name(id)]!);
      },
      dispose: () => compiled.dispose(),
    };
  }

  /** Results as they lie in memory, in the order of the graph's outputs. `inputs` in the order of the graph's. */
  run(graph: NpuGraph, inputs: readonly ArrayLike<number>[]): ArrayLike<number>[] {
    const compiled = this.compile(graph);
    try {
      return compiled.run(inputs);
    } finally {
      compiled.dispose();
    }
  }
}
