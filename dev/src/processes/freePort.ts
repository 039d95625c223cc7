import { createServer, type Server } from 'node:net'

// Below the range from which systems take the ports of outgoing connections (32768 and up), so that none of these can
// take a port between our check and the start of the program that wants it.
const firstPort = 10_000
const ports = 10_000
const attempts = 200
/** In the range, and a "bad port" of the Fetch standard: fetch refuses to ask there. */
const badPort = 10_080

/**
 * Finds a TCP port on 127.0.0.1 that is free and that no other process of ours is about to use.
 *
 * The port stays claimed for the life of this process by a listener on the port 10,000 above it: that needs no lock
 * files, and the system lets go of it however the process ends.
 *
 * @param preferred taken if it is free, whatever its number
 * @throws after 200 attempts
 */
export async function freePort(preferred?: number): Promise<number> {
  if (preferred !== undefined && (await isFree(preferred))) return preferred
  for (let attempt = 0; attempt < attempts; attempt++) {
    const port = firstPort + Math.floor(Math.random() * ports)
    if (port === badPort) continue
    const claim = await listen(port + ports)
    if (!claim) continue
    if (await isFree(port)) return port
    claim.close()
  }
  throw new Error(
    `Found no free port between ${firstPort} and ${firstPort + ports - 1} in ${attempts} attempts. Stop programs that listen there.`,
  )
}

async function isFree(port: number): Promise<boolean> {
  const probe = await listen(port)
  if (!probe) return false
  await new Promise((resolve) => probe.close(resolve))
  return true
}

function listen(port: number): Promise<Server | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.unref()
    server.once('error', () => resolve(undefined))
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => resolve(server))
  })
}
