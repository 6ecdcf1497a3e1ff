/** Makes the digests of a spoiled model directory fit again, so that a test reaches what lies behind them. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PartDigest, sha256 } from '../../lib/files/digest.js';
import { sealJson } from '../../lib/files/sealed.js';
import { type FileHashes, TOKENIZER_FILES } from '../../lib/graph/spec.js';

interface Entry {
  data_offsets: [number, number];
}

/** Digests of whatever a safetensors file holds; none of tensors when its header does not parse. */
export function hashesOf(bytes: Uint8Array): FileHashes {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const part = (from: number, to: number) => new PartDigest().update(file.subarray(from, to)).digest();
  const end = file.length < 8 ? 0 : Math.min(file.length, 8 + Number(file.readBigUInt64LE()));
  const tensors: Record<string, string> = {};
  try {
    const table = JSON.parse(file.toString('utf8', 8, end)) as Record<string, Entry>;
    for (const [name, { data_offsets }] of Object.entries(table)) tensors[name] = part(end + data_offsets[0], end + data_offsets[1]);
  } catch {}
  return { sha256: sha256(file), header: part(0, end), tensors };
}

/** Writes lutra.json anew: with what `change` makes of it, with the digests of the files as they are, and with a checksum. */
export function reseal(directory: string, change: (spec: Record<string, unknown>) => void = () => {}): void {
  const file = join(directory, 'lutra.json');
  const { checksum: _, ...spec } = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  const hashes = spec.hashes as Record<string, unknown>;
  for (const kind of ['cpu', 'npu']) {
    const weights = join(directory, `${kind}.safetensors`);
    if (existsSync(weights)) hashes[kind] = hashesOf(readFileSync(weights));
  }
  hashes.tokenizer = Object.fromEntries(
    TOKENIZER_FILES.filter((name) => existsSync(join(directory, name))).map((name) => [name, sha256(readFileSync(join(directory, name)))]),
  );
  change(spec);
  writeFileSync(file, sealJson(spec));
}
