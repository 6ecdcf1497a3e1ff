/** Lays out what a device needs to run lutra: this package, its native part and its dependencies, without npm. */
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeError } from '../files/write.js';
import { LutraError } from '../graph/errors.js';

const packageRoot = fileURLToPath(new URL('../../', import.meta.url));
/** What of the package is needed to run it; the native part is one of the last two. */
const PARTS = ['package.json', 'dist', 'lib/qnn/matrix', 'prebuilds', 'build/Release/lutra.node'] as const;

/** The folder of an installed package, found from another one. */
function packageFolder(name: string, from: string): string {
  const paths = createRequire(join(from, 'package.json')).resolve.paths(name) ?? [];
  const found = paths.map((path) => join(path, name)).find((folder) => existsSync(join(folder, 'package.json')));
  if (found === undefined)
    throw new LutraError('LUTRA_NOT_FOUND', `The package ${name}, which lutra needs, is not installed.`, 'Run npm install.');
  return found;
}

/** Folders of all packages that one needs to run, by name. */
async function dependenciesOf(folder: string, found: Map<string, string> = new Map()): Promise<Map<string, string>> {
  const { dependencies = {} } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as {
    dependencies?: Record<string, string>;
  };
  for (const name of Object.keys(dependencies)) {
    if (found.has(name)) continue;
    const own = packageFolder(name, folder);
    found.set(name, own);
    await dependenciesOf(own, found);
  }
  return found;
}

/** Copies all of it below `target`, which is made. Throws LUTRA_IO, LUTRA_NOT_FOUND. */
export async function stagePackage(target: string): Promise<void> {
  try {
    await copyPackage(target);
  } catch (error) {
    throw writeError(target, error);
  }
}

async function copyPackage(target: string): Promise<void> {
  await mkdir(target, { recursive: true });
  for (const part of PARTS) {
    const from = join(packageRoot, part);
    if (!existsSync(from)) continue;
    await mkdir(dirname(join(target, part)), { recursive: true });
    await cp(from, join(target, part), { recursive: true });
  }
  for (const [name, folder] of await dependenciesOf(packageRoot)) {
    // Nested ones have an entry of their own.
    const filter = (path: string) => !path.slice(folder.length).includes('node_modules');
    await cp(folder, join(target, 'node_modules', name), { recursive: true, filter });
  }
}
