import { setTimeout as delay } from 'node:timers/promises'
import { migrate } from '@protocolbanks/stream-db'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { ProcessStartError, startPostgres } from '@protocolbanks/stream-dev'
import { createPostgresOutage } from '../../src/testing/postgresOutage.ts'

/** A PostgreSQL with the services' database that loses nothing it has committed when it is killed, as one in a deployment. */
export type PostgresServer = {
  url: string
  restart(how: 'fast' | 'killed'): Promise<void>
  stop(): Promise<void>
}

const restartMs = 20_000

export async function startPostgresServer(): Promise<PostgresServer> {
  const postgres = await startPostgres()
  const login = connectAsLogin(postgres.url)
  // The development server answers before the write-ahead log has left its memory. Settings of a database go first.
  await login.query('alter database postgres set synchronous_commit = on')
  await login.close()
  await migrate({ url: postgres.url })
  const outage = await createPostgresOutage(postgres)
  return {
    url: postgres.url,
    async restart(how) {
      await (how === 'fast' ? outage.stop() : outage.kill())
      const deadline = Date.now() + restartMs
      for (;;) {
        try {
          return await outage.start()
        } catch (error) {
          // Until the last process of the one that was killed has noticed, its memory is in use.
          if (!(error instanceof ProcessStartError) || Date.now() > deadline) throw error
          await delay(200)
        }
      }
    },
    async stop() {
      await outage.end()
      await postgres.stop()
    },
  }
}
