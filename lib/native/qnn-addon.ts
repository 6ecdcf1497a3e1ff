/** The flat functions behind the typed QNN API (native/napi/qnn_api.h). `lib/qnn/api` makes classes of them. */
import type { BackendInfo } from './addon.js';

declare const kind: unique symbol;
/** An object of the addon. It can be disposed of or left to the garbage collector, and means nothing outside of it. */
export interface QnnHandle<K extends string> {
  readonly [kind]: K;
}
export type LibraryHandle = QnnHandle<'library'>;
export type BackendHandle = QnnHandle<'backend'>;
export type DeviceHandle = QnnHandle<'device'>;
export type ContextHandle = QnnHandle<'context'>;
export type BuilderHandle = QnnHandle<'builder'>;
export type GraphHandle = QnnHandle<'graph'>;
export type ProfileHandle = QnnHandle<'profile'>;
export type VoteHandle = QnnHandle<'vote'>;
export type TrialHandle = QnnHandle<'trial'>;

/** How integers stand for reals, with typed arrays only. `offsets` may be left out: 0. */
export type NativeEncoding =
  | { kind: 'scaleOffset'; scale: number; offset: number }
  | { kind: 'axis'; axis: number; scales: Float32Array; offsets?: Int32Array }
  | { kind: 'bw'; bits: number; scale: number; offset: number }
  | { kind: 'bwAxis'; bits: number; axis: number; scales: Float32Array; offsets?: Int32Array }
  | {
      kind: 'blockwise';
      axis: number;
      scales: Float32Array;
      offsets?: Int32Array;
      bits: number;
      blocks: number;
      blockScales: Uint8Array;
    };

export interface NativeTensor {
  name: string;
  /** QNN's number of the type. */
  dtype: number;
  dims: number[];
  encoding?: NativeEncoding;
}

export type NativeParam =
  | { name: string; type: 'f32' | 'u32' | 'i32'; value: number }
  | { name: string; type: 'bool'; value: boolean }
  | { name: string; type: 'tensor'; dims: number[]; values: Uint32Array | Int32Array | Float32Array };

export interface NativeNode {
  name: string;
  type: string;
  /** Indices that addTensor returned; null: an optional input that is left out. */
  inputs: (number | null)[];
  outputs: number[];
  params: NativeParam[];
}

/** A build of a library that was measured, and the kinds of nodes (qnn::form_of) that the builder refuses before the library is asked. */
export interface NativeMeasurement {
  provider: string;
  buildId: string;
  backendApiVersion: [major: number, minor: number];
  refusals: { form: string; message: string; remedy: string }[];
}

export interface NativeBinaryInfo {
  backendId: number;
  buildId: string;
  apiVersion: string;
  backendApiVersion: string;
  blobVersion: string;
  blobBytes: number;
  socVersion: string;
  socModel?: number;
  graphs: { name: string; inputs: (NativeTensor & { id: number })[]; outputs: (NativeTensor & { id: number })[] }[];
}

export type TypedArray =
  | Int8Array
  | Uint8Array
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** A library, as far as what is expected of it depends on it. `arch` of the DSP: 68, 69, 73, 75, 79, 81. */
export interface ConformanceSubject {
  host: boolean;
  arch?: number;
}

export interface ConformanceCase {
  name: string;
  expected: 'ok' | 'refused';
  /** Its nodes are forms of their ops, which libraries may have; others have to be refused. */
  form: boolean;
  /** How right is right, in words. */
  bound: string;
  /** Why the library need not do what is expected; empty when it must. */
  exception: string;
  /** What to use instead; may be empty. */
  remedy: string;
}

export interface ConformanceResult {
  verdict: 'ok' | 'refused' | 'wrong';
  /** What the library said, or what is out of bounds. */
  message: string;
  /** From an empty context to the result. */
  ms: number;
  /** The worst of all outputs; absent when refused. `nmse` is absent when it is not a number. */
  figures?: { steps: number; equal: number; nmse?: number };
}

export interface NativeQnn {
  openLibrary(options: { host: true } | { path: string; quiet: boolean }): LibraryHandle;
  libraryInfo(library: LibraryHandle): BackendInfo & { source: string };
  systemInfo(library: LibraryHandle): { source: string; version: string };
  binaryInfo(library: LibraryHandle, binary: Uint8Array): NativeBinaryInfo;
  /** What the library says of the hardware; without soc and so on: not a Hexagon. Empty when it does not tell. */
  platformDevices(
    library: LibraryHandle,
  ): { id: number; cores: number; soc?: number; arch?: number; vtcmMb?: number; signedPd?: boolean }[];
  /** ADSP_LIBRARY_PATH as {@link openLibrary} sets it for this library when its value is `current`. Opens nothing. */
  adspPath(library: string, current: string): string;
  /** Opens FastRPC's library, the first of `candidates` that can be opened, takes `bytes` of shared memory, and frees them. Returns the candidate. */
  tryRpcMemory(options: { candidates: string[]; bytes: number }): string;
  createBackend(
    library: LibraryHandle,
    options: { onLog?: (level: number, line: string) => void; logLevel?: number; threads?: number },
  ): BackendHandle;
  operations(backend: BackendHandle): string[];
  createDevice(
    backend: BackendHandle,
    options: { soc?: number; arch?: number; quiet?: boolean; measurements?: NativeMeasurement[] },
  ): DeviceHandle;
  boost(device: DeviceHandle): VoteHandle | null;
  createProfile(backend: BackendHandle, detailed: boolean): ProfileHandle;
  profileEvents(profile: ProfileHandle): { type: number; identifier: string; value: number; unit: string; depth: number }[];
  createContext(device: DeviceHandle): ContextHandle;
  contextFromBinary(device: DeviceHandle, binary: Uint8Array): ContextHandle;
  contextBinary(context: ContextHandle): Uint8Array;
  createGraph(
    context: ContextHandle,
    name: string,
    options: { optimization?: number; vtcmMb?: number; hvxThreads?: number },
  ): BuilderHandle;
  addTensor(
    builder: BuilderHandle,
    tensor: NativeTensor & { role: 'input' | 'output' | 'internal' | 'constant'; data?: TypedArray },
  ): number;
  validateNode(builder: BuilderHandle, node: NativeNode): void;
  addNode(builder: BuilderHandle, node: NativeNode): void;
  finalize(builder: BuilderHandle, profile: ProfileHandle | null): GraphHandle;
  finalizeAsync(builder: BuilderHandle, profile: ProfileHandle | null): Promise<GraphHandle>;
  graphIds(graph: GraphHandle): { inputs: number[]; outputs: number[] };
  retrieveGraph(
    context: ContextHandle,
    graph: { name: string; inputs: (NativeTensor & { id: number })[]; outputs: (NativeTensor & { id: number })[] },
  ): GraphHandle;
  /** Arrays in the order of the graph's tensors; read and written during the call. */
  execute(graph: GraphHandle, inputs: TypedArray[], outputs: TypedArray[], profile: ProfileHandle | null): void;
  /** Inputs are copied during the call. Resolves to the outputs. */
  executeAsync(graph: GraphHandle, inputs: TypedArray[], profile: ProfileHandle | null): Promise<ArrayBuffer[]>;
  /** The conformance table, and what the library that `subject` describes is expected to do in each case. */
  cases(subject: ConformanceSubject): ConformanceCase[];
  /** Computes a case's reference; asks nothing of a library. `forms`: of its nodes, as qnn::form_of writes them. */
  prepareCase(name: string): { trial: TrialHandle; forms: string[] };
  /** Runs it on the calling thread; some crash the library, and with it the process. */
  runCase(trial: TrialHandle, device: DeviceHandle, subject: ConformanceSubject): ConformanceResult;
  dispose(handle: QnnHandle<string>): void;
  /** Waits for calls under way on other threads and begins no more; for the end of the process. */
  shutdown(): void;
}
