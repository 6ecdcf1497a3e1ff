/** Compiles the NPU's graphs of a model ahead of time, on a PC, for the SoCs of phones. */
import { open, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { sha256 } from '../files/digest.js';
import { sealJson } from '../files/sealed.js';
import { prepareFile, writeError, writeFileWhole } from '../files/write.js';
import { LutraError, segmentsIdentity } from '../graph/index.js';
import { type BinaryInfo, Library } from '../qnn/api/index.js';
import { contextFile } from '../qnn/context-cache.js';
import { COMPILED_FOLDER, COMPILED_VERSION, type CompiledRecord, digestFile, imageName, recordName, socRecord } from './compiled.js';
import { loadModel, type Model } from './model.js';
import { openModelDirectory } from './model-dir.js';
import { abortSignal, boolean, type Check, callable, checkOptions, integer, text } from './options.js';

export interface CompileOptions {
  /** Path of a QNN library that compiles offline: libQnnHtp.so for x86-64. */
  library: string;
  /** QNN's SoC ids: 57 is SM8650, 69 SM8750, 87 SM8850. */
  socs: readonly number[];
  /** Folder for the files; default: `compiled` in the model directory, where `loadModel` looks. */
  output?: string;
  /** Whether library and graphs are tested, as at a first start; default true. */
  npuCheck?: boolean;
  npuTimeoutMs?: number;
  signal?: AbortSignal;
  /** Before each SoC: how many are done. */
  onProgress?: (done: number, total: number) => void;
}

const socList: Check = (value) =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((soc) => Number.isSafeInteger(soc) && soc > 0 && soc < 2 ** 32) &&
  new Set(value).size === value.length
    ? undefined
    : 'a list of different SoC ids';

const checks: Record<keyof CompileOptions, Check> = {
  library: text,
  socs: socList,
  output: text,
  npuCheck: boolean,
  npuTimeoutMs: integer(1),
  signal: abortSignal,
  onProgress: callable,
};

/** Bytes of the header of native/qnn/context_image.h, and where it says how long the binary is, which ends the file. */
const [HEADER_BYTES, BINARY_BYTES_AT] = [32, 16];

/** The library's own description of the binary in an image. */
async function describe(library: Library, file: string): Promise<BinaryInfo & { bytes: number }> {
  const handle = await open(file, 'r').catch(() => {
    throw new LutraError(
      'LUTRA_UNSUPPORTED',
      'The library gave no context binary.',
      'Use a release of the library that can (Qualcomm: 2.36 or later).',
    );
  });
  try {
    const { size } = await handle.stat();
    const header = Buffer.alloc(HEADER_BYTES);
    await handle.read(header, 0, HEADER_BYTES, 0);
    const bytes = Number(header.readBigUInt64LE(BINARY_BYTES_AT));
    if (!(bytes > 0 && bytes < size)) throw new LutraError('LUTRA_INTERNAL', `${file} says that its binary has ${bytes} of ${size} bytes.`);
    const binary = new Uint8Array(bytes);
    await handle.read(binary, 0, bytes, size - bytes);
    return { ...library.readBinary(binary), bytes };
  } finally {
    await handle.close();
  }
}

function refuse(what: string, found: string | number, wanted: string | number): LutraError {
  const message = `The library says of its binary that ${what} is ${found}, but it should be ${wanted}.`;
  return new LutraError('LUTRA_QNN_CALL', message, 'Use another release of the library.');
}

/** What must be true of a binary that was just made. A library that does not tell the SoC (0, or nothing) is believed. */
function checkBinary(info: BinaryInfo, library: Library, soc: number, graphs: readonly string[]): void {
  if (info.buildId !== library.info.buildId) throw refuse('the build', info.buildId, library.info.buildId);
  if (info.socModel && info.socModel !== soc) throw refuse('the SoC', info.socModel, soc);
  const missing = graphs.find((name) => !info.graphs.some((graph) => graph.name === name));
  if (missing !== undefined || info.graphs.length !== graphs.length)
    throw refuse('the number of graphs', info.graphs.length, graphs.length);
}

/** Opens a session, which compiles the graphs and keeps them, and closes it. */
async function build(model: Model): Promise<void> {
  const session = await model.createSession();
  const { context } = session.placement();
  await session.dispose();
  if (context !== 'built') throw new LutraError('LUTRA_INTERNAL', `The graphs were ${context}, not built.`);
}

/** Builds the graphs in `scratch` and resolves to where the image is and what it is. */
async function compileInto(
  directory: string,
  soc: number,
  scratch: string,
  options: CompileOptions,
): Promise<{ image: string; record: CompiledRecord }> {
  const { npuCheck, npuTimeoutMs } = options;
  const path = resolve(options.library);
  const common = { ...(npuCheck === undefined ? {} : { npuCheck }), ...(npuTimeoutMs === undefined ? {} : { npuTimeoutMs }) };
  const model = await loadModel(directory, { npu: { library: path, soc }, compiled: false, cache: scratch, ...common });
  const library = Library.open(path);
  try {
    await build(model);
    const image = contextFile(scratch, model.path, { kind: 'library', path, soc });
    const info = await describe(library, image);
    checkBinary(
      info,
      library,
      soc,
      model.graph.segments.map(({ name }) => name),
    );
    const { name, buildId } = library.info;
    const record: CompiledRecord = {
      version: COMPILED_VERSION,
      model: model.spec.name,
      file: imageName(soc),
      sha256: await digestFile(image),
      graphs: sha256(segmentsIdentity(model.graph)),
      weights: model.spec.hashes.npu?.sha256 ?? '',
      library: { name, buildId },
      soc: socRecord(soc),
      binary: {
        buildId: info.buildId,
        apiVersion: info.apiVersion,
        blobVersion: info.blobVersion,
        socModel: info.socModel ?? null,
        graphs: info.graphs.length,
        bytes: info.bytes,
      },
    };
    return { image, record };
  } finally {
    library.dispose();
    await model.dispose();
  }
}

async function compileOne(directory: string, soc: number, output: string, options: CompileOptions): Promise<CompiledRecord> {
  const scratch = join(output, `.soc${soc}-${process.pid}`);
  try {
    const { image, record } = await compileInto(directory, soc, scratch, options);
    // A record that does not fit its image is not used, so that no moment between the two is dangerous.
    const target = join(output, record.file);
    await rename(image, target).catch((error: unknown) => {
      throw writeError(target, error);
    });
    await writeFileWhole(join(output, recordName(soc)), [sealJson(record)]);
    return record;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Writes `socNN.qnnctx` and `socNN.json` for every SoC; what was there is replaced when the new one is whole. The binaries are read back by the library's system interface. Throws
 * {@link LutraError}: as loadModel does; LUTRA_UNSUPPORTED when the library makes no binaries; LUTRA_QNN_CALL when one says that it is something else; LUTRA_IO; LUTRA_ABORTED between SoCs.
 */
export async function compileModel(directory: string, options: CompileOptions): Promise<CompiledRecord[]> {
  checkOptions('compileModel', options, checks);
  const { socs, signal, onProgress } = options;
  const output = options.output === undefined ? join(resolve(directory), COMPILED_FOLDER) : resolve(options.output);
  await openModelDirectory(directory);
  for (const soc of socs) await prepareFile(join(output, recordName(soc)));
  const records: CompiledRecord[] = [];
  for (const soc of socs) {
    if (signal?.aborted) throw new LutraError('LUTRA_ABORTED', `Aborted after ${records.length} of ${socs.length} SoCs.`);
    onProgress?.(records.length, socs.length);
    records.push(await compileOne(directory, soc, output, options));
  }
  onProgress?.(records.length, socs.length);
  return records;
}
