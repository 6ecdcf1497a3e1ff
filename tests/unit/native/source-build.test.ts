/** What `lutra build` runs, with programs in the place of CMake and node-gyp that note what they are asked for. */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { buildAddon } from '../../../lib/native/source-build.js';

const source = fileURLToPath(new URL('../../../', import.meta.url));
let root: string;

function write(file: string, text: string): void {
  mkdirSync(dirname(join(root, file)), { recursive: true });
  writeFileSync(join(root, file), text);
  chmodSync(join(root, file), 0o755);
}

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'lutra-build-'));
  cpSync(join(source, 'package.json'), join(root, 'package.json'));
  symlinkSync(join(source, 'node_modules'), join(root, 'node_modules'));
  const make = `mkdir -p ${root}/build/Release && cp ${source}build/Release/lutra.node ${root}/build/Release/`;
  write('bin/cmake', `#!/bin/sh\necho "cmake $*" >>${root}/asked\ncase $1 in --build) ${make} ;; esac\n`);
  write(
    'npm/node_modules/node-gyp/bin/node-gyp.js',
    `require('fs').appendFileSync(${JSON.stringify(join(root, 'asked'))}, 'node-gyp ' + process.argv.slice(2).join(' ') + '\\n');
     require('child_process').execSync(${JSON.stringify(make)});`,
  );
  write('npm/bin/npm-cli.js', '');
  vi.stubEnv('PATH', `${join(root, 'bin')}:${process.env.PATH}`);
  vi.stubEnv('npm_execpath', join(root, 'npm/bin/npm-cli.js'));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(root, { recursive: true });
});

const asked = () =>
  readFileSync(join(root, 'asked'), 'utf8')
    .split('\n')
    .filter((line) => line && line !== 'cmake --version');

describe('buildAddon', () => {
  it('builds with CMake where there is one, and returns an addon that was loaded', () => {
    const steps: string[] = [];
    const addon = buildAddon({ root, jobs: 3, onStep: (line) => steps.push(line) });
    expect(addon).toBe(join(root, 'build/Release/lutra.node'));
    expect(asked()).toEqual([
      expect.stringMatching(/^cmake -S \S+ -B \S+\/build -DCMAKE_BUILD_TYPE=Release -DCMAKE_JS_INC=\S+node-api-headers\/include$/),
      expect.stringMatching(/^cmake --build \S+\/build --target lutra --parallel 3$/),
    ]);
    expect(steps).toEqual([`building in ${join(root, 'build')} with cmake`]);
  });

  it("builds with npm's node-gyp when it is asked to", () => {
    buildAddon({ root, tool: 'node-gyp', jobs: 2 });
    expect(asked()).toEqual(['node-gyp configure build --release --jobs 2']);
  });

  it('says what is missing', () => {
    vi.stubEnv('PATH', join(root, 'nothing'));
    expect(() => buildAddon({ root, tool: 'cmake' })).toThrow(
      expect.objectContaining({ code: 'LUTRA_NOT_FOUND', message: 'There is no CMake.' }),
    );
    expect(() => buildAddon({ root })).toThrow(expect.objectContaining({ code: 'LUTRA_NOT_FOUND', message: 'There is no C++ compiler.' }));
  });

  it('stops at the step that fails, and at an addon that does not load', () => {
    write('bin/cmake', '#!/bin/sh\ncase $1 in --version) ;; *) exit 3 ;; esac\n');
    expect(() => buildAddon({ root })).toThrow(
      expect.objectContaining({ code: 'LUTRA_UNSUPPORTED', message: 'The build failed: exit code 3.' }),
    );
    write('bin/cmake', '#!/bin/sh\n');
    expect(() => buildAddon({ root })).toThrow(/^Loading \S+lutra\.node failed: exit code 1\.$/);
  });
});
