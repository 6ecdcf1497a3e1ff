/** Which channels of a repaired input are worth keeping the weights of in memory. */

/** Of all clipped elements, those of the hot channels. */
const SHARE = 0.8;
/** Of all channels, how many may be hot. */
const MOST = 1 / 16;

/** The channels that are clipped most often, the most frequent first: as few as hold most of the clipped elements. null: nothing was clipped. */
export function hotChannels(counts: Float64Array): Uint32Array | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  const order = Uint32Array.from(counts.keys()).sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0) || a - b);
  const most = Math.ceil(counts.length * MOST);
  let held = 0;
  let size = 0;
  while (size < most && held < SHARE * total) held += counts[order[size++] ?? 0] ?? 0;
  return size === 0 ? null : order.slice(0, size);
}
