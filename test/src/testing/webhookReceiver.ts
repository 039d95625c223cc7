import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

/** What one try brought, its signature verified with the library of the Standard Webhooks specification. */
export type ReceivedWebhook = {
  id: string
  payload: { type: string; timestamp: string; data: Record<string, unknown> }
}

export type WebhookReceiver = {
  url: string
  /** Of every try, in order. */
  received: ReceivedWebhook[]
  /** Requests that nobody signed with the secret. */
  refused: string[]
  /** The endpoint's secret, once it is known. Requests before it are refused. */
  secret: string
  /** From now on answers wait for this. */
  holdUntil(moment: Promise<void>): void
  close(): Promise<void>
}

/** A merchant's HTTP server that takes webhooks: 204 for what is signed, 401 for anything else. */
export async function startWebhookReceiver(): Promise<WebhookReceiver> {
  let held = Promise.resolve()
  const receiver: WebhookReceiver = {
    url: '',
    received: [],
    refused: [],
    secret: '',
    holdUntil(moment) {
      held = moment
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, `${value}`]))
    try {
      const payload = new Webhook(receiver.secret).verify(body, headers) as ReceivedWebhook['payload']
      receiver.received.push({ id: headers['webhook-id'] ?? '', payload })
    } catch (error) {
      receiver.refused.push(String(error))
      return void response.writeHead(401).end()
    }
    await held
    response.writeHead(204).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  receiver.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/webhooks`
  return receiver
}
