import type { TestProject } from 'vitest/node'
import { startPostgres } from '../stack/postgres.ts'
import { startRedis } from '../stack/redis.ts'

const running: { stop(): Promise<void> }[] = []

/** Starts one PostgreSQL and one Redis for the whole run: `inject('postgresUrl')`, `inject('redisUrl')`. */
export async function setup(project: TestProject): Promise<void> {
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()])
  running.push(postgres)
  if (!redis) {
    await teardown()
    throw new Error(
      'The tests need Redis: set REDIS_URL, or install redis-server (Debian: apt-get install redis-server).',
    )
  }
  running.push(redis)
  project.provide('postgresUrl', postgres.url)
  project.provide('redisUrl', redis.url)
}

/** Stops both. If the run dies before, they end with it (see processes/reaper.ts). */
export async function teardown(): Promise<void> {
  await Promise.all(running.splice(0).map((server) => server.stop()))
}
