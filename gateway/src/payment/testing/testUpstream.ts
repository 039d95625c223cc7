import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

export type TestUpstream = { url: string; calls: string[]; stop(): Promise<void> }

/** A merchant's API that can be well or ill, by path, on a free port. */
export async function startTestUpstream(): Promise<TestUpstream> {
  const calls: string[] = []
  const server: Server = createServer((request, response) => {
    calls.push(`${request.method} ${request.url}`)
    const path = request.url?.split('?')[0]
    if (path === '/fail') response.writeHead(500, { 'content-type': 'text/plain' }).end('broken')
    else if (path === '/silent') return
    else if (path === '/dead') request.socket.destroy()
    else if (path === '/half') {
      response.writeHead(200, { 'content-length': '100' }).write('half')
      setTimeout(() => request.socket.destroy(), 20)
    } else if (path === '/stream') {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      for (const part of ['one', 'two', 'three']) response.write(`data: ${part}\n\n`)
      response.end()
    } else if (path === '/stream-dies') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: one\n\n')
      setTimeout(() => request.socket.destroy(), 200)
    } else if (path === '/slow') {
      setTimeout(() => response.writeHead(200, { 'content-type': 'application/json' }).end('{"slow":true}'), 100)
    } else if (path === '/echo') {
      let body = ''
      request.on('data', (chunk) => {
        body += chunk
      })
      request.on('end', () =>
        response
          .writeHead(200, { 'content-type': 'application/json' })
          .end(JSON.stringify({ body, headers: request.headers })),
      )
    } else {
      const text = JSON.stringify({ path: request.url, call: calls.length })
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length }).end(text)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections()
        server.close(() => resolve())
      }),
  }
}
