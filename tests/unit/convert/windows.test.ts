import { describe, expect, it } from 'vitest';
import { textWindows } from '../../../lib/convert/windows.js';

const text = (tokens: number) => Array.from({ length: tokens }, (_, i) => i);

describe('windows of the calibration text', () => {
  it('are all for ranges where nothing is chosen', () => {
    expect(textWindows(text(10), { calibrationWindows: 3, calibrationWindowTokens: 4 }, 128, false)).toMatchObject({
      ranges: 3,
      tokens: 4,
    });
    expect(textWindows(text(10), {}, 128, false)).toMatchObject({ ranges: 16, tokens: 128 });
    expect(textWindows(text(10), {}, 4096, false)).toMatchObject({ ranges: 16, tokens: 256 });
  });

  it('measure behind those that ranges are taken from', () => {
    const long = textWindows(text(100_000), {}, 4096, true);
    const { alone, together } = long.apart();
    expect(long.ranges).toBe(16);
    expect(together.map(([first]) => first)).toEqual([16, 17, 18, 19, 20, 21, 22, 23].map((window) => window * 256));
    expect(together.every((window) => window.length === 256)).toBe(true);
    expect(alone.map((window) => [window[0], window.length])).toEqual([
      [16 * 256, 128],
      [23 * 256, 128],
    ]);
  });

  it('of a short text are divided: a third of it is measured on', () => {
    const short = textWindows(text(7 * 64 + 5), { calibrationWindowTokens: 64 }, 4096, true);
    expect(short.ranges).toBe(5);
    expect(short.apart().together.map(([first]) => first)).toEqual([320, 384]);
    const least = textWindows(text(128), { calibrationWindowTokens: 64 }, 4096, true);
    expect(least.ranges).toBe(1);
    expect(least.apart().together.map(([first]) => first)).toEqual([64]);
    expect(least.apart().alone).toHaveLength(1);
    expect(() => textWindows(text(127), { calibrationWindowTokens: 64 }, 4096, true)).toThrow(
      /127 tokens; choosing precisions needs at least 128/,
    );
  });
});
