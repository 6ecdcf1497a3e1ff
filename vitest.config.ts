import { defineConfig } from 'vitest/config';

// Unit tests are quick and need the addon at most; end-to-end tests need the converted model and run one file at a time,
// because each holds a whole model in memory.
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['tests/unit/**/*.test.ts'], testTimeout: 30_000 } },
      {
        test: {
          name: 'e2e',
          include: ['tests/e2e/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
      // Minutes, or hours with LUTRA_STRESS, and addons with sanitizers.
      { test: { name: 'stress', include: ['tests/stress/**/*.test.ts'], testTimeout: 0, hookTimeout: 600_000 } },
      // The addon for 64-bit ARM under qemu-user, once scripts/prebuild has made it.
      { test: { name: 'prebuild', include: ['tests/prebuild/**/*.test.ts'], testTimeout: 1_800_000, hookTimeout: 600_000 } },
      // What other work on the machine disturbs: npm run bench:overhead.
      { test: { name: 'timing', include: ['tests/bench/overhead.test.ts'], testTimeout: 120_000, hookTimeout: 600_000 } },
    ],
  },
});
