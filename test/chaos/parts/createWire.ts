import { connect, createServer, type Server, type Socket } from 'node:net'
import { freePort } from '@protocolbanks/stream-dev'

/** A way from one program to another, which can be cut, fall silent, or become slow. */
export type Wire = {
  /** `target` with the host and port of this way. */
  url: string
  /** Ends all connections and takes no new ones. */
  cut(): Promise<void>
  /** Connections stay open, new ones are accepted, and nothing passes. */
  silence(): void
  /** What comes back is late by so much. */
  slow(byMs: number): void
  /** As it was. Connections that were silent are ended: what they lost does not come back. */
  mend(): Promise<void>
  close(): Promise<void>
}

export async function createWire(target: string): Promise<Wire> {
  const to = new URL(target)
  const port = await freePort()
  const sockets = new Set<Socket>()
  let server: Server | undefined
  let isSilent = false
  let lateMs = 0

  function join(incoming: Socket): void {
    const outgoing = connect(Number(to.port), to.hostname)
    for (const [one, other] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(one)
      one.on('data', (chunk) => {
        if (isSilent) return
        const pass = () => {
          if (!other.destroyed && !other.write(chunk)) one.pause()
        }
        if (one === outgoing && lateMs > 0) setTimeout(pass, lateMs)
        else pass()
      })
      other.on('drain', () => one.resume())
      one.on('error', () => one.destroy())
      one.on('end', () => isSilent || other.end())
      one.on('close', () => {
        sockets.delete(one)
        if (!isSilent) other.destroy()
      })
    }
  }

  function listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      server = createServer({ allowHalfOpen: false }, join)
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
  }

  async function cut(): Promise<void> {
    const closing = server
    server = undefined
    for (const socket of sockets) socket.destroy()
    if (closing) await new Promise((resolve) => closing.close(resolve))
  }

  await listen()
  const url = new URL(target)
  url.host = `127.0.0.1:${port}`
  return {
    url: url.href.replace(/\/$/, to.pathname === '/' ? '' : '/'),
    cut,
    silence() {
      isSilent = true
    },
    slow(byMs) {
      lateMs = byMs
    },
    async mend() {
      lateMs = 0
      if (isSilent) for (const socket of sockets) socket.destroy()
      isSilent = false
      if (!server) await listen()
    },
    close: cut,
  }
}
