import { get } from 'node:http'
import { json } from 'node:stream/consumers'

/**
 * Processor time that a server of the bench has used, microseconds, with its garbage collector and its compiler. On a
 * connection of its own: one that was idle since the last look may be closed from the other side as it is used again.
 */
export async function readCpu(url: string): Promise<number> {
  const answer = new Promise<unknown>((resolve, reject) => {
    get(`${url}/cpu`, { agent: false }, (response) => json(response).then(resolve, reject)).on('error', reject)
  })
  const { user, system } = (await answer) as NodeJS.CpuUsage
  return user + system
}
