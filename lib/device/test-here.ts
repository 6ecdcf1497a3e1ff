/** `lutra device-test --here`: everything that is worth knowing of a device, part by part, into one report. */
import { examine, realSurroundings } from '../doctor/index.js';
import { packageVersion } from '../files/package.js';
import { LutraError } from '../graph/errors.js';
import { type LoadOptions, loadModel } from '../runtime/model.js';
import { checkConformance, checkKernels, checkTokens } from './checks.js';
import type { DeviceReport, Part, PartName } from './report.js';
import { measurePrecisions, measureSpeed } from './speed.js';

export interface DeviceTestOptions {
  /** A QNN library; absent: the host NPU. */
  library?: string;
  soc?: number;
  /** Only every so many cases of the conformance table; default 1. */
  sample?: number;
  /** Of every timing; default 5. */
  runs?: number;
  /** Where compiled graphs and verdicts are kept. */
  cache: string;
  /** Parts that are left out. */
  skip?: readonly PartName[];
  signal?: AbortSignal;
  /** After each part, with the report as it is then. */
  onPart?: (name: PartName, report: DeviceReport) => Promise<void> | void;
}

const DEFAULT_RUNS = 5;
const CONTEXT = 1024;

async function part<T>(work: () => Promise<T> | T): Promise<Part<T>> {
  const started = performance.now();
  const seconds = () => Math.round(performance.now() - started) / 1000;
  try {
    return { state: 'done', result: await work(), seconds: seconds() };
  } catch (error) {
    const { code, message, remedy } = error instanceof LutraError ? error : new LutraError('LUTRA_INTERNAL', String(error));
    return { state: 'failed', error: { code, message, remedy }, seconds: seconds() };
  }
}

const NOT_REACHED = { state: 'skipped', why: 'not reached' } as const;

/** Runs the parts one after the other; one that fails does not keep the others from running. Never rejects for what a device does. */
export async function testHere(directory: string, options: DeviceTestOptions): Promise<DeviceReport> {
  const { library, soc, sample = 1, runs = DEFAULT_RUNS, cache, skip = [], signal } = options;
  const npu: LoadOptions['npu'] = library === undefined ? 'host' : { library, ...(soc === undefined ? {} : { soc }) };
  const load: LoadOptions = { npu, cache, contextSize: CONTEXT };
  const report: DeviceReport = {
    version: 1,
    at: new Date().toISOString(),
    lutra: packageVersion(),
    model: directory,
    parts: {
      doctor: NOT_REACHED,
      kernels: NOT_REACHED,
      conformance: NOT_REACHED,
      tokens: NOT_REACHED,
      speed: NOT_REACHED,
      precisions: NOT_REACHED,
    },
  };
  const { parts } = report;
  const run = async <T>(name: PartName, keep: (done: Part<T>) => void, work: () => Promise<T> | T): Promise<void> => {
    if (signal?.aborted) return;
    keep(skip.includes(name) ? { state: 'skipped', why: 'not asked for' } : await part(work));
    await options.onPart?.(name, report);
  };
  const target = { ...(library === undefined ? {} : { library }), ...(soc === undefined ? {} : { soc }) };
  await run(
    'doctor',
    (done) => {
      parts.doctor = done;
    },
    () => examine(realSurroundings(cache), target),
  );
  await run(
    'kernels',
    (done) => {
      parts.kernels = done;
    },
    checkKernels,
  );
  await run(
    'conformance',
    (done) => {
      parts.conformance = done;
    },
    () => checkConformance(library ?? 'host', soc, sample),
  );
  await run(
    'tokens',
    (done) => {
      parts.tokens = done;
    },
    async () => {
      const model = await loadModel(directory, load);
      return checkTokens(model).finally(() => model.dispose());
    },
  );
  await run(
    'speed',
    (done) => {
      parts.speed = done;
    },
    () => measureSpeed(directory, load, runs),
  );
  await run(
    'precisions',
    (done) => {
      parts.precisions = done;
    },
    () => measurePrecisions(library ?? 'host', soc, runs),
  );
  return report;
}
