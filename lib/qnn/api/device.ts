/** Libraries, backends, devices and profiles: what exists before a graph does. */
import { resolve } from 'node:path';
import { inspect } from 'node:util';
import { LutraError } from '../../graph/errors.js';
import type { BackendInfo } from '../../native/addon.js';
import { loadAddon } from '../../native/loader.js';
import type { BackendHandle, DeviceHandle, LibraryHandle, NativeQnn, ProfileHandle, QnnHandle } from '../../native/qnn-addon.js';
import { measurementsFor } from '../matrix/refusals.js';
import { Context } from './context.js';
import { checkBytes } from './dtype.js';
import { checkFields } from './options.js';
import { type GraphSignature, signatureOfNative } from './signature.js';

export const LOG_LEVELS = ['error', 'warn', 'info', 'verbose', 'debug'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

export interface LibraryInfo extends BackendInfo {
  /** The path that was opened, or `host`. */
  readonly source: string;
}

/** What a context binary says of itself. */
export interface BinaryInfo {
  /** Of the library that made it. */
  readonly backendId: number;
  readonly buildId: string;
  readonly apiVersion: string;
  readonly backendApiVersion: string;
  readonly blobVersion: string;
  readonly blobBytes: number;
  readonly socVersion: string;
  readonly socModel?: number;
  readonly graphs: readonly GraphSignature[];
}

/** One thing that a library measured. */
export interface ProfileEvent {
  /** QNN's number: 100 init, 300 finalize, 400 execute, 404 a node, or a backend's own. */
  readonly type: number;
  readonly identifier: string;
  readonly value: number;
  readonly unit: 'us' | 'bytes' | 'cycles' | 'count' | 'object' | '';
  readonly parts: readonly ProfileEvent[];
}

/** An object of the addon with its end. */
abstract class Disposable<K extends string> {
  readonly handle: QnnHandle<K>;

  protected constructor(handle: QnnHandle<K>) {
    this.handle = handle;
  }

  /**
   * Gives the object up; later uses throw LUTRA_DISPOSED. The library's own object is freed as soon as everything that was made from it has
   * been given up too, or was collected as garbage, so the order does not matter. Idempotent.
   */
  dispose(): void {
    addon().dispose(this.handle);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function addon(): NativeQnn {
  return loadAddon().qnn;
}

/** A QNN library. It stays loaded once it is, also after dispose. */
export class Library extends Disposable<'library'> {
  readonly info: LibraryInfo;

  private constructor(handle: LibraryHandle) {
    super(handle);
    this.info = Object.freeze(addon().libraryInfo(handle));
  }

  /**
   * `host`: the host NPU, which is part of lutra. Else the path of a QNN backend library, such as `libQnnHtp.so`. `quietStdout` (default true): what
   * the library prints on standard output while it is loaded and started goes to standard error.
   * Throws LUTRA_LIBRARY_NOT_FOUND, LUTRA_NOT_QNN, LUTRA_QNN_VERSION.
   */
  static open(library: 'host' | (string & {}), options: { readonly quietStdout?: boolean } = {}): Library {
    if (typeof library !== 'string' || library.length === 0) {
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `${inspect(library, { depth: 0 })} is not a library.`,
        "Give 'host' or the path of a QNN library.",
      );
    }
    checkFields('Library.open', options, ['quietStdout']);
    if (library === 'host') return new Library(addon().openLibrary({ host: true }));
    return new Library(addon().openLibrary({ path: resolve(library), quiet: options.quietStdout ?? true }));
  }

  /** `onLog` is called for lines of `logLevel` (default warn) and more serious ones, when the event loop next turns. `threads`: of the host NPU. */
  createBackend(
    options: { readonly onLog?: (level: LogLevel, line: string) => void; readonly logLevel?: LogLevel; readonly threads?: number } = {},
  ): Backend {
    checkFields('createBackend', options, ['onLog', 'logLevel', 'threads']);
    const { onLog, logLevel = 'warn', threads } = options;
    const level = LOG_LEVELS.indexOf(logLevel) + 1;
    if (level === 0)
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `There is no log level ${inspect(logLevel)}.`, `Levels: ${LOG_LEVELS.join(', ')}.`);
    if (onLog !== undefined && typeof onLog !== 'function') throw new LutraError('LUTRA_INVALID_ARGUMENT', 'onLog is not a function.');
    const log = onLog && { onLog: (severity: number, line: string) => onLog(LOG_LEVELS[severity - 1] ?? 'debug', line), logLevel: level };
    return new Backend(addon().createBackend(this.handle, { ...log, ...(threads === undefined ? {} : { threads }) }), this);
  }

  /**
   * Metadata of a context binary, read by the system interface: of the library's own file, or of `libQnnSystem.so` beside it. Throws LUTRA_LIBRARY_NOT_FOUND when there is
   * none, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED (the one of SDK 2.44 cannot be used). Qualcomm's reader trusts the bytes: see docs/qnn-api.md.
   */
  readBinary(binary: Uint8Array): BinaryInfo {
    const { graphs, ...info } = addon().binaryInfo(this.handle, checkBytes(binary));
    return {
      ...info,
      graphs: graphs.map(({ name, inputs, outputs }) => ({
        name,
        inputs: inputs.map(signatureOfNative),
        outputs: outputs.map(signatureOfNative),
      })),
    };
  }

  /** Where {@link readBinary} finds its system interface, and its version. Throws as that does. */
  get system(): { source: string; version: string } {
    return addon().systemInfo(this.handle);
  }
}

export class Backend extends Disposable<'backend'> {
  readonly library: Library;

  /** Made by Library.createBackend. */
  constructor(handle: BackendHandle, library: Library) {
    super(handle);
    this.library = library;
  }

  /** Names of the ops that the library lists, sorted. Throws LUTRA_UNSUPPORTED when it lists none. */
  get operations(): string[] {
    return addon().operations(this.handle);
  }

  /**
   * The NPU that graphs are compiled for. `soc`: Qualcomm's number of a SoC model (57 is SM8650, 69 SM8750, 87 SM8850); `arch`: of its DSP (73, 75, 79, 81). Neither
   * leaves the choice to the library, which on x86-64 takes SM8350. Qualcomm's library serves one choice at a time in a process. Throws LUTRA_BUSY
   * when another one is in use, LUTRA_QNN_CALL for an unknown one, LUTRA_UNSUPPORTED.
   */
  createDevice(options: { readonly soc?: number; readonly arch?: number } = {}): Device {
    checkFields('createDevice', options, ['soc', 'arch']);
    const { soc, arch } = options;
    const given = { ...(soc === undefined ? {} : { soc }), ...(arch === undefined ? {} : { arch }) };
    const quiet = this.library.info.source !== 'host';
    const settings = { ...given, quiet, measurements: measurementsFor(given) };
    return new Device(addon().createDevice(this.handle, settings), this, soc, arch);
  }

  /** Collects what calls cost. Throws LUTRA_UNSUPPORTED when the library does not profile. */
  createProfile(level: 'basic' | 'detailed' = 'basic'): Profile {
    if (level !== 'basic' && level !== 'detailed')
      throw new LutraError('LUTRA_INVALID_ARGUMENT', `There is no profile level ${inspect(level)}.`);
    return new Profile(addon().createProfile(this.handle, level === 'detailed'));
  }
}

export class Device extends Disposable<'device'> {
  readonly backend: Backend;
  readonly soc: number | undefined;
  readonly arch: number | undefined;

  /** Made by Backend.createDevice. */
  constructor(handle: DeviceHandle, backend: Backend, soc: number | undefined, arch: number | undefined) {
    super(handle);
    this.backend = backend;
    this.soc = soc;
    this.arch = arch;
  }

  createContext(): Context {
    return Context.create(this);
  }

  /** The highest clocks until the vote is disposed of; null where there is nothing to vote on, as on an emulator. */
  boost(): PowerVote | null {
    const vote = addon().boost(this.handle);
    return vote && new PowerVote(vote);
  }
}

export class PowerVote extends Disposable<'vote'> {
  /** Made by Device.boost. */
  constructor(handle: QnnHandle<'vote'>) {
    super(handle);
  }
}

export class Profile extends Disposable<'profile'> {
  /** Made by Backend.createProfile. */
  constructor(handle: ProfileHandle) {
    super(handle);
  }

  /** Of the last call that was given this profile. Throws LUTRA_BUSY while such a call is under way, LUTRA_QNN_CALL. */
  events(): ProfileEvent[] {
    type Open = ProfileEvent & { parts: ProfileEvent[] };
    const roots: ProfileEvent[] = [];
    const path: Open[] = [];
    for (const { depth, unit, ...rest } of addon().profileEvents(this.handle)) {
      const event: Open = { ...rest, unit: unit as ProfileEvent['unit'], parts: [] };
      path.length = Math.min(depth, path.length);
      (path.at(-1)?.parts ?? roots).push(event);
      path.push(event);
    }
    return roots;
  }
}
