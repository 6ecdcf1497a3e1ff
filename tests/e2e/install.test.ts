/**
 * The packed tarball in an empty project, as its users meet it: no script runs, npm 12 has nothing to warn of, the addon is found, on Node.js 20, 22 and 24. The tarball has the addon that
 * was built here as this machine's prebuilt one, unless scripts/prebuild has made it.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root } from './helpers.js';

const run = promisify(execFile);
const brought = join(root, 'tests/prebuild/node_modules');
const NODES: Record<string, string> = {
  20: process.execPath,
  22: join(brought, 'node22/bin/node'),
  24: join(brought, 'node24/bin/node'),
};

let folder: string;
let tarball: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lutra-install-'));
  const stage = join(folder, 'stage');
  const pack = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root });
  const [packed] = JSON.parse(pack.stdout) as { files: { path: string }[] }[];
  for (const { path } of packed?.files ?? []) {
    await mkdir(dirname(join(stage, path)), { recursive: true });
    await cp(join(root, path), join(stage, path));
  }
  const prebuilt = join(stage, 'prebuilds', `${process.platform}-${process.arch}`);
  if ((await readdir(prebuilt).catch(() => [])).length === 0) {
    await mkdir(prebuilt, { recursive: true });
    await run('strip', ['-o', join(prebuilt, 'lutra.napi.glibc.node'), join(root, 'build/Release/lutra.node')]);
  }
  const { stdout } = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', folder], { cwd: stage });
  const [made] = JSON.parse(stdout) as { filename: string }[];
  tarball = join(folder, made?.filename ?? '');
  // What it depends on comes into npm's cache.
  await mkdir(join(folder, 'first'));
  await run('npm', ['install', tarball, '--prefix', join(folder, 'first'), '--ignore-scripts', '--no-audit', '--no-fund']);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function bytesBelow(directory: string): Promise<number> {
  let total = 0;
  for (const entry of await readdir(directory, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) total += (await stat(join(entry.parentPath ?? entry.path, entry.name))).size;
  return total;
}

/** What npm is told besides: of this machine's settings only where packages come from and are kept. */
async function settings(): Promise<NodeJS.ProcessEnv> {
  const get = async (name: string) => (await run('npm', ['config', 'get', name])).stdout.trim();
  const env = Object.entries(process.env).filter(([name]) => !/^npm_config_/i.test(name));
  const [registry, cache] = [await get('registry'), await get('cache')];
  return {
    ...Object.fromEntries(env),
    npm_config_registry: registry,
    npm_config_cache: cache,
    npm_config_userconfig: join(folder, 'npmrc'),
  };
}

/** An empty project with the tarball in it, from a warm cache: by npm 12 where Node.js runs it, else by the npm of this machine. */
async function install(version: string): Promise<{ project: string; said: string }> {
  const project = join(folder, `project-${version}`);
  await mkdir(project);
  await writeFile(join(project, 'package.json'), '{ "name": "project", "private": true }');
  const npm = version === '20' ? ['npm'] : [NODES[version] ?? '', join(brought, 'npm/bin/npm-cli.js')];
  const [program = '', ...args] = [...npm, 'install', tarball, '--no-audit', '--no-fund', '--offline'];
  const { stdout, stderr } = await run(program, args, { cwd: project, env: await settings() });
  return { project, said: stdout + stderr };
}

describe.each(Object.keys(NODES))('on Node.js %s', (version) => {
  it('installs without a warning and without a script, and answers', async () => {
    const { project, said } = await install(version);
    expect(said).not.toMatch(/warn|script/i);
    expect(said).toMatch(/^added \d+ packages/m);
    const modules = join(project, 'node_modules');
    expect(await bytesBelow(join(modules, 'lutra'))).toBeLessThan(15e6);
    const { dependencies, scripts } = JSON.parse(await readFile(join(modules, 'lutra/package.json'), 'utf8')) as {
      dependencies: Record<string, string>;
      scripts: Record<string, string>;
    };
    expect(Object.keys(dependencies).length).toBeLessThanOrEqual(5);
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare']) expect(scripts).not.toHaveProperty(name);
    const code = "import { kernels } from 'lutra'; console.log(process.versions.node.split('.')[0], kernels.list().length > 1);";
    const { stdout } = await run(NODES[version] ?? '', ['--input-type=module', '-e', code], { cwd: project });
    expect(stdout).toBe(`${version} true\n`);
    const help = await run(NODES[version] ?? '', [join(modules, '.bin/lutra'), '--help'], { cwd: project });
    expect(help.stdout).toMatch(/^lutra runs LLM decoders/);
  });
});

describe('the tarball', () => {
  it('is clean for publint and attw', async () => {
    const publint = await run(process.execPath, [join(brought, 'publint/src/cli.js'), tarball, '--strict'], { cwd: folder });
    expect(publint.stdout).toMatch(/All good!/);
    const attw = await run(process.execPath, [
      join(brought, '@arethetypeswrong/cli/dist/index.js'),
      tarball,
      '--profile',
      'esm-only',
      '--format',
      'json',
    ]);
    expect(JSON.parse(attw.stdout)).toMatchObject({ analysis: { types: { kind: 'included' } } });
  });
});
