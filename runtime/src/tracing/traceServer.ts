import type { MiddlewareHandler } from 'hono'
import type { Tracing } from './createTracing.ts'
import { httpAttributes } from './httpAttributes.ts'
import { formatTraceparent, parseTraceparent, rootOf, traceIdOf } from './traceContext.ts'
import { runInTrace } from './traceScope.ts'

/**
 * Runs each request in the trace of its `traceparent`, or in a new one: log lines carry its id, `traceresponse` tells it to
 * the caller. For services that others of ours call: whether it is recorded is the caller's decision. The gateway, whose
 * callers are strangers and whose time is short, has its own.
 */
export function traceServer({ tracing, createId }: { tracing: Tracing; createId(): string }): MiddlewareHandler {
  return (c, next) => {
    const parent = parseTraceparent(c.req.header('traceparent'))
    const traceId = parent?.traceId ?? traceIdOf(createId())
    const request = { method: c.req.method, path: c.req.path }
    const attributes = httpAttributes(request)
    const span = parent
      ? tracing.start('request', { in: parent, kind: 'server', attributes })
      : tracing.start('request', {
          in: rootOf(traceId, { isSampled: tracing.isSampled(traceId) }),
          isRoot: true,
          kind: 'server',
          attributes,
        })
    return runInTrace(span.context, {}, async () => {
      await next()
      c.res.headers.set('traceresponse', formatTraceparent(span.context))
      span.set(httpAttributes({ ...request, status: c.res.status }))
      span.end(c.res.status >= 500 ? `answered ${c.res.status}` : undefined)
    })
  }
}
