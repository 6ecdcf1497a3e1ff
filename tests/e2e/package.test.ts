/** What npm would publish, and that both kinds of import find it. */
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { root } from './helpers.js';

interface Packed {
  size: number;
  unpackedSize: number;
  files: { path: string }[];
}

describe('the package', () => {
  const [packed] = JSON.parse(
    execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
      cwd: root,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  ) as Packed[];
  const files = packed?.files.map(({ path }) => path) ?? [];

  it('has the code, the types and the native sources', () => {
    for (const file of [
      'dist/index.js',
      'dist/index.d.ts',
      'dist/cli/main.js',
      'native/sources.json',
      'binding.gyp',
      'CMakeLists.txt',
      'LICENSE',
      'README.md',
    ]) {
      expect(files).toContain(file);
    }
  });

  it('has no tests, no downloads, no library of anybody else, and is small', () => {
    for (const file of files)
      expect(file).toMatch(
        /^(dist|native|prebuilds|docs)\/|^lib\/qnn\/matrix\/[^/]+\.json$|^lib\/server\/page\/[^/]+\.(html|css|js|svg)$|^(binding\.gyp|CMakeLists\.txt|package\.json|LICENSE|README\.md|CHANGELOG\.md)$/,
      );
    expect(files.filter((file) => /Qnn(Htp|System|Cpu)|\.gguf$|\.safetensors$/.test(file))).toEqual([]);
    expect(packed?.unpackedSize).toBeLessThan(15e6);
  });

  it.each([
    ['require', "const m = require('lutra'); console.log(Object.keys(m).sort().join())"],
    ['import', "import('lutra').then((m) => console.log(Object.keys(m).sort().join()))"],
  ])('can be loaded with %s', (_how, code) => {
    const out = execFileSync(process.execPath, ['--no-warnings', '-e', code], { cwd: root, encoding: 'utf8' });
    expect(out.trim()).toBe('LutraError,calibrateModel,compileModel,kernels,loadModel,qnn,readProfile,serve');
  });
});
