import { previewClaims } from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import { type Address, type Claim, reserveOf, type Voucher } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import type { PublicClient } from 'viem'
import { buildClaims, type LeftOut } from '../worker/buildClaims.ts'
import { checkGrant } from '../worker/checkGrant.ts'
import { NoClaimError, UnpayableError } from '../worker/errors.ts'
import { readKnownPayees } from '../worker/readKnownPayees.ts'
import { askToken } from './askToken.ts'
import { type ClaimPreview, explainUnpaid, type UnpaidReason } from './explainUnpaid.ts'
import { readPayFacts, readSettled } from './readPayFacts.ts'

export type ChooseDeps = {
  module: Address
  chain: Pick<PublicClient, 'call' | 'readContract' | 'multicall' | 'simulateContract'>
  /** Nobody's: takes part in transfers of nothing that are only tried out. */
  neutral: Address
  hashVoucher: (voucher: Voucher) => Uint8Array
  clock(): number
  logger: Logger
}

export type ChosenClaims = {
  claims: Claim[]
  /** Vouchers that cannot go on-chain, and claims that the chain would not pay now. */
  leftOut: LeftOut[]
}

/**
 * The claims of a settlement that the chain would pay now, tried out at a block before anything is signed or sponsored. The
 * others are left out with their reasons, and stop nobody. `isNew`: nothing was ever sent, so that payees whom the chain
 * has paid before need no proof.
 *
 * @throws NoClaimError: no voucher is good. UnpayableError: none can be paid now. GrantFrozenError, GrantEndedError; what
 * viem says when the node does not answer
 */
export async function chooseClaims(
  work: SettlementWork,
  deps: ChooseDeps,
  { blockNumber, isNew }: { blockNumber: bigint; isNew: boolean },
): Promise<ChosenClaims> {
  const { grant, items, settlement } = work
  const { chain, module, hashVoucher } = deps
  const { grantId } = grant
  const known = isNew ? await readKnownPayees(chain, work, { module, blockNumber }) : undefined
  const built = buildClaims(hashVoucher, { grantId, terms: grant, items, known })
  if (built.leftOut.length > 0) {
    deps.logger.error({ settlement: settlement.id, grantId, leftOut: built.leftOut }, 'vouchers that cannot be settled')
  }
  if (built.claims.length === 0) throw new NoClaimError({ grantId, leftOut: built.leftOut })

  const at = { module, blockNumber }
  const paid = await previewClaims(chain, { ...at, account: grant.account, terms: grant, claims: built.claims })
  const previews = built.claims.map(({ payee, amount }, index) => ({ payee, amount, paid: paid[index] ?? 0n }))
  if (previews.every((preview) => preview.paid > 0n)) return built

  const nowSeconds = Math.floor(deps.clock() / 1_000)
  const stopped = await checkGrant({ chain, module, nowSeconds }, grant)
  if (stopped) throw stopped
  const { reasons, periodEndsAt } = await explain(previews, work, deps, { blockNumber, nowSeconds })
  const unpaid = built.claims.flatMap(({ payee }, index): LeftOut[] => {
    const reason = reasons[index]
    return reason ? [{ payee, reason }] : []
  })
  const claims = built.claims.filter((_, index) => reasons[index] === undefined)
  const leftOut = [...built.leftOut, ...unpaid]
  if (claims.length > 0) return { claims, leftOut }
  throw new UnpayableError({ grantId, leftOut: unpaid, periodEndsAt })
}

async function explain(
  previews: readonly { payee: Address; amount: bigint; paid: bigint }[],
  { grant }: SettlementWork,
  { chain, module, neutral }: ChooseDeps,
  { blockNumber, nowSeconds }: { blockNumber: bigint; nowSeconds: number },
): Promise<{ reasons: (UnpaidReason | undefined)[]; periodEndsAt: number | undefined }> {
  const at = { module, blockNumber }
  const claims = await Promise.all(
    previews.map(async ({ payee, amount, paid }): Promise<ClaimPreview> => {
      if (paid > 0n) return { payee, due: paid, paid }
      const settled = await readSettled(chain, grant, { ...at, payee })
      return { payee, due: amount > settled ? amount - settled : 0n, paid }
    }),
  )
  const { facts, periodEndsAt } = await readPayFacts(chain, grant, { ...at, nowSeconds })
  // First without the token: who is explained by funds and limits needs no question.
  const unexplained = new Set<Address>()
  explainUnpaid(claims, {
    ...facts,
    tokenRefuses(payee) {
      unexplained.add(payee)
      return 'claim.token_refuses'
    },
  })
  const payer = grant.source === 'reserve' ? reserveOf(module) : grant.account
  const answers = new Map<Address, UnpaidReason>()
  for (const payee of unexplained) {
    answers.set(payee, await askToken(chain, { token: grant.token, payer, payee, neutral }))
  }
  const tokenRefuses = (payee: Address) => answers.get(payee) ?? 'claim.token_refuses'
  return { reasons: explainUnpaid(claims, { ...facts, tokenRefuses }), periodEndsAt }
}
