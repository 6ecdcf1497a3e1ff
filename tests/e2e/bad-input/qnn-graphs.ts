/** The QNN API's graphs: tensors, encodings, nodes, finalizing and executing. On the host NPU. */
import { qnn } from '../../../lib/index.js';
import { linear, silu } from '../qnn-libraries.js';
import { type BadCase, bad } from './case.js';
import { type Objects, withObjects } from './qnn-objects.js';

const argument = (
  name: string,
  says: string | RegExp,
  use: (objects: Objects) => unknown,
  code: BadCase['code'] = 'LUTRA_INVALID_ARGUMENT',
): BadCase => bad(name, code, says, () => withObjects(use));
const build = (name: string, says: string | RegExp, use: (builder: qnn.GraphBuilder) => unknown, code?: BadCase['code']): BadCase =>
  argument(name, says, ({ context }) => use(context.createGraph('g')), code);

type Spec = qnn.TensorSpec;
const tensor = (name: string, says: string | RegExp, spec: unknown): BadCase =>
  build(name, says, (builder) => builder.input('x', spec as Spec));
const named = (what: string, says: string, name: unknown): BadCase =>
  build(`${what} for the name of a tensor`, says, (builder) => builder.input(name as string, { dtype: 'f16', dims: [1] }));
const dims = (name: string, says: string | RegExp, value: unknown): BadCase => tensor(name, says, { dtype: 'f16', dims: value });
const encoding = (name: string, says: string | RegExp, value: unknown, dtype = 'u8'): BadCase =>
  tensor(name, says, { dtype, dims: [4, 8], encoding: value });

const tensors: BadCase[] = [
  named('nothing', 'name', undefined),
  named('a number', 'name', 7),
  named('an empty text', 'empty', ''),
  named('NUL', 'NUL', 'a\0b'),
  named('a megabyte', '1024', 'n'.repeat(2 ** 20)),
  build('one name for two tensors', "'x'", (builder) => {
    builder.input('x', { dtype: 'f16', dims: [1] });
    builder.output('x', { dtype: 'f16', dims: [1] });
  }),
  tensor('no description', 'description', undefined),
  tensor('null for a description', 'description', null),
  tensor('no type', 'undefined', { dims: [1] }),
  tensor('an unknown type', 'f8', { dtype: 'f8', dims: [1] }),
  tensor('a type named as a built-in property', 'valueOf', { dtype: 'valueOf', dims: [1] }),
  tensor('a type that is a number', '7', { dtype: 7, dims: [1] }),
  dims('no dims', 'dims', undefined),
  dims('dims that are a number', 'dims', 8),
  dims('dims that are a text', 'dims', '8'),
  dims('no dimensions', '0 dimensions', []),
  dims('nine dimensions', '9 dimensions', [1, 1, 1, 1, 1, 1, 1, 1, 1]),
  dims('a hundred thousand dimensions', '100000 dimensions', new Array(100_000).fill(1)),
  dims('a dimension of 0', /dimension|0/, [4, 0]),
  dims('a negative dimension', '-4', [-4, 8]),
  dims('a dimension with a fraction', '1.5', [1.5]),
  dims('a dimension of NaN', /nan/i, [Number.NaN]),
  dims('a dimension of 2^32', '4294967296', [2 ** 32]),
  dims('a dimension that is a text', 'dims[0]', ['8']),
  dims('dimensions that overflow', /large|bytes|elements|overflow/, [65_536, 65_536, 65_536, 65_536]),
  dims('dimensions of 2^31', /large|bytes|elements|overflow/, [2 ** 31, 2 ** 31]),
  tensor('fixed point without an encoding', 'encoding', { dtype: 'u8', dims: [4] }),
  tensor('an encoding of floats', 'no encoding', { dtype: 'f16', dims: [4], encoding: qnn.scaleOffset(1) }),
  encoding('an encoding that is a number', '7', 7),
  encoding('an encoding that is null', 'null', null),
  encoding('an encoding of an unknown kind', 'log', { kind: 'log' }),
  encoding('a scale of 0', 'scale', qnn.scaleOffset(0)),
  encoding('a negative scale', 'scale', qnn.scaleOffset(-1)),
  encoding('a scale of NaN', 'scale', qnn.scaleOffset(Number.NaN)),
  encoding('a scale of infinity', 'scale', qnn.scaleOffset(Number.POSITIVE_INFINITY)),
  encoding('a scale beyond F32', 'scale', qnn.scaleOffset(1e300)),
  encoding('a scale that F32 has as 0', 'scale', qnn.scaleOffset(1e-60)),
  encoding('a scale that is a text', 'scale', qnn.scaleOffset('1' as unknown as number)),
  encoding('an offset with a fraction', 'offset', qnn.scaleOffset(1, 0.5)),
  encoding('an offset of 2^40', 'offset', qnn.scaleOffset(1, 2 ** 40)),
  encoding('an offset without zero', 'offset', qnn.scaleOffset(1, 5)),
  encoding('scales that are no array', 'scales', { kind: 'axis', axis: 0, scales: 'x' }),
  encoding('scales of doubles', 'scales', { kind: 'axis', axis: 0, scales: new Float64Array(4) }),
  encoding('a negative scale on an axis', 'scale', qnn.axis(0, [1, 1, -1, 1]), 's8'),
  encoding('too few scales', /scales/, qnn.axis(0, [1, 1]), 's8'),
  encoding('an axis beyond the rank', 'axis', qnn.axis(5, [1, 1, 1, 1]), 's8'),
  encoding('a negative axis', 'axis', qnn.axis(-1, [1, 1, 1, 1]), 's8'),
  encoding('offsets of another number', 'offsets', qnn.axis(0, [1, 1, 1, 1], [0, 0]), 's8'),
  encoding('0 bits', 'bits', qnn.bitwidth(0, 1), 's8'),
  encoding('99 bits', 'bits', qnn.bitwidth(99, 1), 's8'),
  encoding('a block scale of 0', 'block scale', qnn.blockwise(0, [1, 1, 1, 1], new Uint8Array(8), 2), 's8'),
  encoding('too few block scales', /block/, qnn.blockwise(0, [1, 1, 1, 1], new Uint8Array(3).fill(1), 2), 's8'),
  bad('a range upside down', 'LUTRA_INVALID_ARGUMENT', '1 … -1', () => qnn.rangeEncoding('u8', 1, -1)),
  bad('a range of NaN', 'LUTRA_INVALID_ARGUMENT', 'NaN', () => qnn.rangeEncoding('u8', Number.NaN, 1)),
  bad('a range for floats', 'LUTRA_INVALID_ARGUMENT', 'f16', () => qnn.rangeEncoding('f16' as 'u8', -1, 1)),
  bad('values that do not fit their scales', 'LUTRA_INVALID_ARGUMENT', '3 values', () =>
    qnn.quantize([1, 2, 3], 's8', qnn.axis(0, [1, 1]), [2, 2]),
  ),
  bad('values to quantise to floats', 'LUTRA_INVALID_ARGUMENT', 'f32', () => qnn.quantize([1], 'f32' as 'u8', qnn.scaleOffset(1))),
  bad('channels of a dimension that is not there', 'LUTRA_INVALID_ARGUMENT', 'dimension 5', () => qnn.channelScales([1, 2], [2], 5)),
];

const detached = (): Uint16Array => {
  const array = new Uint16Array(4);
  structuredClone(array.buffer, { transfer: [array.buffer] });
  return array;
};
const constant = (name: string, says: string, data: unknown): BadCase =>
  build(name, says, (builder) => builder.constant('w', { dtype: 'f16', dims: [4], data: data as Uint16Array }));

const constants: BadCase[] = [
  constant('no data', 'undefined', undefined),
  constant('null for data', 'null', null),
  constant('a list for data', 'Uint16Array', [1, 2, 3, 4]),
  constant('data of another type', 'Float32Array', new Float32Array(4)),
  constant('too little data', '3 elements', new Uint16Array(3)),
  constant('too much data', '5 elements', new Uint16Array(5)),
  constant('detached data', '0 elements', detached()),
];

/** x and y of one shape in a graph of their own. */
const unary = (
  name: string,
  says: string | RegExp,
  use: (builder: qnn.GraphBuilder, x: qnn.Tensor, y: qnn.Tensor) => unknown,
  code?: BadCase['code'],
): BadCase =>
  build(
    name,
    says,
    (builder) => {
      const x = builder.input('x', { dtype: 'f16', dims: [2, 8] });
      return use(builder, x as qnn.Tensor, builder.output('y', { dtype: 'f16', dims: [2, 8] }) as qnn.Tensor);
    },
    code,
  );
const node = (name: string, says: string | RegExp, make: (x: qnn.Tensor, y: qnn.Tensor) => unknown, code?: BadCase['code']): BadCase =>
  unary(name, says, (builder, x, y) => builder.node(make(x, y) as qnn.UntypedNode), code);
const param = (name: string, says: string | RegExp, params: unknown): BadCase =>
  node(name, says, (x, y) => ({ type: 'ReduceSum', inputs: [x], outputs: [y], params }));

const nodes: BadCase[] = [
  unary('an op that is none', "'Magic'", (builder, x, y) => builder.op('Magic' as 'Relu', { inputs: [x], outputs: [y] } as never)),
  unary('an op named as a built-in property', "'toString'", (builder, x, y) =>
    builder.op('toString' as 'Relu', { inputs: [x], outputs: [y] } as never),
  ),
  node('no node', 'undefined', () => undefined),
  node('a node of null', 'null', () => null),
  node('a node without inputs', 'node', (_x, y) => ({ type: 'Relu', outputs: [y] })),
  node('a node without a type', 'type', (x, y) => ({ inputs: [x], outputs: [y] })),
  node('a node with an empty type', 'type', (x, y) => ({ type: '', inputs: [x], outputs: [y] })),
  node('a type with NUL', 'NUL', (x, y) => ({ type: 'Re\0lu', inputs: [x], outputs: [y] })),
  node('an op that the library has not', 'NoSuchOp', (x, y) => ({ type: 'NoSuchOp', inputs: [x], outputs: [y] }), 'LUTRA_QNN_NODE'),
  node(
    'a node of another op package',
    'other.package',
    (x, y) => ({ type: 'other.package::Relu', inputs: [x], outputs: [y] }),
    'LUTRA_QNN_NODE',
  ),
  node('a number for a tensor', 'input 0', (_x, y) => ({ type: 'Relu', inputs: [7], outputs: [y] })),
  node('a name for a tensor', 'input 0', (_x, y) => ({ type: 'Relu', inputs: ['x'], outputs: [y] })),
  node('no tensor where one must be', 'not optional', (_x, y) => ({ type: 'Relu', inputs: [null], outputs: [y] })),
  node('no inputs', '1 inputs', (_x, y) => ({ type: 'Relu', inputs: [], outputs: [y] })),
  node('no outputs', '1 outputs', (x) => ({ type: 'Relu', inputs: [x], outputs: [] })),
  node('too many inputs', '1 inputs', (x, y) => ({ type: 'Relu', inputs: [x, x], outputs: [y] })),
  node('ten thousand inputs', '10000', (x, y) => ({ type: 'NoSuchOp', inputs: new Array(10_000).fill(x), outputs: [y] })),
  node('a name that is a number', 'name', (x, y) => ({ name: 7, type: 'Relu', inputs: [x], outputs: [y] })),
  unary('a tensor of another graph', "'z'", (builder, _x, y) =>
    withObjects(({ context }) => {
      const z = context.createGraph('other').input('z', { dtype: 'f16', dims: [2, 8] });
      builder.op('Relu', { inputs: [z], outputs: [y] } as never);
    }),
  ),
  unary('shapes that do not go together', 'shapes', (builder, x, y) => {
    const z = builder.input('z', { dtype: 'f16', dims: [3, 8] });
    builder.op('ElementWiseAdd', { inputs: [x, z], outputs: [y] } as never);
  }),
  unary(
    'types that do not go together',
    'Relu',
    (builder, x) =>
      builder.node({ type: 'Relu', inputs: [x], outputs: [builder.output('z', { dtype: 'f32', dims: [2, 8] }) as qnn.Tensor] }),
    'LUTRA_QNN_NODE',
  ),
  unary('an output that is written twice', /'y'|second|twice|written/, (builder, x, y) => {
    builder.node({ name: 'a', type: 'Relu', inputs: [x], outputs: [y] });
    builder.node({ name: 'b', type: 'Relu', inputs: [x], outputs: [y] });
  }),
  unary('an input that is written', "'x'", (builder, x) => builder.node({ type: 'Relu', inputs: [x], outputs: [x] })),
  unary('one name for two nodes', "'a'", (builder, x, y) => {
    const z = builder.output('z', { dtype: 'f16', dims: [2, 8] }) as qnn.Tensor;
    builder.node({ name: 'a', type: 'Relu', inputs: [x], outputs: [y] });
    builder.node({ name: 'a', type: 'Relu', inputs: [x], outputs: [z] });
  }),
  param('a parameter that is missing', 'axes', {}),
  param('parameters that are a text', 'Parameter', 'axes'),
  param('a parameter without a type', 'axes', { axes: 1 }),
  param('a parameter of an unknown type', 'axes', { axes: { u9s: [1] } }),
  param('a parameter of two types', 'axes', { axes: { u32s: [1], i32s: [1] } }),
  param('a parameter of another type', 'axes', { axes: { f32s: [1] } }),
  param('a parameter that is negative', 'axes', { axes: { u32s: [-1] } }),
  param('a parameter of NaN', 'axes', { axes: { u32s: [Number.NaN] } }),
  param('a parameter of 2^40', 'axes', { axes: { u32s: [2 ** 40] } }),
  param('rows of different lengths', 'axes', { axes: { u32s: [[1], [1, 2]] } }),
  param('dims that are not the values', 'axes', { axes: { u32s: { dims: [3], values: [1] } } }),
  param('no values', /axes|dimension/, { axes: { u32s: [] } }),
  param('a flag that is a number', 'keep_dims', { axes: { u32s: [1] }, keep_dims: { bool: 1 } }),
  param('a parameter with NUL in its name', 'NUL', { axes: { u32s: [1] }, 'a\0b': { u32: 1 } }),
];

const ends: BadCase[] = [
  build('an empty graph', /node|output|empty/, (builder) => builder.finalize()),
  unary('a graph whose output nothing writes', 'no nodes', (builder) => builder.finalize()),
  unary('other inputs for finalize', 'inputs', (builder, x, y) => {
    builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
    builder.finalize({ inputs: [y] });
  }),
  unary('null for finalize', 'null', (builder, x, y) => {
    builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
    builder.finalize(null as unknown as object);
  }),
  unary('a profile that is none', 'profile', (builder, x, y) => {
    builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
    builder.finalize({ profile: {} as qnn.Profile });
  }),
  unary(
    'finalize for the second time',
    'disposed',
    (builder, x, y) => {
      builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
      builder.finalize();
      builder.finalize();
    },
    'LUTRA_DISPOSED',
  ),
  unary(
    'a node after finalize',
    'disposed',
    (builder, x, y) => {
      builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
      builder.finalize();
      builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
    },
    'LUTRA_DISPOSED',
  ),
  unary(
    'a tensor after finalize',
    'disposed',
    (builder, x, y) => {
      builder.node({ type: 'Relu', inputs: [x], outputs: [y] });
      builder.finalize();
      builder.input('z', { dtype: 'f16', dims: [1] });
    },
    'LUTRA_DISPOSED',
  ),
  argument(
    'a binary before everything is finalized',
    'contextGetBinary',
    ({ context }) => {
      silu(context);
      linear(context);
      context.binary();
    },
    'LUTRA_QNN_CALL',
  ),
];

const X = (): Uint16Array => new Uint16Array(16);
/** Executes silu's graph synchronously and not. */
const execute = (name: string, says: string | RegExp, inputs: unknown, options: unknown = {}, code?: BadCase['code']): BadCase[] => [
  argument(name, says, ({ context }) => silu(context).execute(inputs as { x: Uint16Array }, options as object), code),
  argument(
    `${name}, asynchronously`,
    says,
    ({ context }) => silu(context).executeAsync(inputs as { x: Uint16Array }, options as object),
    code,
  ),
];
const output = (name: string, says: string | RegExp, outputs: unknown): BadCase =>
  argument(name, says, ({ context }) => silu(context).execute({ x: X() }, { outputs } as object));
const shared = new ArrayBuffer(64);

const executions: BadCase[] = [
  ...execute('an execution without inputs', 'inputs', undefined),
  ...execute('null for inputs', 'inputs', null),
  ...execute('a list of inputs', /'0'|list/, [X()]),
  ...execute('an input that is missing', "'x'", {}),
  ...execute('an input that the graph has not', "'z'", { x: X(), z: X() }),
  ...execute('an input of another type', 'Float32Array', { x: new Float32Array(16) }),
  ...execute('an input that is a list', 'Uint16Array', { x: new Array(16).fill(0) }),
  ...execute('an input that is too short', '15 elements', { x: new Uint16Array(15) }),
  ...execute('an input that is too long', '1000000 elements', { x: new Uint16Array(1_000_000) }),
  ...execute('a detached input', '0 elements', { x: detached() }),
  ...execute('null for execute options', 'null', { x: X() }, null),
  ...execute('a profile that is no profile', 'profile', { x: X() }, { profile: { handle: 7 } }),
  output('an output that the graph has not', "'z'", { z: X() }),
  output('outputs that are a text', 'outputs', 'y'),
  output('an output of another type', 'Uint8Array', { y: new Uint8Array(16) }),
  output('an output that is too short', '3 elements', { y: new Uint16Array(3) }),
  output('a detached output', '0 elements', { y: detached() }),
  argument('an output in the memory of an input', 'shares memory', ({ context }) =>
    silu(context).execute({ x: new Uint16Array(shared, 0, 16) }, { outputs: { y: new Uint16Array(shared, 16, 16) } }),
  ),
  argument(
    'an execution after disposal',
    'disposed',
    ({ context }) => {
      const graph = silu(context);
      graph.dispose();
      return graph.execute({ x: X() });
    },
    'LUTRA_DISPOSED',
  ),
  argument(
    'an asynchronous execution after disposal',
    'disposed',
    ({ context }) => {
      const graph = silu(context);
      graph.dispose();
      return graph.executeAsync({ x: X() });
    },
    'LUTRA_DISPOSED',
  ),
];

export const qnnGraphCases: BadCase[] = [...tensors, ...constants, ...nodes, ...ends, ...executions];
