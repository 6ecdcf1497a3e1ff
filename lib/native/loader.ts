/**
 * Finds the addon and gives it TypeScript manners: every error it throws becomes a {@link LutraError} with the same code.
 * node-gyp-build looks in build/Release first, then in prebuilds/<platform>-<arch>.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isLutraErrorCode, LutraError } from '../graph/errors.js';
import type { EngineOptions, NativeAddon, NativeEngine } from './addon.js';

/** Root of the package: two folders above lib/native and dist/native alike. */
const packageRoot = fileURLToPath(new URL('../../', import.meta.url));

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
    generate: (options, onToken) => guardAsync(() => engine.generate(options, onToken)),
    acknowledge: (count) => guard(() => engine.acknowledge(count)),
    stop: () => guard(() => engine.stop()),
    truncate: (length) => guard(() => engine.truncate(length)),
    length: () => guard(() => engine.length()),
    timings: () => guard(() => engine.timings()),
    observations: () => guard(() => engine.observations()),
    peek: (tensor) => guard(() => engine.peek(tensor)),
    dispose: () => guardAsync(() => engine.dispose()),
  };
}

function wrapAddon(addon: NativeAddon): NativeAddon {
  return {
    openEngine: async (options: EngineOptions) => wrapEngine(await guardAsync(() => addon.openEngine(options))),
    qnnInfo: (npu) => guard(() => addon.qnnInfo(npu)),
    planSchema: () => guard(() => addon.planSchema()),
    checkPlan: (plan) => guard(() => addon.checkPlan(plan)),
    packGgml: (type, blocks, rows, cols) => guard(() => addon.packGgml(type, blocks, rows, cols)),
    dequantizePacked: (type, packed, rows, cols) => guard(() => addon.dequantizePacked(type, packed, rows, cols)),
    quantizeS8: (weights, rows, cols, transpose) => guard(() => addon.quantizeS8(weights, rows, cols, transpose)),
    cpuInfo: () => guard(() => addon.cpuInfo()),
    peakRss: () => guard(() => addon.peakRss()),
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
      'Build it with `npm run build:native` (needs CMake), or with `npx node-gyp@12 configure build`.',
      { cause: error },
    );
  }
}
