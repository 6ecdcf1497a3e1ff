/** Command lines. Each runs in a process of its own; what counts is the one JSON object that it prints, and its exit code. */
import { expect } from 'vitest';
import { lutra } from '../helpers.js';
import { type BadCase, file, made, type Outcome, place, replace, type World } from './case.js';

/** Runs a command that must fail. */
async function run(args: readonly string[], code: BadCase['code']): Promise<Outcome> {
  const result = await lutra([...args, '--json'], { LUTRA_QNN_LIBRARY: '' });
  expect(result.code, result.stderr).toBe(code === 'USAGE' ? 2 : 1);
  expect(result.stderr).not.toMatch(/\n\s+at /);
  const lines = result.stdout.trim().split('\n');
  expect(lines, result.stdout).toHaveLength(1);
  return (JSON.parse(lines[0] ?? '') as { error: Outcome }).error;
}

/** Milliseconds until a command of lutra runs at all on this machine, now. */
export async function startup(): Promise<number> {
  const start = performance.now();
  await lutra(['qnn', 'info', '--npu', 'host']);
  return performance.now() - start;
}

function command(name: string, code: BadCase['code'], says: string | RegExp, args: (world: World) => string[]): BadCase {
  return made(name, code, says, args, (line) => run(line, code));
}
const usage = (says: string | RegExp, args: (world: World) => string[], name = args.toString().replace(/^.*=> /, '')): BadCase =>
  command(`usage: ${name}`, 'USAGE', says, args);

const model = ({ files }: World): string => files.directory;
const prompt = ['--prompt', 'hello', '--max-tokens', '1', '--raw', '--npu', 'none', '--context', '64'];

const lines: BadCase[] = [
  usage("'rnu'; did you mean 'run'", () => ['rnu']),
  usage('qnn info', () => ['qnn']),
  usage('did you mean --prompt', (world) => ['run', model(world), '--promt', 'x']),
  usage('--prompt is missing', (world) => ['run', model(world)]),
  usage('needs DIR', () => ['run', '--prompt', 'x']),
  usage("does not take 'more'", (world) => ['run', model(world), 'more', '--prompt', 'x']),
  usage('--prompt needs a value', (world) => ['run', model(world), '--prompt=']),
  usage('takes no value', (world) => ['run', model(world), '--prompt', 'x', '--raw=yes']),
  usage('given twice', (world) => ['run', model(world), '--prompt', 'x', '--threads', '1', '--threads', '2']),
  usage("'two'", (world) => ['run', model(world), '--prompt', 'x', '--threads', 'two']),
  usage("'0'", (world) => ['run', model(world), '--prompt', 'x', '--threads', '0']),
  usage("'-1'", (world) => ['run', model(world), '--prompt', 'x', '--max-tokens=-1']),
  usage("'1.5'", (world) => ['run', model(world), '--prompt', 'x', '--max-tokens', '1.5']),
  usage("'1e400'", (world) => ['run', model(world), '--prompt', 'x', '--temperature', '1e400']),
  usage("'NaN'", (world) => ['run', model(world), '--prompt', 'x', '--temperature', 'NaN']),
  usage('--soc', (world) => ['run', model(world), '--prompt', 'x', '--soc', '57', '--npu', 'host']),
  usage('--beside-npu PATH', (world) => ['eval', model(world), '--text', 'x', '--beside-soc', '57']),
  usage('give all, hot, disk', (world) => ['run', model(world), '--prompt', 'x', '--shadow-residency', 'flash']),
  usage('--output is missing', (world) => ['convert', world.files.path]),
  usage('exclude each other', (world) => ['convert', world.files.path, '-o', 'x', '--cpu-only', '--precision', 'all=w8a8']),
  usage('none or rotate', (world) => ['convert', world.files.path, '-o', 'x', '--transform', 'reflect']),
  usage('recipe or max', (world) => ['convert', world.files.path, '-o', 'x', '--method', 'magic']),
  command('convert: an .mllm file alone', 'LUTRA_INVALID_ARGUMENT', 'holds tensors only', (world) => [
    'convert',
    file(world, 'a.mllm', 'x'),
    '-o',
    'x',
  ]),
  command('convert: --config with a GGUF file', 'LUTRA_INVALID_ARGUMENT', 'is no .mllm file', (world) => [
    'convert',
    world.files.path,
    '-o',
    'x',
    '--config',
    world.root,
  ]),
  usage('npu, cpu or reference', (world) => ['inspect', model(world), '--plan', 'gpu']),
  usage('stands alone', (world) => ['inspect', model(world), '--eager', '--verify']),
  usage('--text is missing', (world) => ['eval', model(world)]),
  usage('bench needs one of: bench kernels', () => ['bench']),
  usage("'4096'", () => ['bench', 'kernels', '--sizes', '4096']),
  usage("'100000x64'", () => ['bench', 'kernels', '--sizes', '64x64,100000x64']),
  usage("'64x65'", () => ['bench', 'kernels', '--sizes', '64x65']),
  usage("'0'", () => ['bench', 'kernels', '--threads', '1,0']),
  usage("''", () => ['bench', 'kernels', '--n', '1,']),
  usage("'0'", () => ['bench', 'kernels', '--rounds', '0']),
  usage('--tune sets --n', () => ['bench', 'kernels', '--tune', '--n', '2']),
];

const output = (world: World): string => place(world, 'converted');
const convert = (name: string, code: BadCase['code'], says: string | RegExp, args: (world: World) => string[]): BadCase =>
  command(`convert: ${name}`, code, says, (world) => ['convert', world.files.path, ...args(world)]);
const text = (name: string, code: BadCase['code'], says: string, make: (world: World) => string): BadCase =>
  command(`eval: ${name}`, code, says, (world) => ['eval', model(world), '--text', make(world), '--npu', 'none']);
const thing = (world: World, kind: string): string => {
  const path = place(world, 'thing');
  replace(path, kind);
  return path;
};

const calls: BadCase[] = [
  command('bench kernels: a format that is not there', 'LUTRA_INVALID_ARGUMENT', 'w5g32', () => ['bench', 'kernels', '--formats', 'w5g32']),
  command('run: a directory that is not there', 'LUTRA_NOT_FOUND', 'nowhere', ({ root }) => ['run', `${root}/nowhere`, ...prompt]),
  command('run: a GGUF file', 'LUTRA_BAD_FILE', 'is a file', ({ files }) => ['run', files.path, ...prompt]),
  command('run: a device', 'LUTRA_BAD_FILE', '/dev/zero', () => ['run', '/dev/zero', ...prompt]),
  command('run: a context that the model has not', 'LUTRA_INVALID_ARGUMENT', '1000000', (world) => [
    ...['run', model(world), '--prompt', 'x', '--context', '1000000', '--npu', 'none'],
  ]),
  command('run: a thousand threads', 'LUTRA_INVALID_ARGUMENT', '1000', (world) => ['run', model(world), ...prompt, '--threads', '1000']),
  command('run: a temperature of a billion', 'LUTRA_INVALID_ARGUMENT', '1000000000', (world) => [
    'run',
    model(world),
    ...prompt,
    '--temperature',
    '1e9',
  ]),
  command('run: top-p of 2', 'LUTRA_INVALID_ARGUMENT', 'topP', (world) => ['run', model(world), ...prompt, '--top-p', '2']),
  command('run: a prompt longer than the context', 'LUTRA_CONTEXT_FULL', '64', (world) => [
    ...['run', model(world), '--raw', '--npu', 'none', '--context', '64', '--prompt', 'a b c '.repeat(200)],
  ]),
  command('run: a library that is not there', 'LUTRA_LIBRARY_NOT_FOUND', 'libNone.so', (world) => [
    ...['run', model(world), '--prompt', 'x', '--npu', `${world.root}/libNone.so`],
  ]),
  command('qnn info: a directory', 'LUTRA_LIBRARY_NOT_FOUND', 'lutra-bad-input', ({ root }) => ['qnn', 'info', '--npu', root]),
  command('qnn info: a FIFO', 'LUTRA_LIBRARY_NOT_FOUND', 'thing', (world) => ['qnn', 'info', '--npu', thing(world, 'a FIFO')]),
  command('qnn info: no library', 'LUTRA_INVALID_ARGUMENT', 'none', () => ['qnn', 'info', '--npu', 'none']),
  command('inspect: a directory of something else', 'LUTRA_BAD_FILE', 'lutra.json', ({ root }) => ['inspect', root]),
  convert('an unknown precision', 'LUTRA_INVALID_ARGUMENT', 'w9a9', (world) => ['-o', output(world), '--precision', 'qkv=w9a9']),
  convert('a precision that gate cannot have', 'LUTRA_INVALID_ARGUMENT', 'gate', (world) => [
    '-o',
    output(world),
    '--precision',
    'gateup=w8a8s',
  ]),
  convert('a chunk of 100000', 'LUTRA_INVALID_ARGUMENT', '100000', (world) => ['-o', output(world), '--cpu-only', '--chunk', '100000']),
  convert('an output that is a file', 'LUTRA_INVALID_ARGUMENT', 'not a lutra model', (world) => [
    '-o',
    file(world, 'taken', 'x'),
    '--cpu-only',
  ]),
  convert('an output that is a FIFO', 'LUTRA_INVALID_ARGUMENT', 'not a lutra model', (world) => [
    '-o',
    thing(world, 'a FIFO'),
    '--cpu-only',
  ]),
  convert('an output in a file', 'LUTRA_IO', 'taken', (world) => ['-o', `${file(world, 'taken', 'x')}/model`, '--cpu-only']),
  convert('an output where nothing can be', 'LUTRA_IO', '/proc', () => ['-o', '/proc/none/model', '--cpu-only']),
  convert('a text that is not there', 'LUTRA_NOT_FOUND', 'none.txt', (world) => ['-o', output(world), '--text', `${world.root}/none.txt`]),
  convert('a text that is a FIFO', 'LUTRA_BAD_FILE', 'thing', (world) => ['-o', output(world), '--text', thing(world, 'a FIFO')]),
  convert('a text that is no UTF-8', 'LUTRA_BAD_FILE', 'UTF-8', (world) => [
    '-o',
    output(world),
    '--text',
    file(world, 'text', Buffer.from([0x61, 0xff])),
  ]),
  convert('an empty text', 'LUTRA_INVALID_ARGUMENT', /token/, (world) => ['-o', output(world), '--text', file(world, 'text', '')]),
  text('a text that is not there', 'LUTRA_NOT_FOUND', 'none.txt', ({ root }) => `${root}/none.txt`),
  text('a directory', 'LUTRA_BAD_FILE', 'lutra-bad-input', ({ root }) => root),
  text('a FIFO', 'LUTRA_BAD_FILE', 'thing', (world) => thing(world, 'a FIFO')),
  text('a device', 'LUTRA_BAD_FILE', '/dev/zero', () => '/dev/zero'),
  text('no UTF-8', 'LUTRA_BAD_FILE', 'UTF-8', (world) => file(world, 'text', Buffer.from([0x61, 0xff]))),
  command('eval: against a directory that is not there', 'LUTRA_NOT_FOUND', 'nowhere', (world) => [
    ...['eval', model(world), '--text', file(world, 'text', 'a b c '.repeat(400)), '--npu', 'none', '--against', `${world.root}/nowhere`],
  ]),
  text('too short a text', 'LUTRA_INVALID_ARGUMENT', '16 windows', (world) => file(world, 'text', 'too short')),
];

export const cliCases: BadCase[] = [...lines, ...calls];
