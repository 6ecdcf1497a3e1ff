/**
 * JSON that tells when it was changed: its last field is a SHA-256 of every byte before it, in a form that leaves no byte of the file free.
 */
import { sha256 } from './digest.js';

const FIELD = ',\n "checksum": "';
const END = '"\n}\n';
const DIGITS = 64;

/** Bytes of an object with one field to a line and the checksum as the last one. */
export function sealJson(value: object): Buffer {
  return sealText(JSON.stringify(value, null, 1));
}

/** The same of a JSON object that is text already and ends with a line of its closing brace alone. */
export function sealText(json: string): Buffer {
  const open = json.replace(/\n\}$/, FIELD);
  return Buffer.from(`${open}${sha256(Buffer.from(open))}${END}`);
}

/** `absent`: the bytes do not end as {@link sealJson} ends them. Else the checksum that they carry and the one that they have. */
export function sealOf(bytes: Uint8Array): 'absent' | { stored: string; found: string } {
  const at = bytes.length - END.length - DIGITS;
  const tail = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1', Math.max(0, at - FIELD.length));
  const stored = tail.slice(FIELD.length, FIELD.length + DIGITS);
  if (tail !== `${FIELD}${stored}${END}` || !/^[0-9a-f]{64}$/.test(stored)) return 'absent';
  return { stored, found: sha256(bytes.subarray(0, at)) };
}
