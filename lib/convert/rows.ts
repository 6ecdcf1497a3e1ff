/**
 * Row orders of q and k.
 *
 * GGUF files of Llama models store q and k for interleaved RoPE: within a head, row 2i + h of the file is row i + h · headDim/2 of the
 * original. lutra rotates halves, so the original order is restored; whole rows move, and quantised blocks with them.
 */

/** The row of the file that belongs at `row` of the original order. */
export function interleavedRow(row: number, headDim: number): number {
  const head = Math.floor(row / headDim);
  const within = row % headDim;
  const half = headDim / 2;
  return head * headDim + (within % half) * 2 + Math.floor(within / half);
}

/** Restores the original order of rows of `rowBytes` bytes each. */
export function unpermuteRows(data: Uint8Array, rowBytes: number, headDim: number): Uint8Array {
  const out = new Uint8Array(data.length);
  const rows = data.length / rowBytes;
  for (let row = 0; row < rows; row++) {
    const from = interleavedRow(row, headDim) * rowBytes;
    out.set(data.subarray(from, from + rowBytes), row * rowBytes);
  }
  return out;
}
