/** The machine without its NPU: system, Node.js, processor, memory, storage. */
import { closeSync, constants, fsyncSync, openSync, readSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { availableParallelism, freemem, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { makeDirectory } from '../files/make.js';
import { LutraError } from '../graph/errors.js';
import type { NativeAddon } from '../native/addon.js';
import type { Finding } from './finding.js';
import { type Surroundings, systemText } from './surroundings.js';

export interface MachineFacts {
  system: string;
  node: string;
  napi: number;
  pageBytes: number | null;
  /** null when the native part of lutra cannot be loaded. */
  cpu: { description: string; isa: string; processors: number; bigCores: number; kernels: string[] } | null;
  memory: { totalBytes: number; availableBytes: number };
  /** Past the page cache, where the file system can: null. */
  storage: { directory: string; readMegabytesPerSecond: number | null };
}

const LEAST_NODE = [20, 19] as const;
const LEAST_NAPI = 9;
/** Of the smallest useful model with its context. */
const LITTLE_MEMORY = 1 << 30;

function checkNode({ node, napi }: Surroundings): Finding[] {
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const [leastMajor, leastMinor] = LEAST_NODE;
  if (major < leastMajor || (major === leastMajor && minor < leastMinor)) {
    const what = `Node.js is ${node}.`;
    return [
      { id: 'node-old', level: 'fatal', what, cause: `lutra needs ${LEAST_NODE.join('.')} or later.`, remedy: 'Install a later Node.js.' },
    ];
  }
  if (napi >= LEAST_NAPI) return [];
  const cause = `The native part of lutra needs version ${LEAST_NAPI}.`;
  return [{ id: 'napi-old', level: 'fatal', what: `Node-API is version ${napi}.`, cause, remedy: 'Install a later Node.js.' }];
}

/** The addon, or why there is none. */
export function tryAddon(surroundings: Surroundings): NativeAddon | Finding {
  try {
    return surroundings.addon();
  } catch (error) {
    const { message, remedy } = error instanceof LutraError ? error : new LutraError('LUTRA_INTERNAL', String(error));
    const { platform, arch } = surroundings;
    return { id: 'addon-missing', level: 'fatal', what: `lutra has no native part for ${platform}-${arch}.`, cause: message, remedy };
  }
}

function pageBytes(surroundings: Surroundings): number | null {
  const line = systemText(surroundings, '/proc/self/smaps')?.match(/^KernelPageSize:\s+(\d+) kB$/m);
  return line ? Number(line[1]) * 1024 : null;
}

function memoryOf(surroundings: Surroundings): MachineFacts['memory'] {
  const kilobytes = (name: string) => systemText(surroundings, '/proc/meminfo')?.match(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm'))?.[1];
  const [total, available] = [kilobytes('MemTotal'), kilobytes('MemAvailable')];
  return {
    totalBytes: total === undefined ? totalmem() : Number(total) * 1024,
    availableBytes: available === undefined ? freemem() : Number(available) * 1024,
  };
}

const BLOCK_BYTES = 4 << 20;
const SAMPLE_BYTES = 64 << 20;
const ROOM_BYTES = 512 << 20;

/** Of the language, not of Node.js, so that its types do not come with those. */
declare const WebAssembly: { Memory: new (pages: { initial: number }) => { readonly buffer: ArrayBuffer } };

/** How fast a new file in `directory` is read from the storage itself; null where the page cache cannot be passed by. Throws errors of the file system. */
async function readSpeed(directory: string): Promise<number | null> {
  await makeDirectory(directory);
  const { bavail, bsize } = statfsSync(directory);
  if (bavail * bsize < ROOM_BYTES) return null;
  const file = join(directory, `doctor-${process.pid}.tmp`);
  // Memory of WebAssembly begins at a page, as reading past the cache wants it.
  const block = new Uint8Array(new WebAssembly.Memory({ initial: BLOCK_BYTES >> 16 }).buffer);
  try {
    const written = openSync(file, 'wx');
    try {
      // Not all zeros: file systems that compress would answer from nowhere.
      for (let i = 0; i < block.length; i++) block[i] = (i * 2_654_435_761) >>> 13;
      for (let done = 0; done < SAMPLE_BYTES; done += block.length) writeSync(written, block);
      fsyncSync(written);
    } finally {
      closeSync(written);
    }
    const read = openSync(file, constants.O_RDONLY | (constants.O_DIRECT ?? 0));
    try {
      const started = performance.now();
      for (let done = 0; done < SAMPLE_BYTES; done += block.length) readSync(read, block, 0, block.length, done);
      return constants.O_DIRECT === undefined ? null : Math.round(SAMPLE_BYTES / 1000 / (performance.now() - started));
    } finally {
      closeSync(read);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EINVAL') return null;
    throw error;
  } finally {
    rmSync(file, { force: true });
  }
}

async function storageOf({ cache }: Surroundings): Promise<{ storage: MachineFacts['storage']; findings: Finding[] }> {
  const storage = { directory: cache, readMegabytesPerSecond: null };
  try {
    return { storage: { ...storage, readMegabytesPerSecond: await readSpeed(cache) }, findings: [] };
  } catch (error) {
    const finding: Finding = {
      id: 'cache-unwritable',
      level: 'warning',
      what: `Nothing can be kept in ${cache}: compiled graphs and verdicts about libraries are made anew at every start.`,
      cause: error instanceof Error ? error.message : String(error),
      remedy: 'Make the folder writable, or name another one with LUTRA_CACHE.',
    };
    return { storage, findings: [finding] };
  }
}

export async function examineMachine(
  surroundings: Surroundings,
  addon: NativeAddon | null,
): Promise<{ facts: MachineFacts; findings: Finding[] }> {
  const { platform, arch, node, napi } = surroundings;
  const { storage, findings } = await storageOf(surroundings);
  const memory = memoryOf(surroundings);
  findings.unshift(...checkNode(surroundings));
  if (memory.availableBytes < LITTLE_MEMORY) {
    const megabytes = Math.round(memory.availableBytes / 1e6);
    const cause = 'Other programs use the memory, or the machine has little.';
    const remedy = 'Close other programs, or use a small model with a short context.';
    findings.push({ id: 'memory-low', level: 'warning', what: `${megabytes} MB of memory are available.`, cause, remedy });
  }
  const facts: MachineFacts = {
    system: `${platform}-${arch} ${release()}`,
    node,
    napi,
    pageBytes: pageBytes(surroundings),
    cpu: addon && { ...addon.cpuInfo(), processors: availableParallelism() },
    memory,
    storage,
  };
  return { facts, findings };
}
