/** The files of a QNN runtime: where they were looked for and found, of which release they are, and whether they belong together. */
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Soc } from '../qnn/soc.js';
import { type ElfFile, readElf } from './elf.js';
import type { Surroundings } from './surroundings.js';

/** `backend`: libQnnHtp. `stub` and `skel`: its two ends of the way to the DSP. `fastrpc`: the way. */
export type Role = 'backend' | 'prepare' | 'system' | 'stub' | 'skel' | 'fastrpc';

export interface RuntimeFile {
  role: Role;
  name: string;
  /** Folders, in order. */
  looked: string[];
  found: string | null;
  /** When the release was built, as it says of itself: "250708110513"; null when it does not say. Those of one release agree. */
  stamp: string | null;
  /** Null when it was not found; a sentence's end when it is no library. */
  elf: ElfFile | string | null;
}

/** QNN writes it as part of "v2.51.0.260929181845" or alone: year, month, day, hour, minute, second. */
const STAMP = /(?<!\d)2[0-9](?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?!\d)/;
const WINDOW_BYTES = 4 << 20;
const OVERLAP_BYTES = 64;

/** Searched in pieces: such a library has up to 100 MB. Null for what cannot be read, too. */
export function stampOf(path: string): string | null {
  let descriptor: number;
  try {
    descriptor = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const window = Buffer.alloc(WINDOW_BYTES + OVERLAP_BYTES);
    for (let at = 0; ; at += WINDOW_BYTES) {
      const length = readSync(descriptor, window, 0, window.length, at);
      const text = window.toString('latin1', 0, length);
      const found =
        text.match(new RegExp(`v\\d+\\.\\d+\\.\\d+\\.(${STAMP.source})`))?.[1] ?? text.match(new RegExp(`\\0(${STAMP.source})\\0`))?.[1];
      if (found) return found;
      if (length < window.length) return null;
    }
  } catch {
    return null; // a folder, or a disk that fails
  } finally {
    closeSync(descriptor);
  }
}

/** Folders of the libraries in Qualcomm's SDK. */
const SDK_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  'android-arm64': ['lib/aarch64-android'],
  'linux-arm64': ['lib/aarch64-oe-linux-gcc11.2', 'lib/aarch64-ubuntu-gcc9.4'],
  'linux-x64': ['lib/x86_64-linux-clang'],
};
const SYSTEM_FOLDERS: Readonly<Record<string, readonly string[]>> = {
  android: ['/vendor/lib64', '/system/vendor/lib64', '/system/lib64', '/odm/lib64'],
  linux: ['/usr/lib', '/usr/lib/aarch64-linux-gnu', '/usr/local/lib'],
};
const DSP_FOLDERS = ['/vendor/lib/rfsa/adsp', '/vendor/dsp/cdsp', '/vendor/dsp', '/usr/lib/rfsa/adsp', '/dsp/cdsp'];

const listed = (value: string | undefined, separator: string): string[] => (value ?? '').split(separator).filter((one) => one !== '');

/** Entries of ADSP_LIBRARY_PATH as FastRPC reads them. */
export function adspEntries({ env }: Surroundings): string[] {
  return listed(env.ADSP_LIBRARY_PATH, ';');
}

function sdkFolders({ platform, arch, env }: Surroundings, role: Role, dsp: number | undefined): string[] {
  const roots = [env.QAIRT_SDK_ROOT, env.QNN_SDK_ROOT].filter((one): one is string => one !== undefined && one !== '');
  const below = role === 'skel' ? (dsp === undefined ? [] : [`lib/hexagon-v${dsp}/unsigned`]) : (SDK_FOLDERS[`${platform}-${arch}`] ?? []);
  return roots.flatMap((root) => below.map((folder) => join(root, folder)));
}

/** Where a file can be, `library` being the backend that was named or found. */
function placesOf(surroundings: Surroundings, role: Role, library: string | null, dsp: number | undefined): string[] {
  const { platform, env, root } = surroundings;
  const system = (SYSTEM_FOLDERS[platform] ?? []).map((folder) => join(root, folder));
  if (role === 'fastrpc') return [...listed(env.LD_LIBRARY_PATH, ':'), ...system];
  const beside = library === null ? [] : [dirname(library)];
  const sdk = sdkFolders(surroundings, role, dsp);
  if (role === 'skel') return [...beside, ...adspEntries(surroundings), ...sdk, ...DSP_FOLDERS.map((folder) => join(root, folder))];
  const termux = env.PREFIX ? [join(env.PREFIX, 'lib')] : [];
  const places = [...beside, ...sdk, ...listed(env.LD_LIBRARY_PATH, ':'), ...termux];
  return role === 'backend' ? [...places, ...system] : places;
}

function fileOf(role: Role, name: string, looked: string[], found: string | null): RuntimeFile {
  const elf = found === null ? null : readElf(found);
  return { role, name, looked, found, stamp: found !== null && elf !== null && typeof elf !== 'string' ? stampOf(found) : null, elf };
}

function find(surroundings: Surroundings, role: Role, name: string, library: string | null, dsp: number | undefined): RuntimeFile {
  const looked = [...new Set(placesOf(surroundings, role, library, dsp))];
  return fileOf(role, name, looked, looked.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null);
}

/** The backend: the file that was asked for, whether it exists or not, or the first that is found. */
export function findBackend(surroundings: Surroundings, asked: string | undefined, dsp: number | undefined): RuntimeFile {
  if (asked === undefined) return find(surroundings, 'backend', 'libQnnHtp.so', null, dsp);
  const path = resolve(asked);
  return fileOf('backend', path.slice(dirname(path).length).replace(/^\//, ''), [dirname(path)], existsSync(path) ? path : null);
}

/** All that belong to a backend; those of the DSP only where its architecture is known. */
export function findCompanions(surroundings: Surroundings, library: string | null, soc: Soc | undefined): RuntimeFile[] {
  const dsp = soc?.arch;
  const names: [Role, string][] = [
    ['system', 'libQnnSystem.so'],
    ['prepare', 'libQnnHtpPrepare.so'],
  ];
  if (soc) names.push(['stub', `libQnnHtpV${soc.arch}Stub.so`], ['skel', `libQnnHtpV${soc.arch}Skel.so`], ['fastrpc', 'libcdsprpc.so']);
  return names.map(([role, name]) => find(surroundings, role, name, library, dsp));
}
