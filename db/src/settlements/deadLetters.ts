import { sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable } from '../createDb.ts'
import { retryDeadSettlement, writeOffSettlement } from './outcomes.ts'
import type { Settlement } from './settlement.ts'
import { getSettlement } from './settlements.ts'
import { settlementWriteOffTable } from './table.ts'

/** Why a debt is given up. */
export const writeOffReasons = [
  'grant_ended',
  'voucher_invalid',
  'funds_gone',
  'payee_blocked',
  'agreed',
  'other',
] as const
export type WriteOffReason = (typeof writeOffReasons)[number]

/** A debt that an operator gave up. It stays in the journal, and the chain knows nothing of it. */
export type WriteOff = {
  settlementId: string
  reason: WriteOffReason
  /** In the operator's words. */
  note: string
  actor: string
  /** What was open then, base units. */
  amount: bigint
  createdAt: Date
}

/** What an operator does, and who does it: an API key's id or `operator`. */
export type OperatorAct = { id: string; actor: string; note: string }

/**
 * Makes a dead settlement due again, with its attempts counted from zero, the newest vouchers of its channels, and an
 * audit entry. What was sent before keeps its amounts, and is recognised. False, and nothing changes, when it is not dead
 * or was written off.
 */
export function retryDeadLetter(db: Queryable, { id, actor, note }: OperatorAct): Promise<boolean> {
  return db.transaction(async (tx) => {
    const before = await getSettlement(tx, id)
    if (!before || !(await retryDeadSettlement(tx, id))) return false
    await tx.execute(sql`
      update settlement_item i
      set signature = c.signature, cumulative_amount = c.cumulative_amount, payee_proof = c.payee_proof
      from channel c, settlement s
      where i.settlement_id = ${id} and s.id = i.settlement_id and c.grant_id = s.grant_id and c.payee = i.payee
        and c.signature is not null and c.cumulative_amount >= i.amount`)
    const after = await getSettlement(tx, id)
    await appendAudit(tx, {
      actor,
      action: 'settlement_retry',
      subject: id,
      note,
      before: shown(before),
      after: after ? shown(after) : null,
    })
    return true
  })
}

/**
 * Gives a dead settlement's debt up, with an audit entry: its grant settles anew without it, once more is charged than
 * was given up, or when it is asked to. False, and nothing changes, when it is not dead or was written off before.
 */
export function writeOffDeadLetter(
  db: Queryable,
  { id, actor, note, reason }: OperatorAct & { reason: WriteOffReason },
): Promise<boolean> {
  return db.transaction(async (tx) => {
    const before = await getSettlement(tx, id)
    if (!before || !(await writeOffSettlement(tx, id))) return false
    const { rows } = await tx.execute<{ open: string }>(sql`
      select coalesce(sum(greatest(i.amount - coalesce(c.settled, 0), 0)), 0) as open
      from settlement_item i join settlement s on s.id = i.settlement_id
      left join channel c on c.grant_id = s.grant_id and c.payee = i.payee
      where i.settlement_id = ${id}`)
    const amount = BigInt(rows[0]?.open ?? 0)
    await tx.insert(settlementWriteOffTable).values({ settlementId: id, reason, note, actor, amount })
    const after = await getSettlement(tx, id)
    await appendAudit(tx, {
      actor,
      action: 'settlement_write_off',
      subject: id,
      note,
      before: shown(before),
      after: after ? { ...shown(after), reason, amountAtomic: amount.toString() } : null,
    })
    return true
  })
}

/** What an act can change. */
function shown({ state, attempts, errorCode, nextAttemptAt, writtenOffAt }: Settlement): Record<string, unknown> {
  return { state, attempts, errorCode, nextAttemptAt, writtenOffAt }
}
