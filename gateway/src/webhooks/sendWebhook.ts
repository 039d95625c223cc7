import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import type { LookupFunction } from 'node:net'
import { RequestFilteringHttpAgent, RequestFilteringHttpsAgent } from 'request-filtering-agent'
import { publicLookup } from '../network/publicLookup.ts'
import { parseEndpointUrl, type UrlPolicy } from './endpointUrl.ts'

/** What came of one try. `statusCode` is null when there was no answer, and `error` says why. */
export type WebhookAnswer = { statusCode: number | null; responseBody: string | null; error: string | null }

export type WebhookRequest = { url: string; headers: Record<string, string>; body: string }

/** Never throws. */
export type SendWebhook = (request: WebhookRequest) => Promise<WebhookAnswer>

export type WebhookSenderOptions = UrlPolicy & {
  /** For everything: name, connection, answer. */
  timeoutMs: number
  lookup: LookupFunction
}

/** So much of an answer is read, then the connection is closed. */
const maxReadBytes = 16 * 1024
/** So much of it is kept. */
const maxKeptChars = 1_000

/**
 * Posts to an endpoint. Redirects are not followed. Each try looks the host up anew and makes a connection of its own,
 * whose address is checked: what a name pointed to when it was registered does not count.
 */
export function createWebhookSender(options: WebhookSenderOptions): SendWebhook {
  const { allowPrivateNetworks, timeoutMs } = options
  const lookup = allowPrivateNetworks ? options.lookup : publicLookup(options.lookup)
  const agentOptions = { allowPrivateIPAddress: allowPrivateNetworks, lookup, keepAlive: false }
  const http = new RequestFilteringHttpAgent(agentOptions)
  const https = new RequestFilteringHttpsAgent(agentOptions)

  return ({ url: text, headers, body }) => {
    const parsed = parseEndpointUrl(text, { allowPrivateNetworks })
    if (!parsed.ok) return Promise.resolve(failed(`The URL is not allowed. ${parsed.reason}`))
    const { url } = parsed
    const common = { method: 'POST', headers: { ...headers, 'content-length': Buffer.byteLength(body) } }
    return new Promise((resolve) => {
      const request =
        url.protocol === 'https:'
          ? requestHttps(url, { ...common, agent: https })
          : requestHttp(url, { ...common, agent: http })
      const timer = setTimeout(() => {
        request.destroy(new Error(`No answer within ${timeoutMs} ms.`))
      }, timeoutMs)
      const end = (answer: WebhookAnswer) => {
        clearTimeout(timer)
        resolve(answer)
      }
      const onError = (error: Error) => end(failed(reasonOf(error)))
      // Also of an answer that Node does not pass on, as a switch of protocols.
      const onClose = () => onError(new Error('The connection was closed without an answer.'))
      request.on('error', onError).on('close', onClose)
      request.once('response', (response) => {
        // From here on the answer's own end counts.
        request
          .off('close', onClose)
          .off('error', onError)
          .on('error', () => {})
        readAnswer(request, response, end)
      })
      request.end(body)
    })
  }
}

/** The status decides, so an answer whose body does not end is an answer. */
function readAnswer(request: ClientRequest, response: IncomingMessage, end: (answer: WebhookAnswer) => void): void {
  const statusCode = response.statusCode ?? 0
  const isRedirect = statusCode >= 300 && statusCode < 400
  const chunks: Buffer[] = []
  let size = 0
  const finish = () => {
    const responseBody = textOf(Buffer.concat(chunks))
    end({ statusCode, responseBody, error: isRedirect ? 'Redirects are not followed.' : null })
    request.destroy()
  }
  response.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    size += chunk.length
    if (size >= maxReadBytes) finish()
  })
  response.on('error', finish)
  response.on('close', finish)
}

/** As Postgres takes it: without control characters. */
function textOf(bytes: Buffer): string {
  const text = bytes.toString('utf8').slice(0, maxKeptChars)
  return text.replace(/[^\P{Cc}\n\t]/gu, '\ufffd')
}

function failed(error: string): WebhookAnswer {
  return { statusCode: null, responseBody: null, error }
}

function reasonOf(error: Error): string {
  const code = 'code' in error && typeof error.code === 'string' ? `${error.code}: ` : ''
  // Of a connection that was tried at several addresses the message is empty.
  return `${code}${error.message || 'no connection'}`.slice(0, 500)
}
