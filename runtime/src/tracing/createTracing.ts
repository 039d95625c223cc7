import {
  type Attributes,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import {
  AlwaysOnSampler,
  BatchSpanProcessor,
  RandomIdGenerator,
  SamplingDecision,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace'
import type { Logger } from 'pino'
import { reportOutages } from './reportOutages.ts'
import type { TraceContext } from './traceContext.ts'

/** Spans of this process; nothing is recorded without a receiver, nor for traces that are not sampled. */
export type Tracing = {
  /** Whether a trace that begins here is recorded: decided by its id alone, so that everybody decides the same. */
  isSampled(traceId: string): boolean
  start(name: string, options: SpanOptions): TraceSpan
  /** Sends what is left, at most 2 s. */
  shutdown(): Promise<void>
}

export type SpanOptions = {
  /** The span that this one is a part of; or, with `isRoot`, this span itself. */
  in: TraceContext
  /** `in` is this span: the first one of a trace whose ids are ours. */
  isRoot?: true
  kind?: 'server' | 'client' | 'internal'
  attributes?: Attributes
  /** Other traces that this one goes back to. At most 32 are kept. */
  links?: readonly TraceContext[]
  /** Milliseconds since 1970; now by default. */
  startTimeMs?: number
}

export type TraceSpan = {
  /** For what is a part of this span, here and in other processes. */
  readonly context: TraceContext
  set(attributes: Attributes): void
  /** A part of this span. */
  child(name: string, options?: Omit<SpanOptions, 'in' | 'isRoot'>): TraceSpan
  /** `failure`: what went wrong, one line without secrets. Once. */
  end(failure?: string): void
}

export type TracingOptions = {
  /** Which service it is: `gateway`. */
  service: string
  /** Base URL of an OTLP/HTTP receiver. */
  endpoint: string | undefined
  /** The share of traces that is recorded, of those that begin here: 0 to 1. */
  ratio: number
  logger: Logger
}

const maxLinks = 32
const shutdownMs = 2_000
/** Spans that wait; more are dropped. */
const maxQueueSize = 4_096
const kinds = { server: SpanKind.SERVER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL }

/**
 * OpenTelemetry traces over OTLP/HTTP. Every span is told which one it belongs to: there is no ambient context here, so
 * that a request whose trace is not sampled costs nothing.
 */
export function createTracing({ service, endpoint, ratio, logger }: TracingOptions): Tracing {
  if (endpoint === undefined) {
    return { isSampled: () => false, start: (_, options) => silentSpan(options.in), async shutdown() {} }
  }
  const ids = createIds()
  const provider = new TracerProvider({
    resource: resourceFromAttributes({ 'service.name': `protocol-banks-${service}`, 'service.namespace': 'stream' }),
    idGenerator: ids,
    // Decided before a span is begun.
    sampler: new AlwaysOnSampler(),
    spanLimits: { linkCountLimit: maxLinks, attributeValueLengthLimit: 1_000 },
    forceFlushTimeoutMillis: shutdownMs,
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: reportOutages(new OTLPTraceExporter({ url: tracesUrl(endpoint), timeoutMillis: 5_000 }), logger),
        scheduledDelayMillis: 1_000,
        maxExportBatchSize: 512,
        maxQueueSize,
      }),
    ],
  })
  const tracer = provider.getTracer('stream')
  const sampler = new TraceIdRatioBasedSampler(ratio)

  function start(name: string, { in: context, isRoot, kind, attributes, links, startTimeMs }: SpanOptions): TraceSpan {
    if (!context.isSampled) return silentSpan(context)
    const options = {
      kind: kinds[kind ?? 'internal'],
      ...(attributes && { attributes }),
      ...(links && { links: links.slice(0, maxLinks).map((link): Link => ({ context: toSpanContext(link) })) }),
      ...(startTimeMs === undefined ? {} : { startTime: startTimeMs }),
    }
    if (isRoot) return toTraceSpan(ids.withRoot(context, () => tracer.startSpan(name, { ...options, root: true })))
    return toTraceSpan(tracer.startSpan(name, options, trace.setSpanContext(ROOT_CONTEXT, toSpanContext(context))))
  }

  function toTraceSpan(span: Span): TraceSpan {
    const { traceId, spanId } = span.spanContext()
    const context = { traceId, spanId, isSampled: true }
    return {
      context,
      set: (attributes) => void span.setAttributes(attributes),
      child: (name, options) => start(name, { ...options, in: context }),
      end(failure) {
        if (failure !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: failure })
        span.end()
      },
    }
  }

  return {
    isSampled: (traceId) =>
      sampler.shouldSample(ROOT_CONTEXT, traceId).decision === SamplingDecision.RECORD_AND_SAMPLED,
    start,
    async shutdown() {
      const late = new Promise<void>((resolve) => setTimeout(resolve, shutdownMs).unref())
      await Promise.race([provider.shutdown().catch(() => undefined), late])
    },
  }
}

/** Random ids, except for the root of a trace whose ids are known already. */
function createIds() {
  const random = new RandomIdGenerator()
  let root: TraceContext | undefined
  return {
    generateTraceId: () => root?.traceId ?? random.generateTraceId(),
    generateSpanId: () => root?.spanId ?? random.generateSpanId(),
    /** `begin` is not asynchronous: nobody else gets these ids. */
    withRoot(context: TraceContext, begin: () => Span): Span {
      root = context
      try {
        return begin()
      } finally {
        root = undefined
      }
    },
  }
}

function tracesUrl(endpoint: string): string {
  return `${endpoint.replace(/\/+$/, '')}/v1/traces`
}

function toSpanContext({ traceId, spanId, isSampled }: TraceContext): SpanContext {
  return { traceId, spanId, traceFlags: isSampled ? TraceFlags.SAMPLED : TraceFlags.NONE, isRemote: true }
}

function silentSpan(context: TraceContext): TraceSpan {
  const span: TraceSpan = { context, set() {}, end() {}, child: () => span }
  return span
}
