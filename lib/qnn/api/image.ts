/**
 * A context binary with what is needed to use it again safely. Little endian: magic "LULC", u32 version, u32 bytes of the header, u32 0, u64 bytes of the binary, 32 bytes
 * SHA-256 of all the rest with these 32 taken as zero; then the header, JSON; padding to 64 bytes; the binary.
 */
import { createHash } from 'node:crypto';
import { LutraError } from '../../graph/errors.js';
import { type GraphSignature, isSignature } from './signature.js';

const MAGIC = 'LULC';
const VERSION = 1;
const DIGEST_AT = 24;
const DIGEST_BYTES = 32;
const FIXED_BYTES = DIGEST_AT + DIGEST_BYTES;
const ALIGNMENT = 64;

/** What a compiled graph depends on beside itself. */
export interface ImageIdentity {
  readonly provider: string;
  readonly buildId: string;
  readonly soc: number | null;
  readonly arch: number | null;
  readonly key: string;
}

function bad(what: string): LutraError {
  return new LutraError('LUTRA_BAD_FILE', `This is not a usable context image: ${what}.`, 'Build the graphs again and save them.');
}

function digestOf(image: Uint8Array): Buffer {
  return createHash('sha256')
    .update(image.subarray(0, DIGEST_AT))
    .update(new Uint8Array(DIGEST_BYTES))
    .update(image.subarray(FIXED_BYTES))
    .digest();
}

function binaryBegin(headerBytes: number): number {
  return Math.ceil((FIXED_BYTES + headerBytes) / ALIGNMENT) * ALIGNMENT;
}

export function encodeImage(binary: Uint8Array, graphs: readonly GraphSignature[], identity: ImageIdentity): Uint8Array {
  const header = Buffer.from(JSON.stringify({ identity, graphs }));
  const begin = binaryBegin(header.length);
  const image = Buffer.alloc(begin + binary.length);
  image.write(MAGIC, 'latin1');
  image.writeUInt32LE(VERSION, 4);
  image.writeUInt32LE(header.length, 8);
  image.writeBigUInt64LE(BigInt(binary.length), 16);
  header.copy(image, FIXED_BYTES);
  image.set(binary, begin);
  digestOf(image).copy(image, DIGEST_AT);
  return new Uint8Array(image.buffer, image.byteOffset, image.length);
}

/** Throws LUTRA_BAD_FILE when the image is damaged or was made for something else than `expected`. The binary is a view of the image. */
export function decodeImage(image: Uint8Array, expected: ImageIdentity): { binary: Uint8Array; graphs: GraphSignature[] } {
  const bytes = Buffer.from(image.buffer, image.byteOffset, image.length);
  if (bytes.length < FIXED_BYTES || bytes.toString('latin1', 0, 4) !== MAGIC) throw bad('it does not begin with LULC');
  const version = bytes.readUInt32LE(4);
  if (version !== VERSION) throw bad(`its version is ${version}, not ${VERSION}`);
  const headerBytes = bytes.readUInt32LE(8);
  const begin = binaryBegin(headerBytes);
  if (BigInt(bytes.length) !== BigInt(begin) + bytes.readBigUInt64LE(16)) throw bad('its length is not what it says');
  if (!digestOf(image).equals(bytes.subarray(DIGEST_AT, FIXED_BYTES))) throw bad('its checksum is wrong');
  const header: unknown = JSON.parse(bytes.toString('utf8', FIXED_BYTES, FIXED_BYTES + headerBytes));
  const { identity, graphs } = header as { identity: Record<string, unknown>; graphs: unknown[] };
  for (const [name, value] of Object.entries(expected)) {
    if (identity[name] !== value) throw bad(`it was made for ${name} ${String(identity[name])}, not ${String(value)}`);
  }
  if (!graphs.every(isSignature)) throw bad('its graphs are not described');
  return { binary: image.subarray(begin), graphs };
}
