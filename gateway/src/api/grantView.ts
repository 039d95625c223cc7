import type { AccountFunds, Grant, GrantControl } from '@protocolbanks/stream-db'
import { type Address, formatAmount, type Hex } from '@protocolbanks/stream-protocol'
import { larger } from '../meter/larger.ts'
import type { Caller } from './caller.ts'

/** A grant as the API shows it, to this caller. */
export type GrantView = ReturnType<typeof viewGrant>

export type GrantFacts = {
  controls: readonly GrantControl[]
  funds: AccountFunds | undefined
  /** Payees whom the token does not pay, as far as the caller may know of them. */
  blockedPayees?: readonly { grantId: Hex; payee: Address; since: Date }[] | undefined
}

/**
 * `status` is what holds for the caller here: the strictest of the chain, the operator, the owner and, for a merchant,
 * itself.
 * `onChainStatus` is the grant's own on-chain. `backing` says what a merchant relies on: `guaranteed` is paid from the
 * reserve, which the owner empties only after a delay that everybody sees; `credit` from an allowance that may be gone.
 * Either ends with the grant: what is not settled when the owner revokes it is lost.
 *
 * `blockedPayees` are paid nothing by the token, so that nothing is charged for them; they are looked at again by itself.
 * `funds` is what the chain would pay, with nothing taken off for what is owed; undefined when it is not mirrored.
 */
export function viewGrant(
  grant: Grant,
  { controls, funds, blockedPayees = [] }: GrantFacts,
  { merchantId }: Caller,
  tokenDecimals: number,
) {
  const by = (who: string | null) =>
    controls.filter((control) => control.grantId === grant.grantId && control.merchantId === who)
  const operators = by(null)
  const own = merchantId === null ? [] : by(merchantId)
  const ownState = own.some(({ state }) => state === 'removed') ? 'removed' : own[0]?.state
  const decimal = (atomic: bigint) => formatAmount(atomic, tokenDecimals)
  const blocked = blockedPayees.filter(({ grantId }) => grantId === grant.grantId)
  // A merchant sees their own payee alone.
  const isOwnBlocked = merchantId !== null && blocked.length > 0
  const stopped = ownState ?? (isOwnBlocked ? 'frozen' : undefined)
  const { status, effectiveStatus, totalLimit, periodLimit, settled, packedTerms, blockNumber } = grant
  return {
    grantId: grant.grantId,
    sessionKey: grant.sessionKey,
    account: grant.account,
    status: stopped ? strictest(effectiveStatus, stopped) : effectiveStatus,
    onChainStatus: status,
    controls: controls
      .filter(({ grantId }) => grantId === grant.grantId)
      .map(({ merchantId: by, holder, state, reason, actor, createdAt }) => ({
        by: by ?? 'operator',
        holder,
        state,
        reason,
        // Whose key it was is nobody's business but theirs and the operator's.
        actor: merchantId === null || merchantId === by ? actor : null,
        createdAt,
      })),
    blockedPayees: blocked.map(({ payee, since }) => ({ payee, since })),
    note:
      noteOf(
        grant,
        [operators, own].flatMap((control) => control ?? []),
      ) ?? (isOwnBlocked ? 'The token does not pay your address: its issuer blocks it, or the token is paused.' : null),
    token: grant.token,
    settler: grant.settler,
    totalLimit: decimal(totalLimit),
    totalLimitAtomic: totalLimit.toString(),
    periodLimit: periodLimit === 0n ? null : decimal(periodLimit),
    periodLimitAtomic: periodLimit === 0n ? null : periodLimit.toString(),
    period: grant.period,
    validAfter: grant.validAfter,
    validUntil: grant.validUntil,
    payeeRoot: grant.payeeRoot,
    source: grant.source,
    backing: grant.source === 'reserve' ? 'guaranteed' : 'credit',
    funds: funds ? viewFunds(grant.source, funds, tokenDecimals) : null,
    salt: grant.salt,
    packedTerms,
    epoch: grant.epoch.toString(),
    settled: decimal(settled),
    settledAtomic: settled.toString(),
    blockNumber: blockNumber.toString(),
    createdAt: grant.createdAt,
  }
}

/** Of the grant's source alone: the other one does not pay for it. */
function viewFunds(
  source: Grant['source'],
  { balance, allowance, reserve, blockNumber }: AccountFunds,
  decimals: number,
) {
  const amounts =
    source === 'reserve'
      ? {
          available: larger(reserve.balance - reserve.withdrawing, 0n),
          reserve: reserve.balance,
          withdrawing: reserve.withdrawing,
        }
      : { available: balance < allowance ? balance : allowance, balance, allowance }
  const { withdrawableAt } = reserve
  return {
    ...Object.fromEntries(
      Object.entries(amounts).flatMap(([name, atomic]) => [
        [name, formatAmount(atomic, decimals)],
        [`${name}Atomic`, atomic.toString()],
      ]),
    ),
    ...(source === 'reserve' && { withdrawableAt: withdrawableAt === 0 ? null : new Date(withdrawableAt * 1_000) }),
    blockNumber: blockNumber.toString(),
  }
}

function strictest(status: Grant['effectiveStatus'], control: GrantControl['state']): Grant['effectiveStatus'] {
  if (status === 'pending' || status === 'none' || status === 'revoked') return status
  return control === 'removed' ? 'revoked' : 'frozen'
}

/** Why nothing can be charged under a grant; null when it can, as far as its status goes. */
function noteOf(grant: Grant, controls: GrantControl[]): string | null {
  const { status, effectiveStatus, ownerFrozen } = grant
  if (status === 'pending') return 'Not seen on-chain yet.'
  if (status === 'none') return 'The chain took it back.'
  if (status === 'revoked') return 'Revoked on-chain, for good.'
  if (controls.some(({ state }) => state === 'removed')) return 'Removed at this gateway, for good.'
  const ofAll = controls.filter(({ merchantId }) => merchantId === null).map(({ holder }) => holder)
  if (effectiveStatus === 'revoked') return 'Revoked on-chain with all grants of the account, for good.'
  if (status === 'frozen' || (effectiveStatus === 'frozen' && ofAll.length === 0 && !ownerFrozen)) {
    return 'Frozen on-chain: only the owner can unfreeze it.'
  }
  if (ofAll.includes('operator')) return 'Frozen off-chain by the operator.'
  if (ofAll.includes('sentinel')) return 'Frozen off-chain by the sentinel.'
  if (ofAll.includes('rule')) return 'Blocked by a rule, for a while.'
  if (ownerFrozen) return 'Frozen off-chain by its owner.'
  return controls.length > 0 ? 'Frozen off-chain.' : null
}
