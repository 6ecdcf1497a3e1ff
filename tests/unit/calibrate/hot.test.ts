/** Which channels are kept in memory. */
import { describe, expect, it } from 'vitest';
import { hotChannels } from '../../../lib/calibrate/hot.js';

/** 64 channels, of which these were clipped so often. */
function counts(clipped: Readonly<Record<number, number>>): Float64Array {
  return Float64Array.from({ length: 64 }, (_, k) => clipped[k] ?? 0);
}

describe('hotChannels', () => {
  it('takes as few as hold four fifths of the clipped elements, the most frequent first', () => {
    expect(hotChannels(counts({ 40: 50, 3: 31, 7: 10, 9: 9 }))).toEqual(Uint32Array.of(40, 3));
    expect(hotChannels(counts({ 40: 50, 3: 29, 7: 11, 9: 10 }))).toEqual(Uint32Array.of(40, 3, 7));
  });

  it('takes the first of equals, and never more than a sixteenth of the channels', () => {
    expect(hotChannels(new Float64Array(64).fill(5))).toEqual(Uint32Array.of(0, 1, 2, 3));
    expect(hotChannels(Float64Array.of(1, 1, 1))).toEqual(Uint32Array.of(0));
  });

  it('takes none where nothing was clipped', () => {
    expect(hotChannels(counts({}))).toBeNull();
  });
});
