import { problemContentType, problemSchema } from '@protocolbanks/stream-protocol'
import type { Context, MiddlewareHandler } from 'hono'
import { requestTraceId } from '../../tracing/traceRequests.ts'

/** What a caller may name a request: nothing that a log or a URI would have to escape. */
const sane = /^[A-Za-z0-9._~-]{8,128}$/

/**
 * Names every request: as its caller does in `x-request-id`, else anew. The name is in the answer's header, in the log, in
 * the audit of what it changed, and in `instance` of a problem (RFC 9457, 3.1.5).
 *
 * @param createId for a request that nobody traces; those that are traced have `req_` and the trace id
 */
export function requestIds(createId: () => string): MiddlewareHandler {
  return async (c, next) => {
    const asked = c.req.header('x-request-id')
    const traceId = requestTraceId(c)
    const id = asked !== undefined && sane.test(asked) ? asked : traceId === undefined ? createId() : `req_${traceId}`
    c.set('requestId', id)
    await next()
    if (c.res.headers.get('content-type')?.startsWith(problemContentType)) {
      const { status, headers } = c.res
      const problem = problemSchema.parse(await c.res.json())
      c.res = new Response(JSON.stringify({ ...problem, instance: `urn:protocolbanks:request:${id}` }), {
        status,
        headers,
      })
    }
    c.res.headers.set('x-request-id', id)
  }
}

/** The name of a request of the management API. */
export function requestIdOf(c: Context): string {
  const id: string | undefined = c.get('requestId')
  return id ?? 'unnamed'
}
