/** Copies of libQnnFaulty (tests/faulty_qnn), each a library of its own with faults of its own. */
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { root as repository } from './helpers.js';

const host = join(repository, 'build/Release/libQnnHost.so');
const SLOTS = 75;

/** Positions in QNN's function table (native/qnn/abi.h) of what lutra calls. */
export const SLOT = {
  backendCreate: 1,
  backendGetBuildId: 4,
  backendGetSupportedOperations: 6,
  backendValidateOpConfig: 7,
  backendFree: 8,
  contextCreate: 9,
  contextGetBinarySize: 11,
  contextGetBinary: 12,
  contextCreateFromBinary: 13,
  contextFree: 14,
  graphCreate: 15,
  graphAddNode: 18,
  graphFinalize: 19,
  graphRetrieve: 20,
  graphExecute: 21,
  tensorCreateGraphTensor: 24,
  logCreate: 25,
  logFree: 27,
  deviceGetInfrastructure: 39,
  deviceCreate: 40,
  deviceFree: 43,
} as const;
export type SlotName = keyof typeof SLOT;

/** Compiles the library into `directory`; {@link FaultyLibrary} copies it. */
export function compileFaulty(directory: string): string {
  const file = join(directory, 'libQnnFaulty.so');
  if (existsSync(file)) return file;
  const sources = ['faults.cc', 'faulty.cc'].map((name) => join('tests/faulty_qnn', name));
  const flags = ['-std=c++20', '-O1', '-shared', '-fPIC', '-fvisibility=hidden', '-I', 'native'];
  execFileSync(process.env.CXX ?? 'c++', [...flags, ...sources, '-o', file, '-ldl', '-pthread'], { cwd: repository });
  return file;
}

export class FaultyLibrary {
  readonly path: string;

  /** A copy of `compiled` in `directory`, which is made. */
  constructor(compiled: string, directory: string, faults: readonly string[] = []) {
    mkdirSync(directory, { recursive: true });
    this.path = join(directory, 'libQnnFaulty.so');
    copyFileSync(compiled, this.path);
    this.set(faults);
  }

  /** Commands of faults.h, from now on. Calls that hang go on. */
  set(faults: readonly string[]): void {
    writeFileSync(`${this.path}.next`, [`inner ${host}`, ...faults, ''].join('\n'));
    renameSync(`${this.path}.next`, `${this.path}.fault`);
  }

  /** How often a slot was called so far, in any process. */
  calls(slot: SlotName): number {
    return this.#counters()[SLOT[slot]] ?? 0;
  }

  /** Calls of a slot that succeeded. */
  successes(slot: SlotName): number {
    return this.#counters()[SLOTS + SLOT[slot]] ?? 0;
  }

  /** Objects that were made and not freed, by kind. */
  live(): Record<'log' | 'backend' | 'device' | 'context', number> {
    const count = (created: readonly SlotName[], freed: SlotName) =>
      created.reduce((sum, slot) => sum + this.successes(slot), 0) - this.calls(freed);
    return {
      log: count(['logCreate'], 'logFree'),
      backend: count(['backendCreate'], 'backendFree'),
      device: count(['deviceCreate'], 'deviceFree'),
      context: count(['contextCreate', 'contextCreateFromBinary'], 'contextFree'),
    };
  }

  #counters(): number[] {
    const file = `${this.path}.state`;
    if (!existsSync(file)) return [];
    const bytes = readFileSync(file);
    return Array.from({ length: bytes.length / 8 }, (_, i) => Number(bytes.readBigUInt64LE(i * 8)));
  }
}
