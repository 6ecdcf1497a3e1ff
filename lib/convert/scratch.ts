/** Memory that conversion uses for one piece after another: what a garbage collector would leave lying for a while is larger than a model's largest tensor. */
export class Scratch {
  readonly #buffers = new Map<string, ArrayBuffer>();

  /** At least `bytes` under a name. What was taken under it before is overwritten or left to the collector. */
  #take(name: string, bytes: number): ArrayBuffer {
    const held = this.#buffers.get(name);
    if (held && held.byteLength >= bytes) return held;
    // Let go first, so that both are never needed.
    this.#buffers.delete(name);
    const buffer = new ArrayBuffer(bytes);
    this.#buffers.set(name, buffer);
    return buffer;
  }

  /** Valid until bytes are taken under this name again; the content is whatever was there. */
  bytes(name: string, length: number): Uint8Array {
    return new Uint8Array(this.#take(`${name} bytes`, length), 0, length);
  }

  codes(name: string, length: number): Int8Array {
    return new Int8Array(this.#take(`${name} codes`, length), 0, length);
  }

  floats(name: string, length: number): Float32Array {
    return new Float32Array(this.#take(`${name} floats`, 4 * length), 0, length);
  }
}
