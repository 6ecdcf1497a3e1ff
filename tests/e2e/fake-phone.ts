/** A Qualcomm machine in a folder: system files, a QNN runtime that is libQnnFaulty with companions, and FastRPC. Everything on it can be broken. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, copyFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Surroundings } from '../../lib/doctor/index.js';
import { loadAddon } from '../../lib/native/loader.js';
import { FaultyLibrary } from './faulty.js';
import { root as repository } from './helpers.js';

const MACHINES = { x64: 62, arm64: 183, hexagon: 164 } as const;

/** A library file with a header, one segment, DT_NEEDED entries and nothing that runs. */
export function elfFile(
  machine: keyof typeof MACHINES,
  options: { bits?: 32 | 64; arch?: number; needed?: string[]; text?: string } = {},
): Buffer {
  const { bits = machine === 'hexagon' ? 32 : 64, arch = 0, needed = [], text = '' } = options;
  const wide = bits === 64;
  const strings = Buffer.from(`\0${needed.map((name) => `${name}\0`).join('')}`, 'latin1');
  const [headerBytes, segmentBytes, step] = wide ? [64, 56, 8] : [52, 32, 4];
  const dynamicAt = headerBytes + 2 * segmentBytes;
  const dynamicBytes = 2 * step * (needed.length + 3);
  const stringsAt = dynamicAt + dynamicBytes;
  const file = Buffer.alloc(stringsAt + strings.length);
  const word = (value: number, at: number) => (wide ? file.writeBigUInt64LE(BigInt(value), at) : file.writeUInt32LE(value, at));
  file.set([0x7f, 0x45, 0x4c, 0x46, wide ? 2 : 1, 1, 1]);
  file.writeUInt16LE(3, 16);
  file.writeUInt16LE(MACHINES[machine], 18);
  word(headerBytes, wide ? 32 : 28);
  file.writeUInt32LE(Number.parseInt(String(arch), 16), wide ? 48 : 36);
  file.writeUInt16LE(segmentBytes, wide ? 54 : 42);
  file.writeUInt16LE(2, wide ? 56 : 44);
  const segment = (index: number, type: number, at: number, bytes: number) => {
    const start = headerBytes + index * segmentBytes;
    file.writeUInt32LE(type, start);
    word(at, start + (wide ? 8 : 4));
    word(at, start + (wide ? 16 : 8));
    word(bytes, start + (wide ? 32 : 16));
    word(0x4000, start + (wide ? 48 : 28));
  };
  segment(0, 1, 0, file.length);
  segment(1, 2, dynamicAt, dynamicBytes);
  const names = needed.map((name) => strings.indexOf(`${name}\0`, 0, 'latin1'));
  const table = [...names.map((at) => [1, at]), [5, stringsAt], [10, strings.length], [0, 0]];
  for (const [i, [tag = 0, value = 0]] of table.entries()) {
    word(tag, dynamicAt + 2 * step * i);
    word(value, dynamicAt + 2 * step * i + step);
  }
  file.set(strings, stringsAt);
  return Buffer.concat([file, Buffer.from(`\0${text}\0`, 'latin1')]);
}

export const STAMP = '250708110513';
export const OTHER_STAMP = '260101120000';
export const stamped = (stamp: string): string => `v2.40.0.${stamp}`;

/** The C library of tests/faulty_qnn/cdsprpc.c. */
export function compileRpc(directory: string, flags: readonly string[] = ['-DRPC_DESCRIPTOR']): string {
  const file = join(directory, `rpc${flags.join('')}.so`);
  const source = join(repository, 'tests/faulty_qnn/cdsprpc.c');
  if (!existsSync(file))
    execFileSync(process.env.CC ?? 'cc', ['-O1', '-shared', '-fPIC', '-fvisibility=hidden', ...flags, source, '-o', file]);
  return file;
}

export class FakePhone {
  readonly root: string;
  readonly library: FaultyLibrary;
  surroundings: Surroundings;

  /** `compiled`, `rpc`: of compileFaulty and {@link compileRpc}. */
  constructor(root: string, compiled: string, rpc: string) {
    this.root = root;
    this.library = new FaultyLibrary(compiled, join(root, 'runtime'));
    this.surroundings = {
      platform: 'linux',
      arch: process.arch,
      node: process.versions.node,
      napi: Number(process.versions.napi),
      env: { LUTRA_QNN_LIBRARY: this.library.path },
      root,
      cache: join(root, 'cache'),
      addon: loadAddon,
      property: () => undefined,
    };
    appendFileSync(this.library.path, `\0${stamped(STAMP)}\0`);
    this.write('/sys/devices/soc0/machine', 'SM8650\n');
    this.runtime('libQnnSystem.so', elfFile('x64', { text: stamped(STAMP) }));
    this.runtime('libQnnHtpV75Stub.so', elfFile('x64', { text: stamped(STAMP) }));
    this.runtime('libQnnHtpV75Skel.so', elfFile('hexagon', { arch: 75, text: stamped(STAMP) }));
    this.rpc(rpc);
  }

  write(path: string, content: string | Buffer): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    return file;
  }

  /** Writes a file of the runtime's folder; null removes it. */
  runtime(name: string, content: string | Buffer | null): string {
    if (content === null) rmSync(join(this.root, 'runtime', name));
    return content === null ? join(this.root, 'runtime', name) : this.write(join('runtime', name), content);
  }

  /** Lays FastRPC's library where the vendor does; null: none. */
  rpc(file: string | null): void {
    const place = join(this.root, '/usr/lib/libcdsprpc.so');
    mkdirSync(dirname(place), { recursive: true });
    rmSync(place, { force: true });
    if (file !== null) copyFileSync(file, place);
  }

  /** Changes what the doctor is told of the machine. */
  set(changes: Partial<Surroundings>): void {
    this.surroundings = { ...this.surroundings, ...changes };
  }

  env(changes: Record<string, string | undefined>): void {
    this.set({ env: { ...this.surroundings.env, ...changes } });
  }
}
