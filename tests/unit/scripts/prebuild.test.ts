/** What makes and finds the addon on systems that are not this one: scripts/prebuild without its tools, binding.gyp for Android, the loader on a simulated phone. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../../', import.meta.url));
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lutra-prebuild-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = folder) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8', cwd, env: { ...process.env, ...env } });
  return { status, stdout, stderr };
}

describe('scripts/prebuild', () => {
  const prebuild = (args: readonly string[], env: NodeJS.ProcessEnv = {}) =>
    run(join(root, 'scripts/prebuild'), args, { ANDROID_NDK_HOME: '', ANDROID_NDK_ROOT: '', LUTRA_CACHE: folder, ...env });

  it.each([[[]], [['linux-riscv64']], [['linux-x64', 'linux-arm64']]])('refuses %j in one line that names the targets', (args) => {
    const { status, stderr } = prebuild(args);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^prebuild: unknown arguments '.*': use .*linux-x64.*linux-arm64.*android-arm64'\n$/);
  });

  it('stops with one line where there is no NDK', () => {
    const { status, stdout, stderr } = prebuild(['android-arm64']);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr).toMatch(/^prebuild: android-arm64 needs an NDK: set ANDROID_NDK_HOME .*lutra build'\n$/);
  });

  it('stops with one line where ANDROID_NDK_HOME names something else', () => {
    const { status, stderr } = prebuild(['android-arm64'], { ANDROID_NDK_HOME: folder });
    expect(status).toBe(1);
    expect(stderr).toBe(
      `prebuild: ${folder} has no build/cmake/android.toolchain.cmake: ANDROID_NDK_HOME must name the folder of an NDK\n`,
    );
  });
});

describe('scripts/lib/check-prebuild.py', () => {
  it('breaks over a binary of the system compiler, and says what is wrong with it', () => {
    const addon = join(root, 'build/Release/lutra.node');
    const { status, stderr } = run('python3', [join(root, 'scripts/lib/check-prebuild.py'), 'linux-arm64', addon]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/is not for AArch64$/m);
    expect(stderr).toMatch(/needs glibc above 2\.28: .*@GLIBC_2\.\d+/);
    expect(stderr).toMatch(/needs .*libstdc\+\+\.so\.6.*: only .*libc\.so\.6/);
    expect(stderr).toMatch(/expects C\+\+ of others, its own or that of the system: /);
    expect(stderr).toMatch(/segments aligned to 4096 bytes|segments aligned to \[4096\] bytes/);
  });
});

describe('binding.gyp', () => {
  const npm = dirname(spawnSync('npm', ['root', '--global'], { encoding: 'utf8' }).stdout.trim());
  const nodeGyp = join(npm, 'node_modules/npm/node_modules/node-gyp/bin/node-gyp.js');
  const headers = join(root, 'tests/prebuild/node_modules/node-arm64');

  /** Makefiles for a phone, from a copy of the package. */
  function configure(edit: (gyp: string) => string) {
    for (const file of ['package.json', 'native']) cpSync(join(root, file), join(folder, file), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'binding.gyp'), edit(readFileSync(join(root, 'binding.gyp'), 'utf8')));
    return run(process.execPath, [nodeGyp, 'configure', `--nodedir=${headers}`, '--', '-DOS=android'], { npm_config_nodedir: headers });
  }

  it('configures for Android without an NDK, with pages of 16 KiB and no libpthread', () => {
    const { status, stderr } = configure((gyp) => gyp);
    expect(stderr).toMatch(/gyp info ok/);
    expect(status).toBe(0);
    const makefile = readFileSync(join(folder, 'build/lutra.target.mk'), 'utf8');
    for (const flag of ['-Wl,-z,max-page-size=16384', '-static-libstdc++', '-Wl,-z,nodelete', '-std=c++20', '-fexceptions'])
      expect(makefile).toContain(flag);
    expect(makefile).toMatch(/-Wl,--version-script=\/\S+\/native\/napi\/exports\.map/);
    expect(makefile).not.toMatch(/-lpthread|-fno-exceptions/);
    const sources = Object.values(JSON.parse(readFileSync(join(root, 'native/sources.json'), 'utf8')) as Record<string, string[]>).flat();
    for (const source of sources) expect(makefile).toContain(`native/${source.replace(/\.cc$/, '.o')}`);
  });

  it('would not without its default of android_ndk_path', () => {
    const { status, stderr } = configure((gyp) => gyp.replace('"android_ndk_path%": ""', ''));
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/Undefined variable android_ndk_path/);
  });
});

describe('the loader', () => {
  /** A package with a file for each system; the one for phones is this machine's addon. */
  function packageOf(files: Record<string, 'addon' | 'nonsense'>): void {
    mkdirSync(join(folder, 'package'), { recursive: true });
    symlinkSync(join(root, 'dist'), join(folder, 'package/dist'));
    for (const [file, content] of Object.entries(files)) {
      const path = join(folder, 'package/prebuilds', file);
      mkdirSync(dirname(path), { recursive: true });
      if (content === 'addon') copyFileSync(join(root, 'build/Release/lutra.node'), path);
      else writeFileSync(path, content);
    }
  }

  /** What node-gyp-build, which the loader calls with the folder of the package, finds on that system. */
  function found(platform: string, arch: string) {
    const simulate = `for (const [name, value] of Object.entries(${JSON.stringify({ platform, arch })})) Object.defineProperty(process, name, { value });`;
    const load = JSON.stringify(createRequire(import.meta.url).resolve('node-gyp-build'));
    const code = `${simulate}
      const load = require(${load});
      const path = load.resolve(${JSON.stringify(join(folder, 'package'))});
      console.log(JSON.stringify({ path, kernels: load(${JSON.stringify(join(folder, 'package'))}).cpuInfo().kernels }));`;
    const { stdout, stderr } = run(process.execPath, ['-e', code]);
    return { stderr, ...(stdout ? (JSON.parse(stdout) as { path: string; kernels: string[] }) : {}) };
  }

  it('takes prebuilds/android-arm64 on a phone', () => {
    packageOf({
      'android-arm64/lutra.napi.node': 'addon',
      'linux-arm64/lutra.napi.glibc.node': 'nonsense',
      'linux-x64/lutra.napi.glibc.node': 'nonsense',
    });
    const { path, kernels } = found('android', 'arm64');
    expect(path).toBe(join(folder, 'package/prebuilds/android-arm64/lutra.napi.node'));
    expect(kernels).toContain('portable');
  });

  it('takes no binary for glibc on a system with another C library', () => {
    packageOf({ 'linux-x64/lutra.napi.glibc.node': 'addon' });
    expect(found('linux', 'x64').path).toBe(join(folder, 'package/prebuilds/linux-x64/lutra.napi.glibc.node'));
    const { status, stderr } = run(
      process.execPath,
      [
        '-e',
        `require(${JSON.stringify(createRequire(import.meta.url).resolve('node-gyp-build'))})(${JSON.stringify(join(folder, 'package'))})`,
      ],
      { LIBC: 'musl' },
    );
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/No native build was found for platform=linux arch=x64 .*libc=musl/);
  });

  it('names the system and what to do where no binary fits', () => {
    const code = `Object.defineProperty(process, 'arch', { value: 'riscv64' });
      import(${JSON.stringify(join(root, 'dist/native/loader.js'))}).then(({ loadAddon }) => loadAddon()).catch(({ code, message, remedy }) => console.log(code, message, remedy));`;
    const { stdout } = run(process.execPath, ['-e', code], { PREBUILDS_ONLY: '1' });
    expect(stdout).toMatch(
      /^LUTRA_NOT_FOUND The native part of lutra cannot be loaded on linux-riscv64: No native build .*`npx lutra build`/,
    );
  });
});
