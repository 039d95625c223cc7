import { type ExportResult, ExportResultCode } from '@opentelemetry/core'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import type { Logger } from 'pino'

/** Says once when the receiver of traces is gone, and once when it is back. The spans of the meantime are lost. */
export function reportOutages(exporter: SpanExporter, logger: Logger): SpanExporter {
  let lost = 0
  return {
    export(spans: ReadableSpan[], done: (result: ExportResult) => void) {
      exporter.export(spans, (result) => {
        if (result.code === ExportResultCode.SUCCESS) {
          if (lost > 0) logger.info({ lost }, 'the receiver of traces takes spans again')
          lost = 0
        } else {
          if (lost === 0) logger.warn({ reason: result.error?.message }, 'the receiver of traces takes no spans')
          lost += spans.length
        }
        done(result)
      })
    },
    shutdown: () => exporter.shutdown(),
    forceFlush: async () => exporter.forceFlush?.(),
  }
}
