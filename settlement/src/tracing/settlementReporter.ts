import type { Settlement, SettlementWork } from '@protocolbanks/stream-db'
import { rootOf, type Tracing } from '@protocolbanks/stream-runtime'
import type { Logger } from 'pino'
import { settlementTrace } from './settlementTrace.ts'

/** Says where a settlement comes from and what became of it, in the log and in its trace. Never throws. */
export type SettlementReporter = {
  /** One line that leads from the traces of charges to the settlement's. */
  claimed(work: SettlementWork): Promise<void>
  /** One line with its operation and its transaction, and the span of its whole life with links to the charges. */
  confirmed(work: SettlementWork, paid: bigint): Promise<void>
}

export type SettlementReporterDeps = {
  tracing: Tracing
  /** Trace ids of the newest charges that it is for, a bounded number. */
  listChargeTraces(settlementId: string): Promise<string[]>
  load(settlementId: string): Promise<Settlement | undefined>
  clock(): number
  logger: Logger
}

export function createSettlementReporter(deps: SettlementReporterDeps): SettlementReporter {
  const { tracing, listChargeTraces, load, clock, logger } = deps

  /** The line matters less than the settlement, which is recorded already. */
  async function quietly(settlement: string, report: () => Promise<void>): Promise<void> {
    try {
      await report()
    } catch (error) {
      const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
      logger.warn({ settlement, reason }, 'a settlement could not be reported')
    }
  }

  return {
    claimed: ({ settlement: { id, grantId, account, trigger }, items }) =>
      quietly(id, async () => {
        const { traceId } = settlementTrace(tracing, id)
        const amountAtomic = items.reduce((sum, { amount }) => sum + amount, 0n).toString()
        const charges = await listChargeTraces(id)
        logger.info(
          { settlement: id, traceId, grantId, account, trigger, upToAtomic: amountAtomic, charges },
          'claimed',
        )
      }),

    confirmed: ({ settlement: { id, grantId, account, createdAt } }, paid) =>
      quietly(id, async () => {
        const context = settlementTrace(tracing, id)
        const { userOpHash, txHash, blockNumber, gasCostWei, attempts } = (await load(id)) ?? {}
        const outcome = {
          userOpHash,
          txHash,
          blockNumber: blockNumber?.toString(),
          gasCostWei: gasCostWei?.toString(),
          attempts,
        }
        const paidAtomic = paid.toString()
        logger.info({ settlement: id, traceId: context.traceId, grantId, paidAtomic, ...outcome }, 'confirmed')
        if (!context.isSampled) return
        const charges = await listChargeTraces(id)
        const span = tracing.start('settlement', {
          in: context,
          isRoot: true,
          startTimeMs: Math.min(createdAt.getTime(), clock()),
          links: charges.map((traceId) => rootOf(traceId, { isSampled: true })),
          attributes: {
            'stream.settlement.id': id,
            'stream.grant.id': grantId,
            'stream.account.address': account,
            'stream.paid.atomic': paidAtomic,
            ...(userOpHash && { 'stream.user_operation.hash': userOpHash }),
            ...(txHash && { 'stream.transaction.hash': txHash }),
          },
        })
        span.end()
      }),
  }
}
