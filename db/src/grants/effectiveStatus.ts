import { and, eq, type SQL, sql } from 'drizzle-orm'
import { grantControlTable } from '../controls/table.ts'
import { ownerFreezeTable } from '../owners/table.ts'
import type { GrantChainStatus } from './grant.ts'
import { accountTable, grantTable } from './table.ts'

/** Whether its owner has frozen it at the gateway. */
export const ownerFrozen: SQL<boolean> = sql`exists (
  select from ${ownerFreezeTable} where ${ownerFreezeTable.grantId} = ${grantTable.grantId})`

const isHeld = (state: 'frozen' | 'removed') => sql`exists (
  select from ${grantControlTable} where ${grantControlTable.grantId} = ${grantTable.grantId}
    and ${grantControlTable.merchantId} is null and ${grantControlTable.state} = ${state})`

/** The strictest of everything that can stop a grant. For queries that join `account` (by `ofAccount`) from the left. */
export const effectiveStatus: SQL<GrantChainStatus> = sql`case
  when ${grantTable.status} in ('pending', 'none') then ${grantTable.status}
  when ${grantTable.status} = 'revoked' or ${accountTable.epoch} > ${grantTable.epoch}
    or ${isHeld('removed')} then 'revoked'
  when ${grantTable.status} = 'frozen' or ${accountTable.accountFrozen} or ${isHeld('frozen')}
    or ${ownerFrozen} then 'frozen'
  else 'active' end`

export const ofAccount = and(eq(accountTable.account, grantTable.account), eq(accountTable.token, grantTable.token))
