import 'vitest'

declare module 'vitest' {
  // biome-ignore lint/style/useConsistentTypeDefinitions: only an interface can be merged into vitest's own
  interface ProvidedContext {
    /** Superuser URL of the run's PostgreSQL server. A test makes its own database there and drops it at its end. */
    postgresUrl: string
    /** URL of the run's Redis. A test uses a key prefix of its own. */
    redisUrl: string
  }
}
