/** A model directory, ready to make sessions. */
import { availableParallelism } from 'node:os';
import { join, resolve } from 'node:path';
import { sha256 } from '../files/digest.js';
import { makeDirectory } from '../files/make.js';
import { checkPath } from '../files/read.js';
import { eagerGraph, encodePlan, type Graph, KV_TYPE_CODES, type KvType, LutraError, segmentsIdentity } from '../graph/index.js';
import type { ModelSpec } from '../graph/spec.js';
import { buildPlan, type PlanMode } from '../models/index.js';
import {
  type BackendInfo,
  type EngineOptions,
  type NativeAddon,
  type NativeEngine,
  type NativeNpu,
  POWER_MODES,
  type PowerMode,
  SHADOW_RESIDENCIES,
  type ShadowResidency,
} from '../native/addon.js';
import { loadAddon } from '../native/loader.js';
import { contextFile, contextKey, defaultContextDirectory } from '../qnn/context-cache.js';
import { type NpuChoice, type NpuSelection, resolveNpu } from '../qnn/discover.js';
import { Verdicts } from '../qnn/health/verdicts.js';
import { measurementsFor } from '../qnn/matrix/refusals.js';
import { Chat } from './chat.js';
import { COMPILED_FOLDER, type CompiledChoice, chooseCompiled } from './compiled.js';
import { checkGenerateOptions, type GenerateOptions, Generation } from './generate.js';
import { type ModelDirectory, openModelDirectory } from './model-dir.js';
import { ModelNpu } from './model-npu.js';
import { boolean, type Check, callable, checkOptions, integer, oneOf, text } from './options.js';
import { type Prompt, Session } from './session.js';
import type { TokenEvent } from './stop-filter.js';
import { Tokenizer } from './tokenizer.js';

/** How to load a model. All fields are optional. */
export interface LoadOptions {
  /** Default `auto`. */
  npu?: NpuChoice;
  /**
   * Whether a QNN library is tested before its first use (golden graphs in a child process), and compared with the host NPU on one chunk of each model. Results are kept with the compiled
   * graphs. Default true.
   */
  npuCheck?: boolean;
  /** Plain float everywhere, with an F32 KV cache (unless `kv` says otherwise) and without NPU: the measuring stick. */
  reference?: boolean;
  /** Threads of the CPU kernels and of the host NPU. Default: one for each processor; on a phone, for each of its big cores, where they then stay. */
  threads?: number;
  /** Tokens that a session can hold. Default: the model's own limit, at most 4096. */
  contextSize?: number;
  /** Type of the KV cache: `f16` (default), `int8` (half the memory; 8 bits and a scale for each head of a position) or `f32` (default with `reference`). */
  kv?: KvType;
  /**
   * How much of the weights that the CPU's repairs read stays in memory between chunks: `all` that was read (default), the rows of the channels that calibration saw clipped most often (`hot`), or nothing
   * (`disk`). The results are the same to the bit.
   */
  shadowResidency?: ShadowResidency;
  /** false: nothing that NPU linears clip is repaired, to measure what the repair is worth. Default true. */
  repair?: boolean;
  /** Where compiled graphs of a QNN library, and what is known about it, are kept: a directory, or false for nowhere. Default: lutra's cache directory. */
  cache?: string | boolean;
  /** Folder with graphs that `lutra compile` made ahead of time, or false for none. Default: `compiled` in the model directory. Those that do not fit are not used ({@link Placement.compiled}). */
  compiled?: string | false;
  /**
   * Milliseconds that one execution of a graph in a QNN library may take, ten times that for opening, compiling, loading and freeing. After that the library counts as hung: the
   * call rejects with LUTRA_NPU_HUNG, the session is lost, and the library is quarantined. Default: half a minute, five on an emulator.
   */
  npuTimeoutMs?: number;
  /**
   * Clocks that a phone's NPU is asked for while a prompt is computed; it rests in between. `burst` (default) is the fastest and heats the phone, which then throttles; `sustained` holds;
   * `balanced` and `saver` spare the battery.
   */
  power?: PowerMode;
  /** Time every CPU step: fills `cpuMs` of the timings. */
  profile?: boolean;
  /** Log lines of the NPU library; level 1 (error) to 5 (debug). */
  onLog?: (level: number, line: string) => void;
  logLevel?: number;
  /** For debugging: runs every NPU op as a graph of its own, so that {@link Session.peek} sees every value. Same results, slowly; implies `keepActivations`. */
  eager?: boolean;
  /** For debugging: no two values share memory, so that {@link Session.peek} sees all that CPU steps and NPU graphs exchange. */
  keepActivations?: boolean;
}

const DAY_MS = 86_400_000;

/** A phone's NPU answers within a second; the emulator on other machines takes up to a minute for one graph of a large model. */
const DEFAULT_NPU_TIMEOUT_MS = process.arch === 'arm64' ? 30_000 : 300_000;

/** Of the addon. */
const MAX_THREADS = 256;

const anything: Check = () => undefined;

const loadChecks: Record<keyof LoadOptions, Check> = {
  npu: anything, // resolveNpu says more
  npuCheck: boolean,
  reference: boolean,
  threads: integer(1, MAX_THREADS),
  contextSize: integer(1),
  kv: oneOf(...Object.keys(KV_TYPE_CODES)),
  shadowResidency: oneOf(...SHADOW_RESIDENCIES),
  repair: boolean,
  cache: (value) =>
    typeof value === 'boolean' || (typeof value === 'string' && value.length > 0 && !value.includes('\0'))
      ? undefined
      : 'a directory, true or false',
  compiled: (value) =>
    value === false || (typeof value === 'string' && value.length > 0 && !value.includes('\0')) ? undefined : 'a directory or false',
  npuTimeoutMs: integer(1, DAY_MS),
  power: oneOf(...POWER_MODES),
  profile: boolean,
  onLog: callable,
  logLevel: integer(1, 5),
  eager: boolean,
  keepActivations: boolean,
};

const DEFAULT_CONTEXT = 4096;

/** What {@link Model} is made of. */
interface ModelParts {
  directory: ModelDirectory;
  tokenizer: Tokenizer;
  npu: ModelNpu;
  mode: PlanMode;
  graph: Graph;
  plan: Uint8Array;
  contextSize: number;
  threads: number;
  options: LoadOptions;
  addon: NativeAddon;
}

export class Model {
  readonly #parts: ModelParts;
  /** Weak, so that a session that nobody refers to any more is the garbage collector's. */
  readonly #sessions = new Set<WeakRef<Session>>();
  readonly #opening = new Set<Promise<Session>>();
  /** The last session that {@link generate} used, empty and ready. */
  #idle: Session | undefined;
  /** What there was ahead of time when an engine was last opened. */
  #compiled: CompiledChoice = { kind: 'none' };
  #disposed = false;

  /** Use {@link loadModel}. */
  constructor(parts: ModelParts) {
    this.#parts = parts;
  }

  get spec(): ModelSpec {
    return this.#parts.directory.spec;
  }

  get tokenizer(): Tokenizer {
    return this.#parts.tokenizer;
  }

  /** Absolute path of the model directory. */
  get path(): string {
    return this.#parts.directory.path;
  }

  get contextSize(): number {
    return this.#parts.contextSize;
  }

  get threads(): number {
    return this.#parts.threads;
  }

  /** `npu`: prompts run on the NPU; `cpu`: all on packed weights; `reference`: all in float. */
  get mode(): PlanMode {
    return this.#parts.mode;
  }

  /** The plan that every session executes. */
  get graph(): Graph {
    return this.#parts.graph;
  }

  /** A new conversation state with an engine and a KV cache of its own. */
  async createSession(): Promise<Session> {
    this.#checkAlive();
    const opening = this.#open();
    this.#opening.add(opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(opening);
    }
  }

  /** A conversation with history. */
  async createChat(options: { system?: string } = {}): Promise<Chat> {
    checkOptions('createChat', options, { system: text });
    return new Chat(await this.createSession(), options.system);
  }

  /** Continues a prompt in an empty context: a string as it is, or messages through the model's chat template. */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    this.#checkAlive();
    checkGenerateOptions(options);
    let inner: Generation | undefined;
    let outcome: Awaited<ReturnType<Generation['result']>> | undefined;
    const borrow = () => this.#borrow();
    const giveBack = (session: Session) => this.#giveBack(session);
    async function* stream(): AsyncGenerator<TokenEvent, void> {
      const session = await borrow();
      try {
        inner = session.generate(prompt, options);
        try {
          yield* inner;
        } finally {
          outcome = await inner.result().catch(() => undefined);
        }
      } finally {
        await giveBack(session);
      }
    }
    return new Generation(stream(), () => outcome);
  }

  /** Stops what runs and frees every session, those included that are being opened. Idempotent; later calls throw LUTRA_DISPOSED. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    this.#idle = undefined;
    await Promise.all([...this.#sessions].map((session) => session.deref()?.dispose()));
    await Promise.allSettled(this.#opening);
  }

  async #open(): Promise<Session> {
    const { directory, tokenizer, contextSize, mode, npu } = this.#parts;
    await Promise.all([directory.cpu, directory.npu].map((file) => file?.recheck()));
    const engine = await this.#openEngine();
    for (const known of this.#sessions) if (!known.deref()) this.#sessions.delete(known);
    const context = { spec: directory.spec, tokenizer, contextSize, npu: mode === 'npu', why: npu.why, compiled: this.#compiled };
    const session = new Session(engine, context, {
      onDispose: () => this.#sessions.delete(weak),
      onHang: (what) => npu.reportHang(what),
    });
    const weak = new WeakRef(session);
    this.#sessions.add(weak);
    if (this.#disposed) await session.dispose();
    this.#checkAlive();
    return session;
  }

  #checkAlive(): void {
    if (this.#disposed) throw new LutraError('LUTRA_DISPOSED', 'The model was disposed of.', 'Load it again.');
  }

  async #borrow(): Promise<Session> {
    const session = this.#idle ?? (await this.createSession());
    this.#idle = undefined;
    return session;
  }

  async #giveBack(session: Session): Promise<void> {
    if (this.#disposed || this.#idle || session.lost) return session.dispose();
    session.reset();
    this.#idle = session;
  }

  /** An engine on a library that may be used: where another one will do, a failing one makes room for it. */
  async #openEngine(): Promise<NativeEngine> {
    const { npu } = this.#parts;
    for (;;) {
      try {
        return await this.#tryEngine();
      } catch (error) {
        if (!npu.fallBack(error)) throw error;
      }
    }
  }

  async #tryEngine(): Promise<NativeEngine> {
    const { addon, directory, npu, options } = this.#parts;
    await npu.admit();
    // A binary that fits is read whole once; a later change of it is seen by its own checksum.
    if (this.#compiled.kind !== 'use' || npu.npu.kind !== 'library') this.#compiled = await this.#chooseCompiled();
    const key = this.#contextKey();
    const engine = await addon.openEngine(await this.#engineOptions(key));
    if (key === undefined || options.eager) return engine;
    try {
      await npu.admitModel(engine, directory.path, key);
    } catch (error) {
      await engine.dispose();
      throw error;
    }
    return engine;
  }

  async #engineOptions(key: string | undefined): Promise<EngineOptions> {
    const { directory, npu, plan, threads, options, mode } = this.#parts;
    const files = [directory.cpu, ...(mode === 'npu' && directory.npu ? [directory.npu] : [])].map(({ path }) => path);
    const contextCache = key === undefined ? undefined : await this.#contextCache(key);
    return {
      plan,
      files,
      npu:
        npu.npu.kind === 'library'
          ? { ...npu.npu, ...optionalSoc(this.#soc()), measurements: measurementsFor({ soc: this.#soc() }) }
          : npu.npu,
      threads,
      npuTimeoutMs: npu.npuTimeoutMs,
      ...(options.power === undefined ? {} : { power: options.power }),
      ...(options.profile ? { profile: true } : {}),
      ...(options.shadowResidency ? { shadowResidency: options.shadowResidency } : {}),
      ...(contextCache ? { contextCache } : {}),
      ...(options.onLog ? { onLog: options.onLog } : {}),
      ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
      ...(options.eager || options.keepActivations ? { keepActivations: true } : {}),
    };
  }

  /** What graphs of a QNN library depend on; undefined for others. */
  #contextKey(): string | undefined {
    const { directory, npu: chosen, graph } = this.#parts;
    const weightsHash = directory.npu?.hashes.sha256;
    if (chosen.npu.kind !== 'library' || weightsHash === undefined) return undefined;
    return contextKey({ graphs: segmentsIdentity(graph), weightsHash, buildId: this.#library(chosen.npu).buildId, soc: this.#soc() });
  }

  /** Identity of the library, which was tested unless the options forbid it. */
  #library(npu: Extract<NativeNpu, { kind: 'library' }>): BackendInfo {
    return this.#parts.npu.backend ?? this.#parts.addon.qnnInfo(npu).backend;
  }

  /** The SoC that graphs are compiled for: the one that was asked for, or that of graphs made ahead of time. Undefined: the library's choice. */
  #soc(): number | undefined {
    const { npu } = this.#parts.npu;
    const compiled = this.#compiled.kind === 'use' ? this.#compiled.record.soc.id : undefined;
    return npu.kind === 'library' ? (npu.soc ?? compiled) : undefined;
  }

  async #chooseCompiled(): Promise<CompiledChoice> {
    const { addon, directory, npu: chosen, graph, options } = this.#parts;
    const { npu } = chosen;
    const weights = directory.npu?.hashes.sha256;
    if (npu.kind !== 'library' || weights === undefined || options.compiled === false || options.eager) return { kind: 'none' };
    const folder = options.compiled === undefined ? join(directory.path, COMPILED_FOLDER) : resolve(options.compiled);
    const soc = () => npu.soc ?? addon.qnn.platformDevices(addon.qnn.openLibrary({ path: npu.path, quiet: true }))[0]?.soc;
    return chooseCompiled(folder, { graphs: sha256(segmentsIdentity(graph)), weights, library: this.#library(npu), soc });
  }

  /** Only real libraries need one: the host NPU packs its graphs faster than a file could be read. An eager plan would push out the normal one's. */
  async #contextCache(key: string): Promise<EngineOptions['contextCache']> {
    const { directory, npu: chosen, options } = this.#parts;
    const { npu } = chosen;
    if (this.#compiled.kind === 'use') return { file: this.#compiled.file, key, readOnly: true };
    const place = cacheDirectory(options);
    if (npu.kind !== 'library' || place === null || options.eager) return undefined;
    await makeDirectory(place).catch((error: Error) => {
      throw new LutraError(
        'LUTRA_IO',
        `The cache directory ${place} cannot be made: ${error.message}`,
        "Set option 'cache' to a writable directory, or to false.",
      );
    });
    return { file: contextFile(place, directory.path, npu), key };
  }
}

const optionalSoc = (soc: number | undefined) => (soc === undefined ? {} : { soc });

/** Null: nothing is kept. */
function cacheDirectory({ cache }: LoadOptions): string | null {
  if (cache === false) return null;
  return typeof cache === 'string' ? resolve(cache) : defaultContextDirectory();
}

/** The library that the options choose, tested unless it is known. */
async function chooseNpu(options: LoadOptions, hasWeights: boolean): Promise<ModelNpu> {
  const selection: NpuSelection = options.reference
    ? { npu: { kind: 'none' }, why: 'option reference', demanded: true }
    : resolveNpu(options.npu === undefined ? 'auto' : options.npu, hasWeights);
  const npu = new ModelNpu(selection, {
    check: options.npuCheck ?? true,
    npuTimeoutMs: options.npuTimeoutMs ?? DEFAULT_NPU_TIMEOUT_MS,
    verdicts: new Verdicts(cacheDirectory(options)),
  });
  try {
    await npu.admit();
  } catch (error) {
    if (!npu.fallBack(error)) throw error;
  }
  return npu;
}

/**
 * Opens a converted model. Headers and small tensors are read and checked here; weights are mapped when the first session opens.
 * Throws {@link LutraError}: LUTRA_NOT_FOUND, LUTRA_BAD_FILE, LUTRA_UNSUPPORTED, LUTRA_INVALID_ARGUMENT; for a QNN library that was demanded also LUTRA_LIBRARY_NOT_FOUND,
 * LUTRA_NOT_QNN, LUTRA_QNN_VERSION, LUTRA_QNN_CALL, LUTRA_QNN_QUARANTINED.
 */
export async function loadModel(directory: string, options: LoadOptions = {}): Promise<Model> {
  checkOptions('loadModel', options, loadChecks);
  checkPath(directory, 'a model directory');
  const opened = await openModelDirectory(directory);
  const { spec } = opened;
  const npu = await chooseNpu(options, opened.npu !== null);
  const mode: PlanMode = options.reference ? 'reference' : npu.npu.kind === 'none' ? 'cpu' : 'npu';
  const contextSize = options.contextSize ?? Math.min(spec.arch.maxContext, DEFAULT_CONTEXT);
  const addon = loadAddon();
  const built = buildPlan(spec, {
    mode,
    contextSize,
    ...(options.kv ? { kv: options.kv } : {}),
    ...(options.repair === false ? { repair: false } : {}),
  });
  const graph = options.eager ? eagerGraph(built) : built;
  return new Model({
    directory: opened,
    tokenizer: await Tokenizer.load(opened.path, spec.hashes.tokenizer),
    npu,
    mode,
    graph,
    plan: encodePlan(graph),
    contextSize,
    threads: options.threads ?? Math.min(availableParallelism(), addon.cpuInfo().bigCores),
    options,
    addon,
  });
}
