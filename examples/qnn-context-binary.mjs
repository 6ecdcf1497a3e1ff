// Compile once, keep the result, load it again: context binaries.
//
//   node examples/qnn-context-binary.mjs                              on the host NPU, which is part of lutra
//   node examples/qnn-context-binary.mjs /path/libQnnHtp.so 57        on Qualcomm's runtime, compiled for SoC 57 (SM8650)
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { qnn } from 'lutra';

const [path, soc] = process.argv.slice(2);
const library = qnn.Library.open(path ?? 'host');
const device = library.createBackend().createDevice(soc ? { soc: Number(soc) } : {});
const input = qnn.toF16([0.5, -1, 2, -3, 4, -5, 6, -7]);

// silu(x) = x · sigmoid(x) in half precision.
function build() {
  const context = device.createContext();
  const builder = context.createGraph('silu');
  const x = builder.input('x', { dtype: 'f16', dims: [2, 4] });
  const y = builder.output('y', x);
  const s = builder.internal('s', x);
  builder.op('Sigmoid', { inputs: [x], outputs: [s] });
  builder.op('ElementWiseMultiply', { inputs: [x, s], outputs: [y] });
  const graph = builder.finalize({ inputs: [x], outputs: [y] });
  return { context, result: graph.execute({ x: input }).y };
}

const directory = mkdtempSync(join(tmpdir(), 'lutra-example-'));
try {
  const { context, result } = build();

  // An image knows its graphs and is checked before a byte of it reaches the library.
  const imageFile = join(directory, 'silu.image');
  writeFileSync(imageFile, context.save({ key: 'example 1' }));
  const loaded = qnn.Context.load(device, readFileSync(imageFile), { key: 'example 1' });
  const silu = loaded.graph('silu', { inputs: { x: 'f16' }, outputs: { y: 'f16' } });
  const again = silu.execute({ x: input }).y;

  // A plain binary is what other QNN programs exchange; the system interface tells what is in it.
  const binary = context.binary();
  const info = library.readBinary(binary);
  const plain = qnn.Context.fromBinary(device, binary).graph('silu').execute({ x: input });

  console.log(`binary of ${binary.length} bytes, made by ${info.buildId}, interface ${info.apiVersion}`);
  for (const graph of info.graphs) {
    const describe = (tensors) => tensors.map(({ name, dtype, dims }) => `${name}: ${dtype} [${dims.join(', ')}]`).join(', ');
    console.log(`graph ${graph.name}: ${describe(graph.inputs)} -> ${describe(graph.outputs)}`);
  }
  console.log(`silu: ${Array.from(qnn.fromF16(again), (value) => value.toFixed(4)).join(' ')}`);

  const expected = Array.from(qnn.fromF16(input), (value) => value / (1 + Math.exp(-value)));
  const right = qnn.fromF16(again).every((value, i) => Math.abs(value - expected[i]) < 0.01);
  const same = again.every((bits, i) => bits === result[i] && bits === plain.y[i]);
  console.log(`built, loaded image and loaded binary agree: ${same}; right: ${right}`);
  if (!right || !same) process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true });
}
