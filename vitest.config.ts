import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    // Starts one Postgres and one Redis for the run; tests make their own database and key prefix in them.
    globalSetup: ['dev/src/testing/global-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    retry: 0,
    // Most of a long test's time is waiting for blocks and time-outs: two at once share even a small machine well.
    maxWorkers: 2,
  },
})
