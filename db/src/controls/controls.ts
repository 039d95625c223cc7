import type { Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, isNull, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import { newId } from '../newId.ts'
import { grantControlTable } from './table.ts'

/** Whose hold it is. rule: one that somebody wrote, for as long as it says. sentinel: an open incident. */
export type Holder = 'merchant' | 'operator' | 'sentinel' | 'rule'

/**
 * An off-chain freeze or removal of a grant. It lowers what the chain allows and never raises it. Several may stand at
 * once; lifting one leaves the others.
 */
export type GrantControl = {
  id: string
  grantId: Hex
  /** Null: by the operator, for all payees. Otherwise for this merchant's payee only. */
  merchantId: string | null
  /** One of each for the whole grant, and for each merchant. */
  holder: Holder
  /** frozen can be cleared and goes on; removed is meant for good. */
  state: 'frozen' | 'removed'
  reason: string
  /** Who did it: an API key's id, or a rule of the sentinel. */
  actor: string
  createdAt: Date
}

/** Freezes or removes; replaces what this holder had set on the grant before. */
export async function setControl(
  db: Queryable,
  control: Omit<GrantControl, 'id' | 'createdAt'>,
): Promise<GrantControl> {
  const { state, reason, actor } = control
  const [row] = await db
    .insert(grantControlTable)
    .values({ ...control, id: newId('ctl') })
    .onConflictDoUpdate({
      target: [grantControlTable.grantId, grantControlTable.merchantId, grantControlTable.holder],
      set: { state, reason, actor, createdAt: sql`now()` },
    })
    .returning()
  if (!row) throw new Error('Postgres returned no row for an upsert.')
  return row
}

/** False when there was nothing to clear. */
export async function clearControl(
  db: Queryable,
  { grantId, merchantId, holder }: Pick<GrantControl, 'grantId' | 'merchantId' | 'holder'>,
): Promise<boolean> {
  const rows = await db
    .delete(grantControlTable)
    .where(
      and(
        eq(grantControlTable.grantId, grantId),
        eq(grantControlTable.holder, holder),
        merchantId === null ? isNull(grantControlTable.merchantId) : eq(grantControlTable.merchantId, merchantId),
      ),
    )
    .returning({ id: grantControlTable.id })
  return rows.length > 0
}

const maxControls = 1_000

/** Newest first. As a tenant: their own and the operator's on grants they see. */
export function listControls(db: Queryable, { grantId }: { grantId?: Hex | undefined } = {}): Promise<GrantControl[]> {
  return db
    .select()
    .from(grantControlTable)
    .where(grantId === undefined ? undefined : eq(grantControlTable.grantId, grantId))
    .orderBy(desc(grantControlTable.createdAt), desc(grantControlTable.id))
    .limit(maxControls)
}
