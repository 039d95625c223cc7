import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A way to a JSON-RPC node on which calls of one method can be held up: whoever made one waits. */
export type RpcProxy = {
  url: string
  /** Holds every call of the method until `release`, before the node sees it, or when the node has answered. */
  hold(method: string, when: 'before' | 'after'): void
  /** Resolves once a call is held up. */
  held(): Promise<void>
  /** Lets held calls go on, and holds no more. */
  release(): void
  close(): Promise<void>
}

export async function createRpcProxy(target: string): Promise<RpcProxy> {
  let holding: { method: string; when: 'before' | 'after' } | undefined
  let heldUp = createLatch()
  let go = createLatch()

  const server = createServer(async (request, response) => {
    try {
      await answer(request, response)
    } catch {
      // The caller or the node is gone.
      response.destroy()
    }
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks).toString()
    const { method } = JSON.parse(body) as { method: string }
    const wait = async (when: 'before' | 'after') => {
      if (holding?.method !== method || holding.when !== when) return
      heldUp.open()
      await go.opened
      if (request.socket.destroyed) throw new Error('Who called is gone.')
    }
    await wait('before')
    const answered = await fetch(target, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    const text = await answered.text()
    await wait('after')
    response.setHeader('content-type', 'application/json').end(text)
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    hold(method, when) {
      holding = { method, when }
      heldUp = createLatch()
      go = createLatch()
    },
    held: () => heldUp.opened,
    release() {
      holding = undefined
      go.open()
    },
    close() {
      holding = undefined
      go.open()
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

function createLatch(): { opened: Promise<void>; open(): void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}
