import { createHash } from 'node:crypto'
import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import {
  type Db,
  findX402Payment,
  getMerchant,
  markX402Answered,
  resumeX402Payment,
  takeX402Payment,
  type X402Payment,
} from '@protocolbanks/stream-db'
import { type Address, exactScheme } from '@protocolbanks/stream-protocol'
import { getAddress, isAddress, type PublicClient } from 'viem'
import { type Chain, networkOf } from '../../payment/chain.ts'
import type { SignedAuthorization } from '../authorization.ts'
import { checkTerms } from '../checkTerms.ts'
import { x402Reasons } from '../exactRefusals.ts'
import { readExactPayload } from '../readExact.ts'
import type { Relayer } from '../relayer.ts'
import type { Settler } from '../settler.ts'
import { type TransferPlan, verifyAuthorization } from '../verifyAuthorization.ts'
import type { FacilitatorCaller, FacilitatorScheme, SettleAnswer, VerifyAnswer } from './facilitatorScheme.ts'
import type { FacilitatorRequest } from './readRequest.ts'

export type ExactFacilitatorDeps = {
  db: Db
  chain: Chain
  client: PublicClient
  domain(): TokenDomain | undefined
  relayer: Pick<Relayer, 'address' | 'canSend'>
  settler: Pick<Settler, 'settle'>
  factories: readonly Address[]
  /** Of this process. */
  owner: string
  leaseMs: number
  /** The least that is settled, base units. */
  minAmount: bigint
  clock(): number
}

type Checked =
  | { ok: true; authorization: SignedAuthorization; plan: TransferPlan }
  | { ok: false; reason: string; message?: string; payer: string | undefined }

/** `exact` for servers elsewhere: the same checks, the same rows and the same relayer as for services here. */
export function createExactFacilitator(deps: ExactFacilitatorDeps): FacilitatorScheme {
  const { db, chain, clock, owner, leaseMs } = deps

  return {
    scheme: exactScheme,
    supported: () => (deps.domain() && deps.relayer.canSend() ? {} : undefined),
    async verify(request, caller): Promise<VerifyAnswer> {
      const checked = await check(request, caller)
      if (checked.ok) return { isValid: true, payer: checked.authorization.from }
      const { reason, message, payer } = checked
      return {
        isValid: false,
        invalidReason: reason,
        ...(message !== undefined && { invalidMessage: message }),
        ...(payer !== undefined && { payer }),
      }
    },
    async settle(request, caller): Promise<SettleAnswer> {
      const before = await findEarlier(request, caller)
      if (before) return before
      const checked = await check(request, caller)
      if (!checked.ok) return refused(checked.reason, checked.payer, checked.message)
      const { authorization, plan } = checked
      const { from: payer, to: payee, value: amount } = authorization
      const taken = await takeX402Payment(
        db,
        {
          ...authorization,
          ...{ origin: 'facilitator', merchantId: caller.merchantId, serviceId: null, payer, payee, amount },
          ...{ paymentIdentifier: null, fingerprint: fingerprintOf(request) },
        },
        { owner, leaseMs, now: new Date(clock()) },
      )
      if (!taken) return refused(x402Reasons['exact.nonce_used'], payer)
      const end = await deps.settler.settle(taken, plan)
      if (end.state === 'settled') return succeed({ ...taken, txHash: end.txHash })
      if (end.state === 'failed') return refused(x402Reasons['exact.settlement_failed'], payer, end.reason)
      return refused('settlement_pending', payer, 'Ask again with the same payment: nobody pays twice.')
    },
  }

  async function check({ payload, requirements }: FacilitatorRequest, caller: FacilitatorCaller): Promise<Checked> {
    const domain = deps.domain()
    if (!domain || !deps.relayer.canSend()) return { ok: false, reason: 'facilitator_unavailable', payer: undefined }
    const offer = { ...requirements, scheme: exactScheme, network: networkOf(chain) }
    const read = readExactPayload(payload, offer)
    if (!read.ok) {
      if (read.code === 'payment.malformed') return refuse('invalid_payload', undefined, read.detail)
      return refuse(read.code === 'scheme.unsupported' ? 'unsupported_scheme' : x402Reasons[read.code])
    }
    const { authorization: signed, signature } = read.payment
    const payer = signed.from
    if (requirements.network !== offer.network) return refuse(x402Reasons['payment.wrong_network'], payer)
    if (
      !isAddress(requirements.payTo, { strict: false }) ||
      requirements.asset.toLowerCase() !== chain.token.toLowerCase()
    ) {
      return refuse('invalid_payment_requirements', payer, `Only ${chain.token} is settled here.`)
    }
    const terms = { token: chain.token, payee: getAddress(requirements.payTo), amount: BigInt(requirements.amount) }
    if (terms.amount < deps.minAmount) {
      return refuse('invalid_payment_requirements', payer, `The least that is settled here is ${deps.minAmount}.`)
    }
    if (caller.merchantId !== null && (await getMerchant(db, caller.merchantId))?.payee !== terms.payee) {
      return refuse(x402Reasons['payment.wrong_payee'], payer, "payTo is not the payee of the API key's merchant.")
    }
    const authorization = { ...signed, signature, token: chain.token }
    const wrong = checkTerms(authorization, terms, clock())
    if (wrong) return refuse(x402Reasons[wrong], payer)
    const known = await findX402Payment(db, { token: chain.token, payer, nonce: signed.nonce })
    if (known && (known.state === 'settling' || known.state === 'settled')) {
      return refuse(x402Reasons['exact.nonce_used'], payer)
    }
    const verifier = { client: deps.client, domain, relayer: deps.relayer.address, factories: deps.factories }
    const verified = await verifyAuthorization(authorization, verifier)
    return verified.ok ? { ok: true, authorization, plan: verified.plan } : refuse(x402Reasons[verified.code], payer)
  }

  /** A settlement whose caller never learned how it ended is told once, and one that goes on is not begun again. */
  async function findEarlier(
    { payload, requirements }: FacilitatorRequest,
    caller: FacilitatorCaller,
  ): Promise<SettleAnswer | undefined> {
    const read = readExactPayload(payload, { ...requirements, scheme: exactScheme, network: networkOf(chain) })
    if (!read.ok) return undefined
    const { authorization, signature } = read.payment
    const known = await findX402Payment(db, {
      token: chain.token,
      payer: authorization.from,
      nonce: authorization.nonce,
    })
    const isOurs = known?.origin === 'facilitator' && known.merchantId === caller.merchantId
    if (!known || !isOurs || known.signature !== signature) return undefined
    if (known.state === 'settling') return refused('settlement_pending', known.payer)
    if (known.state !== 'settled') return undefined
    const isTold = !(await resumeX402Payment(db, { id: known.id, owner, leaseMs, now: new Date(clock()) }))
    if (!isTold) return succeed(known)
    return { ...refused(x402Reasons['exact.nonce_used'], known.payer), transaction: known.txHash ?? '' }
  }

  async function succeed(payment: X402Payment): Promise<SettleAnswer> {
    await markX402Answered(db, payment.id, new Date(clock()))
    return {
      success: true,
      transaction: payment.txHash ?? '',
      payer: payment.payer,
      amount: payment.amount.toString(),
    }
  }
}

function refuse(reason: string, payer?: string, message?: string): Checked {
  return { ok: false, reason, payer, ...(message !== undefined && { message }) }
}

function refused(errorReason: string, payer: string | undefined, errorMessage?: string): SettleAnswer {
  return { success: false, transaction: '', payer, errorReason, ...(errorMessage !== undefined && { errorMessage }) }
}

function fingerprintOf({ payload }: FacilitatorRequest): string {
  return createHash('sha256')
    .update(payload.resource?.url ?? '')
    .digest('base64url')
}
