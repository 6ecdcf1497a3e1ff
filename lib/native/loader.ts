/**
 * Finds the addon and gives it TypeScript manners: every error it throws becomes a {@link LutraError} with the same code.
 * node-gyp-build looks in build/Release first, then in prebuilds/<platform>-<arch>.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isLutraErrorCode, LutraError } from '../graph/errors.js';
import type { EngineOptions, NativeAddon, NativeEngine } from './addon.js';
import type { NativeKernels } from './kernels-addon.js';
import type { NativeQnn } from './qnn-addon.js';

/** Root of the package: two folders above lib/native and dist/native alike. */
export const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

/** What the N-API layer throws: an Error with the fields of native/base/error.h. */
interface NativeError extends Error {
  code?: unknown;
  remedy?: unknown;
}

/** The same error as a LutraError; errors that are not the addon's come back as they are. */
function translate(error: unknown): unknown {
  if (error instanceof LutraError || !(error instanceof Error)) return error;
  const { code, remedy } = error as NativeError;
  if (typeof code !== 'string' || !isLutraErrorCode(code)) return error;
  return new LutraError(code, error.message, typeof remedy === 'string' ? remedy : '', { cause: error });
}

function guard<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw translate(error);
  }
}

async function guardAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw translate(error);
  }
}

function wrapEngine(engine: NativeEngine): NativeEngine {
  return {
    info: () => guard(() => engine.info()),
    prefill: (tokens, logits, program) => guardAsync(() => engine.prefill(tokens, logits, program)),
    checkNpu: () => guardAsync(() => engine.checkNpu()),
    generate: (options, onToken) => guardAsync(() => engine.generate(options, onToken)),
    acknowledge: (count) => guard(() => engine.acknowledge(count)),
    stop: () => guard(() => engine.stop()),
    truncate: (length) => guard(() => engine.truncate(length)),
    length: () => guard(() => engine.length()),
    timings: () => guard(() => engine.timings()),
    observations: (into) => guard(() => engine.observations(into)),
    restoreObservations: (sites) => guard(() => engine.restoreObservations(sites)),
    peek: (tensor) => guard(() => engine.peek(tensor)),
    dispose: () => guardAsync(() => engine.dispose()),
  };
}

function wrapQnn(q: NativeQnn): NativeQnn {
  let watched = false;
  return {
    openLibrary: (options) => {
      // process.exit() ends neither threads nor environments before the libraries' own exit handlers run.
      if (!watched) process.once('exit', () => q.shutdown());
      watched = true;
      return guard(() => q.openLibrary(options));
    },
    libraryInfo: (library) => guard(() => q.libraryInfo(library)),
    systemInfo: (library) => guard(() => q.systemInfo(library)),
    binaryInfo: (library, binary) => guard(() => q.binaryInfo(library, binary)),
    platformDevices: (library) => guard(() => q.platformDevices(library)),
    adspPath: (library, current) => guard(() => q.adspPath(library, current)),
    tryRpcMemory: (options) => guard(() => q.tryRpcMemory(options)),
    createBackend: (library, options) => guard(() => q.createBackend(library, options)),
    operations: (backend) => guard(() => q.operations(backend)),
    createDevice: (backend, options) => guard(() => q.createDevice(backend, options)),
    boost: (device) => guard(() => q.boost(device)),
    createProfile: (backend, detailed) => guard(() => q.createProfile(backend, detailed)),
    profileEvents: (profile) => guard(() => q.profileEvents(profile)),
    createContext: (device) => guard(() => q.createContext(device)),
    contextFromBinary: (device, binary) => guard(() => q.contextFromBinary(device, binary)),
    contextBinary: (context) => guard(() => q.contextBinary(context)),
    createGraph: (context, name, options) => guard(() => q.createGraph(context, name, options)),
    addTensor: (builder, tensor) => guard(() => q.addTensor(builder, tensor)),
    validateNode: (builder, node) => guard(() => q.validateNode(builder, node)),
    addNode: (builder, node) => guard(() => q.addNode(builder, node)),
    finalize: (builder, profile) => guard(() => q.finalize(builder, profile)),
    finalizeAsync: (builder, profile) => guardAsync(() => q.finalizeAsync(builder, profile)),
    graphIds: (graph) => guard(() => q.graphIds(graph)),
    retrieveGraph: (context, graph) => guard(() => q.retrieveGraph(context, graph)),
    execute: (graph, inputs, outputs, profile) => guard(() => q.execute(graph, inputs, outputs, profile)),
    executeAsync: (graph, inputs, profile) => guardAsync(() => q.executeAsync(graph, inputs, profile)),
    cases: (subject) => guard(() => q.cases(subject)),
    prepareCase: (name) => guard(() => q.prepareCase(name)),
    runCase: (trial, device, subject) => guard(() => q.runCase(trial, device, subject)),
    dispose: (handle) => guard(() => q.dispose(handle)),
    shutdown: () => guard(() => q.shutdown()),
  };
}

function wrapKernels(k: NativeKernels): NativeKernels {
  return {
    list: () => guard(() => k.list()),
    packValues: (type, rows, columns, values, importance) => guard(() => k.packValues(type, rows, columns, values, importance)),
    packCodes: (type, rows, columns, codes, scales, offsets) => guard(() => k.packCodes(type, rows, columns, codes, scales, offsets)),
    packBlocks: (type, rows, columns, blocks) => guard(() => k.packBlocks(type, rows, columns, blocks)),
    describe: (weight) => guard(() => k.describe(weight)),
    toBytes: (weight) => guard(() => k.toBytes(weight)),
    fromBytes: (bytes) => guard(() => k.fromBytes(bytes)),
    dequantize: (weight) => guard(() => k.dequantize(weight)),
    gemv: (weight, x, n, y, kernel, threads) => guard(() => k.gemv(weight, x, n, y, kernel, threads)),
    dispose: (weight) => guard(() => k.dispose(weight)),
    shadowLinear: (...all) => guard(() => k.shadowLinear(...all)),
    arena: (megabytes) => guard(() => k.arena(megabytes)),
    timeProducts: (arena, kernel, type, rows, columns, n, threads, warm, count) =>
      guard(() => k.timeProducts(arena, kernel, type, rows, columns, n, threads, warm, count)),
    timeReads: (arena, bytes, threads, count) => guard(() => k.timeReads(arena, bytes, threads, count)),
    dropArena: (arena) => guard(() => k.dropArena(arena)),
  };
}

function wrapAddon(addon: NativeAddon): NativeAddon {
  return {
    openEngine: async (options: EngineOptions) => wrapEngine(await guardAsync(() => addon.openEngine(options))),
    qnnInfo: (npu) => guard(() => addon.qnnInfo(npu)),
    planSchema: () => guard(() => addon.planSchema()),
    checkPlan: (plan) => guard(() => addon.checkPlan(plan)),
    packGgml: (type, blocks, rows, cols) => guard(() => addon.packGgml(type, blocks, rows, cols)),
    packLowBit: (type, rows, cols, codes, scales, offsets) => guard(() => addon.packLowBit(type, rows, cols, codes, scales, offsets)),
    quantizeLowBit: (type, weights, rows, cols, importance, threads) =>
      guard(() => addon.quantizeLowBit(type, weights, rows, cols, importance, threads)),
    dequantizePacked: (type, packed, rows, cols, out) => guard(() => addon.dequantizePacked(type, packed, rows, cols, out)),
    widen: (type, bytes, out) => guard(() => addon.widen(type, bytes, out)),
    foldS8: (options) => guardAsync(() => addon.foldS8(options)),
    compareLogits: (logits, reference, next, threads) => guard(() => addon.compareLogits(logits, reference, next, threads)),
    cpuInfo: () => guard(() => addon.cpuInfo()),
    peakRss: () => guard(() => addon.peakRss()),
    qnn: wrapQnn(addon.qnn),
    kernels: wrapKernels(addon.kernels),
  };
}

let loaded: NativeAddon | undefined;

/** The addon, loaded at the first call. Throws LUTRA_NOT_FOUND when there is no binary for this machine, with the loader's own reason. */
export function loadAddon(): NativeAddon {
  if (loaded) return loaded;
  const load = createRequire(import.meta.url)('node-gyp-build') as (directory: string) => NativeAddon;
  try {
    loaded = wrapAddon(load(packageRoot));
    return loaded;
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error);
    throw new LutraError(
      'LUTRA_NOT_FOUND',
      `The native part of lutra cannot be loaded on ${process.platform}-${process.arch}: ${reason}`,
      '`npx lutra build` builds it from source (with CMake or node-gyp).',
      { cause: error },
    );
  }
}
