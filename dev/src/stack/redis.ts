import { join } from 'node:path'
import { createTempDir } from '../processes/createTempDir.ts'
import { findOnPath } from '../processes/findOnPath.ts'
import { freePort } from '../processes/freePort.ts'
import { readyWhenLogged } from '../processes/ready.ts'
import { startProcess } from '../processes/startProcess.ts'

export type Redis = {
  url: string
  stop(): Promise<void>
}

/**
 * A Redis to work with: the one `REDIS_URL` names, or a `redis-server` of our own (found on the PATH, on a free port,
 * keeping nothing on disk), or undefined when there is neither.
 */
export async function startRedis(): Promise<Redis | undefined> {
  const given = process.env.REDIS_URL
  if (given) return { url: given, stop: async () => {} }

  const command = await findOnPath('redis-server')
  if (!command) return undefined
  const [directory, port] = await Promise.all([createTempDir('redis'), freePort()])
  const server = await startProcess({
    name: 'Redis',
    command,
    args: [
      ...['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory.path, '--save', '', '--appendonly', 'no'],
      // As in a deployment: half the memory for a grant.
      ...['--hash-max-listpack-value', '256'],
    ],
    cwd: directory.path,
    logFile: join(directory.path, 'redis.log'),
    ready: readyWhenLogged('Ready to accept connections'),
  })
  return {
    url: `redis://127.0.0.1:${port}`,
    async stop() {
      await server.stop()
      await directory.remove()
    },
  }
}
