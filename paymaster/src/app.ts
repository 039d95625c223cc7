import { createStatusApp, type StatusDeps } from '@protocolbanks/stream-runtime'
import { Hono, type MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { type AuthenticateDeps, authenticate } from './auth/authenticate.ts'
import type { Caller } from './policy/decideSponsorship.ts'
import { handleJsonRpc, type RpcHandlerDeps } from './rpc/handleJsonRpc.ts'
import { type RpcError, rpcCodes } from './rpc/rpcError.ts'

export type AppDeps = StatusDeps & {
  auth: AuthenticateDeps
  rpc: RpcHandlerDeps<Caller>
  /** Around every call. */
  trace: MiddlewareHandler
}

/** A batch of operations with 64 claims each is below this. */
const maxBodyBytes = 1024 * 1024

/** JSON-RPC at `/` and `/rpc`; `/health`, `/ready` and `/metrics`. */
export function createApp({ auth, rpc, trace, readiness, registry }: AppDeps): Hono {
  const app = new Hono()
  app.route('/', createStatusApp({ readiness, registry }))

  const tooLarge = { code: rpcCodes.invalidRequest, message: `The body is larger than ${maxBodyBytes} bytes.` }
  const limit = bodyLimit({
    maxSize: maxBodyBytes,
    onError: (c) => c.json({ jsonrpc: '2.0', id: null, error: tooLarge }, 413),
  })
  app.on('POST', ['/', '/rpc'], trace, limit, async (c) => {
    c.header('cache-control', 'no-store')
    let caller: Caller | undefined
    try {
      const { apikey } = c.req.query()
      caller = await authenticate({ query: apikey, authorization: c.req.header('authorization') }, auth)
    } catch (error) {
      return c.json(errorBody(rpc.onError(error, 'authentication')), 503)
    }
    if (!caller) return c.json({ jsonrpc: '2.0', id: null, error: unauthorized }, 401)
    const response = await handleJsonRpc(await c.req.text(), caller, rpc)
    return response === undefined ? c.body(null, 204) : c.json(response)
  })
  return app
}

const unauthorized = {
  code: rpcCodes.unauthorized,
  message: 'The API key is missing, unknown or revoked. Send it as ?apikey= or as Authorization: Bearer.',
  data: { code: 'sponsor.unauthorized', retryable: false },
}

function errorBody(error: RpcError) {
  return { jsonrpc: '2.0', id: null, error: error.body }
}
