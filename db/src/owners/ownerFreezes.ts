import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq, inArray, sql } from 'drizzle-orm'
import { appendAudit } from '../audit/auditEntries.ts'
import type { Tx } from '../createDb.ts'
import { grantTable } from '../grants/table.ts'
import { ownerActor } from './ownerActor.ts'
import { ownerFreezeTable } from './table.ts'

/** An owner's own freeze of a grant, at the gateway and for all payees. It lowers what the chain allows. */
export type OwnerFreeze = { grantId: Hex; account: Address; reason: string; actor: string; createdAt: Date }

/** As the owner, with an audit entry. Renewing changes the reason. False when the grant is none of this account. */
export async function freezeAsOwner(
  tx: Tx,
  { account, grantId, reason }: { account: Address; grantId: Hex; reason: string },
): Promise<boolean> {
  const [grant] = await tx
    .select({ account: grantTable.account })
    .from(grantTable)
    .where(and(eq(grantTable.grantId, grantId), eq(grantTable.account, account)))
  if (!grant) return false
  const actor = ownerActor(account)
  await tx
    .insert(ownerFreezeTable)
    .values({ grantId, account, reason, actor })
    .onConflictDoUpdate({ target: ownerFreezeTable.grantId, set: { reason, actor, createdAt: sql`now()` } })
  const after = { ownerFrozen: true }
  await appendAudit(tx, { actor, action: 'owner_freeze', subject: grantId, note: reason, before: null, after })
  return true
}

/** As the owner, with an audit entry. Lifts the owner's own freeze and no other. False when there was none. */
export async function unfreezeAsOwner(
  tx: Tx,
  { account, grantId, reason }: { account: Address; grantId: Hex; reason: string },
): Promise<boolean> {
  const lifted = await tx
    .delete(ownerFreezeTable)
    .where(and(eq(ownerFreezeTable.grantId, grantId), eq(ownerFreezeTable.account, account)))
    .returning({ reason: ownerFreezeTable.reason })
  if (lifted.length === 0) return false
  const entry = { action: 'owner_unfreeze', subject: grantId, note: reason, after: { ownerFrozen: false } }
  await appendAudit(tx, { ...entry, actor: ownerActor(account), before: { ownerFrozen: true } })
  return true
}

/** Of these grants, those that their owner has frozen. As an owner or a tenant: of those they see. */
export async function listOwnerFreezes(tx: Tx, grantIds: readonly Hex[]): Promise<OwnerFreeze[]> {
  if (grantIds.length === 0) return []
  return tx
    .select()
    .from(ownerFreezeTable)
    .where(inArray(ownerFreezeTable.grantId, [...grantIds]))
}
