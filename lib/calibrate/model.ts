/** Calibration of a model directory: what `lutra calibrate` does, and the API. */
import { prepareFile, writeFileWhole } from '../files/write.js';
import { LutraError } from '../graph/errors.js';
import { loadAddon } from '../native/loader.js';
import { openModelDirectory } from '../runtime/model-dir.js';
import { abortSignal, callable, checkOptions, integer, strings, text } from '../runtime/options.js';
import { Tokenizer } from '../runtime/tokenizer.js';
import { type MeasureProgress, measure, removeCheckpoint } from './measure.js';
import { profilePage } from './page/page.js';
import { type CalibrationProfile, profileBytes } from './profile.js';

export interface CalibrateModelOptions {
  /** Paths of UTF-8 texts, taken one after the other. */
  texts: readonly string[];
  /** Windows that are run at most; default: all that the texts have. */
  windows?: number;
  /** Tokens of a window, each of which starts with an empty KV cache; default 256, or what the model's context holds. */
  windowTokens?: number;
  /** File for the result. A checkpoint stands beside it, `FILE.checkpoint`, until it is there; a later call with the same model, texts and options goes on from it. */
  output?: string;
  /** File for a page of HTML with plots of the result. */
  page?: string;
  /** Windows from one checkpoint to the next; default 64. */
  checkpointEvery?: number;
  /** Default: all processors, or the big cores of a phone. */
  threads?: number;
  signal?: AbortSignal;
  onProgress?: (progress: MeasureProgress) => void;
}

const MAX_THREADS = 256;

/**
 * Runs the float model of a model directory over texts and resolves to what its linears read and write (docs/calibration.md). Memory does not depend on the length of the texts.
 * Errors (LutraError): those of openModelDirectory; LUTRA_INVALID_ARGUMENT (options, a text shorter than a window, the checkpoint of something else), LUTRA_BAD_FILE (no UTF-8 text, weights that are not
 * finite, a damaged checkpoint), LUTRA_IO, LUTRA_ABORTED.
 */
export async function calibrateModel(directory: string, options: CalibrateModelOptions): Promise<CalibrationProfile> {
  checkOptions('calibrateModel', options, {
    texts: strings,
    windows: integer(1),
    windowTokens: integer(1),
    output: text,
    page: text,
    checkpointEvery: integer(1),
    threads: integer(1, MAX_THREADS),
    signal: abortSignal,
    onProgress: callable,
  });
  const { output, page, signal } = options;
  try {
    signal?.throwIfAborted();
    const { path, spec, cpu } = await openModelDirectory(directory);
    const tokenizer = await Tokenizer.load(path, spec.hashes.tokenizer);
    const windowTokens = options.windowTokens ?? Math.min(256, spec.arch.maxContext);
    for (const file of [output, page]) if (file !== undefined) await prepareFile(file);
    const checkpoint = output === undefined ? null : `${output}.checkpoint`;
    const addon = loadAddon();
    const profile = await measure({
      spec,
      weights: cpu.path,
      texts: options.texts,
      encode: (piece) => tokenizer.encode(piece),
      decode: (ids) => tokenizer.decode(ids),
      windows: options.windows ?? null,
      windowTokens,
      checkpoint,
      checkpointEvery: options.checkpointEvery ?? 64,
      addon,
      threads: options.threads ?? addon.cpuInfo().bigCores,
      signal,
      onProgress: options.onProgress,
    });
    if (page !== undefined) await writeFileWhole(page, [Buffer.from(profilePage(profile, spec))]);
    if (output !== undefined && checkpoint !== null) {
      await writeFileWhole(output, [profileBytes(profile)]);
      await removeCheckpoint(checkpoint);
    }
    return profile;
  } catch (error) {
    throw signal?.aborted ? new LutraError('LUTRA_ABORTED', 'The calibration was aborted.', '', { cause: error }) : error;
  }
}
