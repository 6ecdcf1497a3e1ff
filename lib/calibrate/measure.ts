/** A text of any length through the float model, in constant memory, with checkpoints to go on from: the statistics of what its linears read and write. */
import { rm } from 'node:fs/promises';
import { sha256 } from '../files/digest.js';
import { LutraError } from '../graph/errors.js';
import type { ModelSpec } from '../graph/spec.js';
import type { CalibrationSite } from '../models/index.js';
import { type Identity, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { garbageCollector } from './garbage.js';
import { type CalibrationAddon, ObservedModel } from './observe.js';
import { type CalibrationProfile, PROFILE_FORMAT, type ProfileSite, siteOf, tokensOfPeaks } from './profile.js';
import { SiteStatistics } from './statistics.js';
import { type Encode, locate, scanTexts, type TextFile, textWindows, tokenPieces } from './text.js';

export interface MeasureOptions {
  /** Its `linears` and transform are not looked at: the float model is measured in its own basis. */
  spec: ModelSpec;
  /** Path of cpu.safetensors. */
  weights: string;
  /** Paths of UTF-8 texts, which are taken one after the other. */
  texts: readonly string[];
  encode: Encode;
  decode: (ids: readonly number[]) => string;
  /** Windows that are run at most; null: all that the texts have. */
  windows: number | null;
  windowTokens: number;
  /** File of the checkpoint; null: none is written, and none read. */
  checkpoint: string | null;
  /** Windows from one checkpoint to the next. */
  checkpointEvery: number;
  addon: CalibrationAddon;
  threads: number;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: MeasureProgress) => void) | undefined;
}

export interface MeasureProgress {
  /** Windows done, those of an earlier run included. */
  windows: number;
  /** Of them, those of the checkpoint that this run went on from. */
  resumed: number;
  /** Share of the work that is done, 0 to 1. */
  share: number;
}

/** Characters after which the garbage of the tokenizer is collected: 30 ms for what the model takes minutes for. */
const COLLECT_EVERY = 2 ** 16;

/** The same tokens, with garbage that does not grow with the text. */
function collecting(encode: Encode): Encode {
  const collect = garbageCollector();
  let characters = 0;
  return (text) => {
    characters += text.length;
    if (characters >= COLLECT_EVERY) {
      collect();
      characters = 0;
    }
    return encode(text);
  };
}

const what = ({ what, layer, linears }: CalibrationSite): string => `${what} of layer ${layer}, ${linears.join(', ')}`;

/** Throws LUTRA_BAD_FILE where the model computed what is not finite. */
function statisticsOf(model: ObservedModel): SiteStatistics[] {
  const values = model.observations();
  return model.sites.map((site) => new SiteStatistics(values[site.site] ?? new Float64Array(), what(site)));
}

/** Runs all windows; the number of them. */
async function runWindows(model: ObservedModel, options: MeasureOptions, files: readonly TextFile[], identity: Identity): Promise<number> {
  const { checkpoint, windowTokens, checkpointEvery, onProgress } = options;
  const limit = options.windows ?? Number.POSITIVE_INFINITY;
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  const before = checkpoint === null ? null : await readCheckpoint(checkpoint, identity);
  const resumed = before?.done ?? 0;
  if (before) model.restore(before.values);
  let windows = 0;
  for await (const { tokens, bytes } of textWindows(tokenPieces(files, options.encode), windowTokens)) {
    if (windows === limit) break;
    options.signal?.throwIfAborted();
    windows++;
    if (windows > resumed) {
      await model.run(tokens);
      // Damaged weights show at once: a book later is too late.
      if (windows === 1) statisticsOf(model);
      if (checkpoint !== null && windows % checkpointEvery === 0)
        await writeCheckpoint(checkpoint, identity, { done: windows, values: model.observations() });
    }
    onProgress?.({ windows, resumed, share: Math.min(1, Math.max(windows / limit, bytes / total)) });
  }
  return windows;
}

/**
 * The statistics of a model over texts. The same bytes for the same model, texts and options, whether it was interrupted or not.
 * Errors: LUTRA_INVALID_ARGUMENT (text too short; checkpoint of something else), LUTRA_NOT_FOUND, LUTRA_BAD_FILE (no text; weights that are not finite), LUTRA_IO;
 * the signal's reason, or LUTRA_ABORTED, when aborted.
 */
export async function measure(options: MeasureOptions): Promise<CalibrationProfile> {
  const { windowTokens, spec, signal } = options;
  const encode = collecting(options.encode);
  const { name, arch, hashes } = spec;
  const files = await scanTexts(options.texts, signal);
  const model = await ObservedModel.open({
    ...options,
    spec: { ...spec, transform: 'none' },
    files: [options.weights],
    linears: {},
    calibrate: 'inputs',
  });
  try {
    const texts = files.map(({ sha256: digest }) => digest);
    const identity = { weights: hashes.cpu.sha256, plan: sha256(model.plan), texts, windows: options.windows, windowTokens };
    const windows = await runWindows(model, { ...options, encode }, files, identity);
    if (windows === 0) {
      const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
      throw new LutraError(
        'LUTRA_INVALID_ARGUMENT',
        `The calibration text of ${bytes} bytes has less than the ${windowTokens} tokens of one window`,
        'Give a longer text.',
      );
    }
    const statistics = statisticsOf(model);
    const places = await locate(statistics.flatMap(tokensOfPeaks), tokenPieces(files, encode), options.decode);
    const sites = model.sites.map((site, i) => {
      const { layer, linears } = site;
      return siteOf({ what: site.what as ProfileSite['what'], layer, linears }, statistics[i] as SiteStatistics, places, windowTokens);
    });
    return {
      format: PROFILE_FORMAT,
      kind: 'lutra calibration',
      model: { name, layers: arch.layers, hidden: arch.hidden, cpuSha256: hashes.cpu.sha256 },
      text: {
        files: files.map(({ path: _, ...file }) => file),
        windows,
        windowTokens,
        tokens: windows * windowTokens,
      },
      sites,
    };
  } finally {
    await model.dispose();
  }
}

/** Removes a checkpoint that is not needed any more. */
export async function removeCheckpoint(path: string): Promise<void> {
  await rm(path, { force: true });
}
