import { createHash } from 'node:crypto'
import {
  createVoucherHasher,
  decodeHeader,
  encodeHeader,
  isPayee,
  sessionScheme,
  settleResponseSchema,
  verifyVoucher,
} from '@protocolbanks/stream-protocol'
import type { GrantDirectory, KnownGrant } from '../../grants/grantDirectory.ts'
import type { Meter } from '../../meter/meter.ts'
import type { Chain } from '../../payment/chain.ts'
import { sessionRequirements } from '../../payment/offer.ts'
import type { PaymentGate } from '../../payment/paymentGate.ts'
import { readPayment } from '../../payment/readPayment.ts'
import type { Service, ServiceTable } from '../../services/serviceTable.ts'
import type { FacilitatorCaller, FacilitatorScheme, SettleAnswer, VerifyAnswer } from './facilitatorScheme.ts'
import type { FacilitatorRequest } from './readRequest.ts'

export type SessionFacilitatorDeps = {
  chain: Chain
  gate: PaymentGate
  grants: GrantDirectory
  meter: Pick<Meter, 'read'>
  services: Pick<ServiceTable, 'match'>
  /** Copies an account from Postgres to the meter. */
  mirrorAccount(account: KnownGrant['account']): Promise<boolean>
}

/**
 * Our own scheme for servers elsewhere (docs/spec/session-scheme.md). Verifying looks and charges nothing, so it is a
 * forecast; settling charges, once for each request id.
 */
export function createSessionFacilitator(deps: SessionFacilitatorDeps): FacilitatorScheme {
  const { chain, gate, grants, services } = deps
  const hashVoucher = createVoucherHasher(chain)

  return {
    scheme: sessionScheme,
    supported: () => ({ extra: { module: chain.module, settler: chain.settler } }),
    async verify(request, caller): Promise<VerifyAnswer> {
      const service = serviceOf(request, caller)
      if (!service) return { isValid: false, invalidReason: 'service.unknown' }
      const amount = BigInt(request.requirements.amount)
      const header = encodeHeader(request.payload)
      const read = readPayment(header, sessionRequirements(chain, service, amount))
      if (!read.ok) return { isValid: false, invalidReason: read.code }
      const { payeeProof, requestId, voucherFor, ...signed } = read.payment
      // A further voucher of a stream pays for nothing by itself.
      if (voucherFor !== undefined) return { isValid: false, invalidReason: 'payment.malformed' }
      const grant = await grants.find(signed.grantId)
      if (!grant) return { isValid: false, invalidReason: 'grant.unknown' }
      const payer = grant.account
      const refuse = (invalidReason: string): VerifyAnswer => ({ isValid: false, invalidReason, payer })
      if (grant.token !== service.token) return refuse('payment.wrong_token')
      const voucher = { ...signed, payee: service.payee }
      if (!verifyVoucher(hashVoucher, voucher, grant.sessionKey, grant.publicKey))
        return refuse('voucher.invalid_signature')
      if (!grant.payees.has(service.payee) && !isPayee(grant.payeeRoot, service.payee, payeeProof)) {
        return refuse('payee.not_granted')
      }
      const state = await readMeter(grant)
      if (!state) return refuse('grant.unknown')
      if (state.status !== 'active') return refuse(`grant.${state.status}`)
      const { charged = 0n, authorized = 0n } = state.channels[service.payee] ?? {}
      const after = charged + amount
      if (after > authorized && after > voucher.cumulativeAmount) return refuse('voucher.exhausted')
      return state.accountOutstanding + amount > state.accountFunds
        ? refuse('funds.insufficient')
        : { isValid: true, payer }
    },
    async settle(request, caller): Promise<SettleAnswer> {
      const service = serviceOf(request, caller)
      if (!service) return { success: false, transaction: '', errorReason: 'service.unknown' }
      const url = request.payload.resource?.url ?? ''
      const verdict = await gate.authorize({
        service,
        amount: BigInt(request.requirements.amount),
        url,
        payment: encodeHeader(request.payload),
        fingerprint: () => createHash('sha256').update(url).digest('base64url'),
      })
      if (verdict.kind !== 'serve') {
        const errorReason = verdict.kind === 'refused' ? verdict.code : 'request.answered'
        return { success: false, transaction: '', errorReason }
      }
      // The caller serves it: from here on it is charged.
      verdict.charge.served(undefined)
      const receipt = decodeHeader(verdict.charge.receipt, settleResponseSchema)
      if (!receipt.ok) throw new Error(`A receipt of ours ${receipt.reason}.`)
      const { payer, amount, extra } = receipt.value
      return { success: true, transaction: '', payer, amount, extra }
    },
  }

  async function readMeter({ account, grantId }: KnownGrant) {
    const known = await deps.meter.read(account, grantId)
    if (known || !(await deps.mirrorAccount(account))) return known
    return deps.meter.read(account, grantId)
  }

  /** The service that the offer names, if it is the caller's. */
  function serviceOf({ requirements }: FacilitatorRequest, { merchantId }: FacilitatorCaller): Service | undefined {
    const { scope, service: id } = requirements.extra ?? {}
    const service = typeof scope === 'string' ? services.match(scope) : undefined
    return service?.id === id && (merchantId === null || service?.merchantId === merchantId) ? service : undefined
  }
}
