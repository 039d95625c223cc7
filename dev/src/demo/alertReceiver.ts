import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

/** What the owner was told, its signature verified. */
export type Alert = { type: string; data: Record<string, unknown> }

export type AlertReceiver = {
  url: string
  /** In the order in which they came. */
  alerts: Alert[]
  /** Requests whose signature was none. */
  refused: number
  /** Of the endpoint, once it is made. */
  secret: string
  stop(): Promise<void>
}

const maxBodyLength = 64 * 1024

/** The owner's own server, that takes webhooks (Standard Webhooks). */
export async function startAlertReceiver(): Promise<AlertReceiver> {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) {
      body += chunk
      if (body.length > maxBodyLength) return void response.writeHead(413).end()
    }
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, `${value}`]))
    try {
      receiver.alerts.push(new Webhook(receiver.secret).verify(body, headers) as Alert)
      response.writeHead(204).end()
    } catch {
      receiver.refused++
      response.writeHead(401).end()
    }
  })
  const receiver: AlertReceiver = {
    url: '',
    alerts: [],
    refused: 0,
    secret: '',
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/alerts`
  return receiver
}
