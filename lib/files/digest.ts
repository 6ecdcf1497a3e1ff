/** Digests of files and of their parts, in hexadecimal: against damage, and as names of what they are of. */
import { createHash } from 'node:crypto';

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Digits of the digest of a part: 128 bits, since a model has hundreds of tensors. */
const PART_DIGITS = 32;

/** Takes in the bytes of a header or of a tensor, piece by piece. */
export class PartDigest {
  readonly #hash = createHash('sha256');

  update(bytes: Uint8Array): this {
    this.#hash.update(bytes);
    return this;
  }

  /** Once. */
  digest(): string {
    return this.#hash.digest('hex').slice(0, PART_DIGITS);
  }
}
