import type { Address } from '@protocolbanks/stream-protocol'
import { and, eq, inArray } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { ReservePool } from './reservePool.ts'
import { accountTable } from './table.ts'

/** What an account has to pay with in one token, as of a block. Base units. */
export type AccountFunds = {
  account: Address
  balance: bigint
  /** To the module; up to uint256. */
  allowance: bigint
  reserve: ReservePool
  /** All its grants are frozen on the chain. */
  accountFrozen: boolean
  blockNumber: bigint
}

/** Those of the accounts that were mirrored. As a tenant: those with a grant they have a channel for. */
export async function listAccountFunds(
  db: Queryable,
  accounts: readonly Address[],
  token: Address,
): Promise<AccountFunds[]> {
  if (accounts.length === 0) return []
  const rows = await db
    .select()
    .from(accountTable)
    .where(and(inArray(accountTable.account, [...new Set(accounts)]), eq(accountTable.token, token)))
  return rows.map(({ reserveBalance, reserveWithdrawing, reserveWithdrawableAt, ...row }) => ({
    account: row.account,
    balance: row.balance,
    allowance: row.allowance,
    reserve: { balance: reserveBalance, withdrawing: reserveWithdrawing, withdrawableAt: reserveWithdrawableAt },
    accountFrozen: row.accountFrozen,
    blockNumber: row.blockNumber,
  }))
}
