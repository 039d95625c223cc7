import { connect, createServer, type Socket } from 'node:net'
import { freePort } from '@protocolbanks/stream-dev'

/** A way to a server that can be cut and mended: what an outage looks like to a program that uses it. */
export type Cuttable = {
  /** The server's URL with the host and port of this way. */
  url: string
  cut(): Promise<void>
  mend(): Promise<void>
  /** From now on connections are accepted and nothing is answered, as by a server that hangs. `cut` and `mend` end it. */
  hang(): void
  close(): Promise<void>
}

export async function createCuttable(target: string): Promise<Cuttable> {
  const to = new URL(target)
  const sockets = new Set<Socket>()
  let hangs = false
  const server = createServer((incoming) => {
    if (hangs) {
      sockets.add(incoming)
      incoming.on('error', () => incoming.destroy())
      incoming.on('close', () => sockets.delete(incoming))
      return
    }
    const outgoing = connect(Number(to.port), to.hostname)
    for (const [one, other] of [
      [incoming, outgoing],
      [outgoing, incoming],
    ] as const) {
      sockets.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.on('close', () => {
        sockets.delete(one)
        other.destroy()
      })
    }
  })
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const cut = async () => {
    hangs = false
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of sockets) socket.destroy()
    await closed
  }
  // Nobody takes it while the way is cut.
  const port = await freePort()
  await listen(port)
  const url = new URL(target)
  url.host = `127.0.0.1:${port}`
  return {
    url: url.href,
    cut,
    mend: () => listen(port),
    hang() {
      hangs = true
      for (const socket of sockets) socket.unpipe()
    },
    close: async () => {
      if (server.listening) await cut()
    },
  }
}
