/**
 * Builds the addon from the sources of the package, for machines that no prebuilt binary fits: with CMake, or with the node-gyp that npm carries. The result lies in
 * build/Release, where node-gyp-build looks first. Nothing calls this at install; `lutra build` does.
 */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, totalmem } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { LutraError } from '../graph/errors.js';

export const BUILD_TOOLS = ['cmake', 'node-gyp'] as const;
export type BuildTool = (typeof BUILD_TOOLS)[number];

export interface BuildOptions {
  /** Folder of the package. */
  readonly root: string;
  /** Default: CMake where there is one, else node-gyp. */
  readonly tool?: BuildTool;
  /** Compilers at the same time. Default: one a processor, but no more than there is memory for. */
  readonly jobs?: number;
  /** One line before each step. */
  readonly onStep?: (line: string) => void;
}

/** Most memory that compiling one file takes. */
const BYTES_PER_JOB = 1e9;
const HEADERS = ['node-addon-api', 'node-api-headers'] as const;

interface Step {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
}

/** Output goes to standard error as it comes: a phone compiles for minutes. */
function runStep({ command, args, env = process.env }: Step, root: string, what: string): void {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', process.stderr.fd, process.stderr.fd] });
  if (status === 0) return;
  const how = error ? error.message : signal ? `ended by ${signal}` : `exit code ${status}`;
  throw new LutraError('LUTRA_UNSUPPORTED', `${what} failed: ${how}.`, 'The lines above this one say why.', { cause: error });
}

function ask(command: string, args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

const works = (command: string): boolean => ask(command, ['--version']).status === 0;

/** npm as node is told to run it: the one that runs us, else the one of the path. */
function npm(...args: string[]): Step {
  const script = process.env.npm_execpath;
  if (script !== undefined && /\bnp[mx]-cli\.js$/.test(script) && existsSync(script))
    return { command: process.execPath, args: [join(dirname(script), 'npm-cli.js'), ...args] };
  return { command: 'npm', args };
}

/** node-gyp as npm brings it. */
function nodeGyp(): string {
  const { command, args } = npm('root', '--global');
  const found = [
    ...(process.env.npm_execpath === undefined ? [] : [join(dirname(process.env.npm_execpath), '..', 'node_modules')]),
    join(ask(command, args).stdout?.trim() ?? '', 'npm', 'node_modules'),
  ]
    .map((modules) => join(modules, 'node-gyp', 'bin', 'node-gyp.js'))
    .find((file) => existsSync(file));
  if (found !== undefined) return found;
  throw new LutraError(
    'LUTRA_NOT_FOUND',
    'There is neither CMake nor an npm with node-gyp in it.',
    'Install CMake (Termux: pkg install cmake).',
  );
}

function tool({ tool }: BuildOptions): BuildTool {
  const cmake = works('cmake');
  if (tool === 'cmake' && !cmake)
    throw new LutraError('LUTRA_NOT_FOUND', 'There is no CMake.', 'Install it (Termux: pkg install cmake), or use node-gyp.');
  if (!['c++', 'g++', 'clang++', process.env.CXX ?? ''].some((command) => command !== '' && works(command)))
    throw new LutraError(
      'LUTRA_NOT_FOUND',
      'There is no C++ compiler.',
      'Install one (Termux: pkg install clang make; Debian: apt install g++ make).',
    );
  return tool ?? (cmake ? 'cmake' : 'node-gyp');
}

/** NODE_PATH with the headers in it: those beside the package where it is developed, else fetched in the versions that it is developed with. */
function headers({ root, onStep }: BuildOptions): NodeJS.ProcessEnv {
  const local = createRequire(join(root, 'package.json'));
  try {
    for (const name of HEADERS) local.resolve(name);
    return process.env;
  } catch {
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { devDependencies: Record<string, string> };
    const wanted = HEADERS.map((name) => `${name}@${devDependencies[name]}`);
    const into = join(root, 'build', 'headers');
    onStep?.(`fetching ${wanted.join(' and ')}`);
    // A package.json of its own, or npm would look for one in the folders above.
    mkdirSync(into, { recursive: true });
    runStep(
      npm('install', '--prefix', into, '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...wanted),
      root,
      'Fetching headers',
    );
    return { ...process.env, NODE_PATH: [join(into, 'node_modules'), process.env.NODE_PATH].filter(Boolean).join(delimiter) };
  }
}

function commands(using: BuildTool, env: NodeJS.ProcessEnv, { root, jobs }: BuildOptions): Step[] {
  const parallel = String(jobs ?? Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_JOB))));
  switch (using) {
    case 'cmake': {
      const include = spawnSync(process.execPath, ['-p', "require('node-api-headers').include_dir"], {
        cwd: root,
        env,
        encoding: 'utf8',
      }).stdout.trim();
      return [
        { command: 'cmake', args: ['-S', root, '-B', join(root, 'build'), '-DCMAKE_BUILD_TYPE=Release', `-DCMAKE_JS_INC=${include}`], env },
        { command: 'cmake', args: ['--build', join(root, 'build'), '--target', 'lutra', '--parallel', parallel], env },
      ];
    }
    case 'node-gyp':
      return [{ command: process.execPath, args: [nodeGyp(), 'configure', 'build', '--release', '--jobs', parallel], env }];
    default:
      return using satisfies never;
  }
}

/**
 * Builds and loads the addon once, in a process of its own. Returns the path of it. Throws LUTRA_NOT_FOUND (no tools), LUTRA_UNSUPPORTED (a step failed; its own output is
 * on standard error).
 */
export function buildAddon(options: BuildOptions): string {
  const { root, onStep } = options;
  const using = tool(options);
  const env = headers(options);
  const steps = commands(using, env, options);
  onStep?.(`building in ${join(root, 'build')} with ${using}`);
  for (const step of steps) runStep(step, root, 'The build');
  const addon = join(root, 'build', 'Release', 'lutra.node');
  runStep({ command: process.execPath, args: ['-e', 'require(process.argv[1])', addon] }, root, `Loading ${addon}`);
  return addon;
}
