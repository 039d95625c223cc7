import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'
import { z } from 'zod'

/** A span as it arrived. */
export type ReceivedSpan = {
  service: string
  name: string
  traceId: string
  spanId: string
  parentSpanId: string | undefined
  startMs: number
  endMs: number
  /** Trace ids of its links. */
  links: string[]
  attributes: Record<string, string | number | boolean>
  /** What went wrong; undefined: nothing. */
  failure: string | undefined
}

export type OtlpReceiver = {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  url: string
  spans: ReceivedSpan[]
  stop(): Promise<void>
}

/** Receives traces by OTLP/HTTP in JSON (opentelemetry-proto, `ExportTraceServiceRequest`), as a collector does. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = []
  const server = createServer(async (request, response) => {
    if (request.method !== 'POST' || request.url !== '/v1/traces') return response.writeHead(404).end()
    spans.push(...toSpans(exportSchema.parse(await json(request))))
    return response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    async stop() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

const idSchema = (digits: number) => z.string().regex(new RegExp(`^[0-9a-f]{${digits}}$`))
const nanosSchema = z.union([z.string(), z.number()]).transform((nanos) => Number(BigInt(nanos) / 1_000_000n))
const attributesSchema = z
  .array(
    z.object({
      key: z.string(),
      value: z.union([
        z.object({ stringValue: z.string() }).transform(({ stringValue }) => stringValue),
        z.object({ intValue: z.coerce.number() }).transform(({ intValue }) => intValue),
        z.object({ doubleValue: z.number() }).transform(({ doubleValue }) => doubleValue),
        z.object({ boolValue: z.boolean() }).transform(({ boolValue }) => boolValue),
      ]),
    }),
  )
  .default([])
  .transform((entries) => Object.fromEntries(entries.map(({ key, value }) => [key, value])))

const exportSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: attributesSchema }),
      scopeSpans: z.array(
        z.object({
          spans: z.array(
            z.object({
              traceId: idSchema(32),
              spanId: idSchema(16),
              parentSpanId: idSchema(16).optional(),
              name: z.string(),
              startTimeUnixNano: nanosSchema,
              endTimeUnixNano: nanosSchema,
              attributes: attributesSchema,
              links: z.array(z.object({ traceId: idSchema(32) })).default([]),
              status: z.object({ code: z.number(), message: z.string().optional() }),
            }),
          ),
        }),
      ),
    }),
  ),
})

/** `STATUS_CODE_ERROR` of the protocol. */
const errorStatus = 2

function toSpans({ resourceSpans }: z.output<typeof exportSchema>): ReceivedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap(({ spans }) =>
      spans.map(({ startTimeUnixNano, endTimeUnixNano, links, status, parentSpanId, ...span }) => ({
        ...span,
        parentSpanId,
        service: String(resource.attributes['service.name']),
        startMs: startTimeUnixNano,
        endMs: endTimeUnixNano,
        links: links.map(({ traceId }) => traceId),
        failure: status.code === errorStatus ? (status.message ?? '') : undefined,
      })),
    ),
  )
}
