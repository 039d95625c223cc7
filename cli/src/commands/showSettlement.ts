import type { z } from 'zod'
import type { Context, ExitCode } from '../context.ts'
import { formatFields, formatTable } from '../formatTable.ts'
import { auditSchema, settlementWithItemsSchema } from '../schemas.ts'
import { auditTable } from './listAudit.ts'

/** One settlement with its claims, and what operators did to it. */
export async function showSettlement({ client, json, print }: Context, id: string): Promise<ExitCode> {
  const settlement = await client.get(`/settlements/${encodeURIComponent(id)}`, settlementWithItemsSchema)
  const { entries } = await client.get(`/audit?${new URLSearchParams({ subject: settlement.id })}`, auditSchema)
  if (json) {
    print(JSON.stringify({ ...settlement, audit: entries }, null, 2))
    return 0
  }
  print(settlementText(settlement))
  if (entries.length > 0) print(`\n${auditTable(entries)}`)
  return 0
}

/** A settlement and its claims, for people. */
export function settlementText(settlement: z.output<typeof settlementWithItemsSchema>): string {
  const fields = formatFields([
    ['settlement', settlement.id],
    ['state', settlement.state],
    ['written off', settlement.writtenOffAt],
    ['reason', settlement.failureReason],
    ['error', settlement.errorCode],
    ['message', settlement.errorMessage],
    ['attempts', `${settlement.attempts}`],
    ['next look', settlement.nextAttemptAt],
    ['trigger', settlement.trigger],
    ['grant', settlement.grantId],
    ['account', settlement.account],
    ['transaction', settlement.txHash],
    ['created', settlement.createdAt],
    ['changed', settlement.updatedAt],
  ])
  const items = settlement.items.map((item) => [
    item.payee,
    item.merchantId,
    item.amountAtomic,
    item.cumulativeAmountAtomic,
    item.paidAtomic,
    item.skippedReason,
  ])
  const claims = formatTable(['payee', 'merchant', 'up to', 'voucher', 'paid', 'skipped'], items)
  const history = settlement.transitions.map(({ at, to, reason, errorCode, attempt, worker, userOpHash, txHash }) => [
    at,
    to,
    reason ?? errorCode,
    `${attempt}`,
    txHash ?? userOpHash,
    worker,
  ])
  return `${fields}\n\n${claims}\n\n${formatTable(['at', 'state', 'reason', 'attempts', 'hash', 'worker'], history)}`
}
