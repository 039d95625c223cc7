import type { Logger } from 'pino'
import type { Ticket } from '../meter/meter.ts'
import type { Service } from '../services/serviceTable.ts'
import type { RequestTrace } from './traceRequests.ts'

/** A call of a paid service whose outcome is known. */
export type EndedCall = {
  /** Undefined where nothing traces requests. */
  trace: RequestTrace | undefined
  service: Pick<Service, 'id' | 'merchantId'>
  /** Undefined when it was refused before it was charged. */
  ticket: Ticket | undefined
}

/**
 * One line for a call: at `info` when its trace is recorded, so that a known share of all calls is in the log, and at
 * `debug` otherwise, because a line costs more than the rest of the gateway's work. What broke off is a warning.
 */
export function logCall(logger: Logger, outcome: string, { trace, service, ticket }: EndedCall): void {
  const level = outcome === 'broken' ? 'warn' : trace?.context.isSampled ? 'info' : 'debug'
  if (!logger.isLevelEnabled(level)) return
  const { grantId, payee, requestId, eventId, amount } = ticket ?? {}
  logger[level](
    {
      traceId: trace?.context.traceId,
      outcome,
      serviceId: service.id,
      merchantId: service.merchantId,
      grantId,
      payee,
      requestId,
      eventId,
      amountAtomic: amount?.toString(),
    },
    'paid call',
  )
}
