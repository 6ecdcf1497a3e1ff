/**
 * Where a context binary is kept and what it must match. A real library takes minutes to compile the graphs of a model; the result is
 * kept, and used again only when graphs, weights, library build and SoC are the same.
 */
import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { basename, join } from 'node:path';
import type { NativeNpu } from '../native/addon.js';

/** What a context binary depends on. */
export interface ContextIdentity {
  /** Bytes that are equal for equal graphs (lib/graph/identity.ts). */
  graphs: Uint8Array;
  /** `hashes.npu.sha256` of lutra.json. */
  weightsHash: string;
  buildId: string;
  soc: number | undefined;
}

/** sha256 of everything that a context binary depends on, each part with its length, so that no two identities run together. */
export function contextKey(identity: ContextIdentity): string {
  const hash = createHash('sha256');
  for (const part of [identity.graphs, identity.weightsHash, identity.buildId, String(identity.soc ?? 'default')]) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex');
}

/** `$LUTRA_CACHE/contexts`, else `$XDG_CACHE_HOME/lutra/contexts`, else `~/.cache/lutra/contexts`. */
export function defaultContextDirectory(env: NodeJS.ProcessEnv = process.env): string {
  const root = env.LUTRA_CACHE || join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'lutra');
  return join(root, 'contexts');
}

/** One file per model directory, library and SoC: a changed key replaces it, and nothing piles up. */
export function contextFile(directory: string, modelPath: string, npu: Extract<NativeNpu, { kind: 'library' }>): string {
  const place = createHash('sha256')
    .update(JSON.stringify([modelPath, npu.path, npu.soc ?? null]))
    .digest('hex');
  return join(directory, `${basename(modelPath)}-${place.slice(0, 16)}.qnnctx`);
}
