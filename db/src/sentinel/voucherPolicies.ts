import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, asc, eq, isNull, or, sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Queryable, Tx } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { ownerActor } from '../owners/ownerActor.ts'
import { voucherPolicyTable } from './table.ts'

/**
 * What is done with vouchers that were accepted before a grant is stopped. hold: it is frozen at once, and claims wait for
 * the owner. settle: what was accepted is settled first, for a bounded time; nothing more is accepted meanwhile.
 */
export type VoucherPolicy = 'hold' | 'settle'

export type VoucherPolicySetting = {
  account: Address
  /** Null: of all grants of the account that have none of their own. */
  grantId: Hex | null
  policy: VoucherPolicy
  actor: string
  setAt: Date
}

/** What the owner wants for this grant: its own, or the account's. Undefined: the operator's default counts. */
export async function findVoucherPolicy(
  db: Queryable,
  { account, grantId }: { account: Address; grantId: Hex },
): Promise<VoucherPolicy | undefined> {
  const [row] = await db
    .select({ policy: voucherPolicyTable.policy })
    .from(voucherPolicyTable)
    .where(
      and(
        eq(voucherPolicyTable.account, account),
        or(eq(voucherPolicyTable.grantId, grantId), isNull(voucherPolicyTable.grantId)),
      ),
    )
    .orderBy(sql`${voucherPolicyTable.grantId} nulls last`)
    .limit(1)
  return row?.policy
}

const maxPolicies = 1_000

/** The account's own first, then by grant. */
export function listVoucherPolicies(db: Queryable, account: Address): Promise<VoucherPolicySetting[]> {
  return db
    .select()
    .from(voucherPolicyTable)
    .where(eq(voucherPolicyTable.account, account))
    .orderBy(sql`${voucherPolicyTable.grantId} nulls first`, asc(voucherPolicyTable.setAt))
    .limit(maxPolicies)
}

/** As the owner, with an audit entry. A policy of null takes back what was set. False when the grant is none of theirs. */
export async function setVoucherPolicyAsOwner(
  tx: Tx,
  { account, grantId, policy }: { account: Address; grantId: Hex | null; policy: VoucherPolicy | null },
): Promise<boolean> {
  if (grantId !== null) {
    const [grant] = await tx
      .select({ account: grantTable.account })
      .from(grantTable)
      .where(and(eq(grantTable.grantId, grantId), eq(grantTable.account, account)))
    if (!grant) return false
  }
  const isIt = and(
    eq(voucherPolicyTable.account, account),
    grantId === null ? isNull(voucherPolicyTable.grantId) : eq(voucherPolicyTable.grantId, grantId),
  )
  const [before] = await tx.select({ policy: voucherPolicyTable.policy }).from(voucherPolicyTable).where(isIt)
  const actor = ownerActor(account)
  if (policy === null) await tx.delete(voucherPolicyTable).where(isIt)
  else
    await tx
      .insert(voucherPolicyTable)
      .values({ account, grantId, policy, actor })
      .onConflictDoUpdate({
        target: [voucherPolicyTable.account, voucherPolicyTable.grantId],
        set: { policy, actor, setAt: sql`now()` },
      })
  await appendAudit(tx, {
    actor,
    action: 'voucher_policy',
    subject: grantId ?? account,
    note: policy ?? 'the default',
    before: before ? { policy: before.policy } : null,
    after: policy === null ? null : { policy },
  })
  return true
}
