import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['**/*.test.ts'],
    exclude: ['**/node_modules/**', '**/dist/**'],
    // Starts one Postgres and one Redis for the run; tests make their own database and key prefix in them.
    globalSetup: ['dev/src/testing/global-setup.ts'],
    // A machine may be many times slower than the one a test was written on. What hangs fails late; what is slow passes.
    testTimeout: 120_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 60_000 } },
    retry: 0,
  },
})
