/**
 * Context binaries that `lutra compile` made ahead of time: `socNN.qnnctx` beside `socNN.json`, which says what it was made from. By default they lie in the folder `compiled` of the
 * model directory.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { sealOf } from '../files/sealed.js';
import type { BackendInfo } from '../native/addon.js';
import { archOf, SOCS } from '../qnn/soc.js';

export const COMPILED_FOLDER = 'compiled';
export const COMPILED_VERSION = 1;

/** What the graphs of a model on a library depend on. */
export interface GraphsIdentity {
  /** sha256 of the segments (lib/graph/identity.ts). */
  graphs: string;
  /** `hashes.npu.sha256` of lutra.json. */
  weights: string;
  library: Pick<BackendInfo, 'name' | 'buildId'>;
  soc: number;
}

/** The content of `socNN.json`. */
export interface CompiledRecord extends Omit<GraphsIdentity, 'soc'> {
  version: typeof COMPILED_VERSION;
  /** Name of the model, for people. */
  model: string;
  /** File beside this one. */
  file: string;
  sha256: string;
  soc: { id: number; name: string | null; arch: number | null };
  /** The library's own description of the binary, as its system interface reads it. */
  binary: { buildId: string; apiVersion: string; blobVersion: string; socModel: number | null; graphs: number; bytes: number };
}

/** What there is for a model on a library and SoC. */
export type CompiledChoice =
  | { kind: 'none' }
  | { kind: 'use'; file: string; record: CompiledRecord }
  /** Something is there that must not be used. `field`: of the record, or of the files. */
  | { kind: 'mismatch'; field: string; why: string };

export function socRecord(id: number): CompiledRecord['soc'] {
  const known = SOCS.find((soc) => soc.id === id);
  return { id, name: known?.name ?? null, arch: archOf({ soc: id }) ?? null };
}

export function recordName(soc: number): string {
  return `soc${soc}.json`;
}

export function imageName(soc: number): string {
  return `soc${soc}.qnnctx`;
}

export async function digestFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const block of createReadStream(path)) hash.update(block as Buffer);
  return hash.digest('hex');
}

const mismatch = (field: string, why: string): CompiledChoice => ({ kind: 'mismatch', field, why });

function isRecord(value: unknown): value is CompiledRecord {
  if (typeof value !== 'object' || value === null) return false;
  const { version, graphs, weights, library, file, sha256, soc, binary } = value as Partial<Record<keyof CompiledRecord, unknown>>;
  const text = (...values: unknown[]) => values.every((one) => typeof one === 'string');
  const object = (one: unknown): one is Record<string, unknown> => typeof one === 'object' && one !== null;
  if (version !== COMPILED_VERSION || !text(graphs, weights, file, sha256)) return false;
  return (
    object(library) &&
    text(library.name, library.buildId) &&
    object(soc) &&
    typeof soc.id === 'number' &&
    object(binary) &&
    typeof binary.graphs === 'number'
  );
}

async function readRecord(path: string): Promise<CompiledRecord | string> {
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (error) {
    return `cannot be read: ${error instanceof Error ? error.message : String(error)}`;
  }
  const seal = sealOf(bytes);
  if (seal === 'absent' || seal.stored !== seal.found) return 'was changed after it was written';
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (isRecord(value)) return value;
  } catch {
    // A seal over what is no JSON is none of lutra's.
  }
  return `is not of version ${COMPILED_VERSION}`;
}

/** The first field in which a record is not what is wanted. */
function differs(record: CompiledRecord, wanted: GraphsIdentity): CompiledChoice | null {
  const { library, soc } = wanted;
  if (record.soc.id !== soc) return mismatch('soc', `it was made for SoC ${record.soc.id}, this is SoC ${soc}`);
  if (record.weights !== wanted.weights) return mismatch('weights', 'it was made from other NPU weights than this model has');
  if (record.graphs !== wanted.graphs) return mismatch('graphs', 'it was made for other graphs than this version of lutra builds');
  if (record.library.name !== library.name)
    return mismatch('library', `it was made by ${record.library.name}, the library is ${library.name}`);
  if (record.library.buildId !== library.buildId)
    return mismatch('buildId', `it was made by build ${record.library.buildId}, the library is build ${library.buildId}`);
  return null;
}

/** Socs for which a folder has records, or null when there is no such folder. */
async function recordedSocs(folder: string): Promise<number[] | null> {
  const names = await readdir(folder).catch(() => null);
  const socs = names?.flatMap((name) => name.match(/^soc(\d+)\.json$/)?.[1] ?? []).map(Number);
  return socs?.sort((a, b) => a - b) ?? null;
}

/** What a model on a library wants; `soc` is asked for only where there is something to choose from, and is undefined where nobody knows. */
export interface Wanted extends Omit<GraphsIdentity, 'soc'> {
  soc(): number | undefined;
}

/** Looks whether `folder` has graphs that fit; reads the whole binary once, since libraries crash on damaged ones. Never throws for what lies there. */
export async function chooseCompiled(folder: string, asked: Wanted): Promise<CompiledChoice> {
  const socs = await recordedSocs(folder);
  if (!socs || socs.length === 0) return { kind: 'none' };
  const soc = asked.soc();
  if (soc === undefined) return { kind: 'none' };
  const wanted: GraphsIdentity = { ...asked, soc };
  if (!socs.includes(soc)) return mismatch('soc', `there are graphs for SoC ${socs.join(', ')}, this is SoC ${soc}`);
  const record = await readRecord(join(folder, recordName(soc)));
  if (typeof record === 'string') return mismatch('record', `${recordName(soc)} ${record}`);
  const wrong = differs(record, wanted);
  if (wrong) return wrong;
  const file = join(folder, imageName(soc));
  try {
    if ((await digestFile(file)) !== record.sha256) return mismatch('sha256', `${imageName(soc)} was changed after it was written`);
  } catch (error) {
    return mismatch('file', `${imageName(soc)} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
  return { kind: 'use', file, record };
}
