import type { Address, GrantSource, Hex } from '@protocolbanks/stream-protocol'
import { and, desc, eq, inArray, type SQL, sql } from 'drizzle-orm'
import { grantControlTable } from '../controls/table.ts'
import type { Db, Tx } from '../createDb.ts'
import { type GrantLimits, strictestGrantLimits } from '../limits/grantLimits.ts'
import { isBlockedChannel } from '../settlements/payeeBlocks.ts'
import { payeeBlockTable } from '../settlements/table.ts'
import { effectiveStatus, ofAccount } from './effectiveStatus.ts'
import { accountTable, channelTable, grantTable } from './table.ts'

export type LiveStatus = 'active' | 'frozen' | 'revoked'

/** One account and token, as the chain's mirror and the journal know them: what a meter is filled with. Base units. */
export type AccountState = {
  account: Address
  token: Address
  /** The newest block any part of it shows. */
  block: bigint
  /**
   * What grants of each source can be charged for. allowance: min(balance, allowance to the module). reserve: the pool
   * less what is asked back.
   */
  funds: Record<GrantSource, bigint>
  grants: GrantState[]
}

export type GrantState = {
  grantId: Hex
  source: GrantSource
  /** The strictest of on-chain grant, on-chain account and the operator's control. */
  status: LiveStatus
  validAfter: number
  validUntil: number
  totalLimit: bigint
  /** 0n: no period limit. */
  periodLimit: bigint
  period: number
  settled: bigint
  periodIndex: number
  periodSettled: bigint
  /** What it may spend besides its terms; of owner and operator the strictest. */
  limits: GrantLimits | undefined
  channels: ChannelState[]
}

export type ChannelState = {
  payee: Address
  /** Of the newest voucher in the journal. */
  authorized: bigint
  charged: bigint
  settled: bigint
  /** By this merchant's own control; frozen also while the token does not pay the payee. */
  status: LiveStatus
}

/** More grants of one account in one token than this are not metered: revoked ones are left out first, then the oldest. */
export const maxGrantsPerAccount = 1_000

/**
 * Everything a meter has to know of an account, from one snapshot. A grant that the chain took back is revoked in it, so
 * that a meter which knows it stops; a pending one is left out. Undefined when the account has not been mirrored yet.
 */
export function loadAccountState(db: Db, account: Address, token: Address): Promise<AccountState | undefined> {
  return db.transaction((tx) => read(tx, account, token), {
    isolationLevel: 'repeatable read',
    accessMode: 'read only',
  })
}

async function read(tx: Tx, account: Address, token: Address): Promise<AccountState | undefined> {
  const [funds] = await tx
    .select({
      account: accountTable.account,
      token: accountTable.token,
      blockNumber: accountTable.blockNumber,
      allowance: sql`least(${accountTable.balance}, ${accountTable.allowance})`.mapWith(BigInt),
      reserve: sql`greatest(${accountTable.reserveBalance} - ${accountTable.reserveWithdrawing}, 0)`.mapWith(BigInt),
    })
    .from(accountTable)
    .where(and(eq(accountTable.account, account), eq(accountTable.token, token)))
  if (!funds) return undefined
  const grants = await tx
    .select({ grant: grantTable, status: effectiveStatus })
    .from(grantTable)
    .leftJoin(accountTable, ofAccount)
    .where(
      and(
        eq(grantTable.account, account),
        eq(grantTable.token, token),
        inArray(grantTable.status, ['active', 'frozen', 'revoked', 'none']),
      ),
    )
    .orderBy(sql`${grantTable.status} in ('revoked', 'none')`, desc(grantTable.createdAt))
    .limit(maxGrantsPerAccount)
  const channels = await readChannels(
    tx,
    grants.map(({ grant }) => grant.grantId),
  )
  const limits = await strictestGrantLimits(
    tx,
    grants.map(({ grant }) => grant.grantId),
  )
  const byGrant = new Map<Hex, ChannelState[]>()
  for (const row of channels) byGrant.set(row.grantId, [...(byGrant.get(row.grantId) ?? []), toChannelState(row)])
  let block = funds.blockNumber
  for (const { grant } of grants) if (grant.blockNumber > block) block = grant.blockNumber
  for (const { settledBlock } of channels) if (settledBlock > block) block = settledBlock
  return {
    account: funds.account,
    token: funds.token,
    block,
    funds: { allowance: funds.allowance, reserve: funds.reserve },
    grants: grants.map(({ grant, status }) => ({
      grantId: grant.grantId,
      source: grant.source,
      status: toLiveStatus(status),
      validAfter: grant.validAfter,
      validUntil: grant.validUntil,
      totalLimit: grant.totalLimit,
      periodLimit: grant.periodLimit,
      period: grant.period,
      settled: grant.settled,
      periodIndex: grant.periodIndex,
      periodSettled: grant.periodSettled,
      limits: limits.get(grant.grantId),
      channels: byGrant.get(grant.grantId) ?? [],
    })),
  }
}

type ChannelRow = {
  grantId: Hex
  payee: Address
  authorized: bigint
  charged: bigint
  settled: bigint
  settledBlock: bigint
  control: 'frozen' | 'removed' | null
  blocked: boolean | null
}

async function readChannels(tx: Tx, grantIds: Hex[]): Promise<ChannelRow[]> {
  if (grantIds.length === 0) return []
  return tx
    .select({
      grantId: channelTable.grantId,
      payee: channelTable.payee,
      authorized: channelTable.cumulativeAmount,
      charged: channelTable.charged,
      settled: channelTable.settled,
      settledBlock: channelTable.settledBlock,
      control: strictestControl,
      blocked: payeeBlockTable.blocked,
    })
    .from(channelTable)
    .innerJoin(grantTable, eq(grantTable.grantId, channelTable.grantId))
    .leftJoin(payeeBlockTable, isBlockedChannel)
    .where(inArray(channelTable.grantId, grantIds))
    .orderBy(channelTable.grantId, channelTable.payee)
}

/** Of the merchant's own, and of their rules: 'removed' comes after 'frozen'. */
const strictestControl: SQL<'frozen' | 'removed' | null> = sql`(
  select max(${grantControlTable.state}) from ${grantControlTable}
  where ${grantControlTable.grantId} = ${channelTable.grantId}
    and ${grantControlTable.merchantId} = ${channelTable.merchantId})`

function toChannelState({ payee, authorized, charged, settled, control, blocked }: ChannelRow): ChannelState {
  return {
    payee,
    authorized,
    charged,
    settled,
    status: control === 'removed' ? 'revoked' : control === 'frozen' || blocked ? 'frozen' : 'active',
  }
}

function toLiveStatus(status: string): LiveStatus {
  if (status === 'active' || status === 'frozen' || status === 'revoked') return status
  if (status === 'none') return 'revoked'
  throw new Error(`A grant with the status ${status} was read as if it were on-chain.`)
}
