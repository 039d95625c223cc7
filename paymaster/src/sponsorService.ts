import {
  dummySignature,
  type GasLimits,
  hashUserOperation,
  maxCostOf,
  type OperationContext,
  type PartialUserOperation,
  type PaymasterFields,
  type UserOperation,
  withCallGasMargin,
} from '@protocolbanks/stream-bundler-client'
import type { Grant, Merchant, Reservation, ReservationResult } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { classifyOperation, type Operation, type SponsoredContracts } from './policy/classifyOperation.ts'
import {
  type Bearer,
  type Bounds,
  type Caller,
  checkGas,
  decideSponsorship,
  type SizedUserOperation,
  sharesOf,
} from './policy/decideSponsorship.ts'
import { type Refusal, refuse } from './policy/refusal.ts'
import type { SponsorSigner } from './signature/sponsorSigner.ts'

export type SponsorRequest = {
  op: PartialUserOperation
  caller: Caller
  contextMerchantId: string | undefined
}

export type Answer<fields> = { ok: true; kind: Operation['kind']; fields: fields } | { ok: false; refusal: Refusal }

/** What the JSON-RPC methods do. Refusals are values; an unreachable database or bundler throws. */
export type SponsorService = {
  /** `pm_getPaymasterStubData`: the same rules except gas and budget. Reserves nothing. */
  stub(request: SponsorRequest): Promise<Answer<PaymasterFields>>
  /** `pm_getPaymasterData`: reserves the most the operation can cost and signs it. */
  sponsor(request: SponsorRequest): Promise<Answer<PaymasterFields>>
  /** `pm_sponsorUserOperation`: the same with the gas limits, estimated where the request has none. */
  sponsorWithGas(request: SponsorRequest): Promise<Answer<PaymasterFields & GasLimits>>
}

export type SponsorDeps = OperationContext & {
  contracts: SponsoredContracts
  bounds: Bounds
  ttlSeconds: number
  operatorBudgetWeiPerDay: bigint
  maxOperationsPerAccountPerDay: number
  signer: SponsorSigner
  findGrant(terms: { account: Address; packedTerms: Hex }): Promise<Grant | undefined>
  listMerchants(payees: readonly Address[]): Promise<Merchant[]>
  reserve(reservation: Reservation): Promise<ReservationResult>
  /** Undefined: no bundler is configured. */
  estimate: ((op: UserOperation) => Promise<GasLimits>) | undefined
  clock(): number
  /** Where a test may end the process. */
  crashPoint?: ((name: string) => void) | undefined
}

/** Operations that no merchant bears share one budget, whatever they do. */
const operatorKind = 'operator'

export function createSponsorService(deps: SponsorDeps): SponsorService {
  const { signer, bounds, ttlSeconds, clock } = deps

  async function decide(
    request: SponsorRequest,
  ): Promise<{ operation: Operation; bearer: Bearer } | { refusal: Refusal }> {
    const { op, caller, contextMerchantId } = request
    const classified = classifyOperation(deps.contracts, op)
    if ('refusal' in classified) return classified
    const { operation } = classified
    const isSettlement = operation.kind === 'settlement'
    const [grant, merchants] = await Promise.all([
      isSettlement ? deps.findGrant({ account: op.sender, packedTerms: operation.packedTerms }) : undefined,
      isSettlement ? deps.listMerchants(operation.payees) : [],
    ])
    const nowSeconds = Math.floor(clock() / 1_000)
    const verdict = decideSponsorship(operation, { caller, contextMerchantId, grant, merchants, nowSeconds })
    return 'refusal' in verdict ? verdict : { operation, bearer: verdict.bearer }
  }

  // "Valid only after" 0: a bundler's clock may be behind ours.
  const windowNow = () => ({ validUntil: Math.floor(clock() / 1_000) + ttlSeconds, validAfter: 0 })

  async function signAndReserve(
    op: PartialUserOperation,
    decided: { operation: Operation; bearer: Bearer },
  ): Promise<Answer<PaymasterFields & GasLimits>> {
    const { operation, bearer } = decided
    const checked = checkGas(operation, op, bounds)
    if ('refusal' in checked) return { ok: false, refusal: checked.refusal }
    const unsigned = withoutPaymaster(checked.sized)
    const window = windowNow()
    const fields = await signer.sign(unsigned, window)
    deps.crashPoint?.('sponsor.signed')
    const sponsored: UserOperation = { ...unsigned, ...fields }
    const reserved = await deps.reserve(reservationOf(sponsored, operation, bearer, window.validUntil))
    deps.crashPoint?.('sponsor.reserved')
    if (!reserved.ok) return { ok: false, refusal: refusalOf(reserved, new Date(clock()), maxCostOf(sponsored)) }
    const { callGasLimit, verificationGasLimit, preVerificationGas } = sponsored
    return {
      ok: true,
      kind: operation.kind,
      fields: { ...fields, callGasLimit, verificationGasLimit, preVerificationGas },
    }
  }

  function reservationOf(op: UserOperation, operation: Operation, bearer: Bearer, validUntil: number): Reservation {
    const common = {
      userOpHash: hashUserOperation(deps, op),
      sender: op.sender,
      maxCostWei: maxCostOf(op),
      validUntil: new Date(validUntil * 1_000),
      now: new Date(clock()),
      shares: sharesOf(bearer, op),
    }
    if (bearer.by === 'merchants') return { ...common, kind: operation.kind }
    return {
      ...common,
      kind: operatorKind,
      kindBudgetWeiPerDay: deps.operatorBudgetWeiPerDay,
      maxPerSenderPerDay: deps.maxOperationsPerAccountPerDay,
    }
  }

  return {
    async stub(request) {
      const decided = await decide(request)
      if ('refusal' in decided) return { ok: false, refusal: decided.refusal }
      return { ok: true, kind: decided.operation.kind, fields: signer.stub(windowNow()) }
    },

    async sponsor(request) {
      const decided = await decide(request)
      if ('refusal' in decided) return { ok: false, refusal: decided.refusal }
      const answer = await signAndReserve(request.op, decided)
      if (!answer.ok) return answer
      const { paymaster, paymasterData, paymasterVerificationGasLimit, paymasterPostOpGasLimit } = answer.fields
      const fields = { paymaster, paymasterData, paymasterVerificationGasLimit, paymasterPostOpGasLimit }
      return { ok: true, kind: answer.kind, fields }
    },

    async sponsorWithGas(request) {
      const decided = await decide(request)
      if ('refusal' in decided) return { ok: false, refusal: decided.refusal }
      return signAndReserve(await fillGas(request.op), decided)
    },
  }

  async function fillGas(op: PartialUserOperation): Promise<PartialUserOperation> {
    const { callGasLimit, verificationGasLimit, preVerificationGas, maxFeePerGas, maxPriorityFeePerGas } = op
    if (!deps.estimate || (callGasLimit && verificationGasLimit && preVerificationGas)) return op
    const estimate = await deps.estimate({
      ...op,
      ...signer.stub(windowNow()),
      callGasLimit: 0n,
      verificationGasLimit: 0n,
      preVerificationGas: 0n,
      maxFeePerGas: maxFeePerGas ?? 0n,
      maxPriorityFeePerGas: maxPriorityFeePerGas ?? 0n,
      signature: op.signature && op.signature !== '0x' ? op.signature : dummySignature,
    })
    const estimated = withCallGasMargin(estimate)
    return {
      ...op,
      callGasLimit: callGasLimit || estimated.callGasLimit,
      verificationGasLimit: verificationGasLimit || estimated.verificationGasLimit,
      preVerificationGas: preVerificationGas || estimated.preVerificationGas,
    }
  }
}

/** The request may carry the stub's fields, or another paymaster's. */
function withoutPaymaster(op: SizedUserOperation): UserOperation {
  const { sender, nonce, factory, factoryData, eip7702Auth, callData } = op
  const { callGasLimit, verificationGasLimit, preVerificationGas, maxFeePerGas, maxPriorityFeePerGas } = op
  const gas = { callGasLimit, verificationGasLimit, preVerificationGas, maxFeePerGas, maxPriorityFeePerGas }
  return { sender, nonce, ...(factory && { factory, factoryData, eip7702Auth }), callData, ...gas, signature: '0x' }
}

function refusalOf(result: Exclude<ReservationResult, { ok: true }>, now: Date, maxCostWei: bigint): Refusal {
  if (result.code === 'merchant.unknown') {
    const { merchantId } = result
    return refuse('sponsor.merchant_unknown', `There is no merchant ${merchantId}.`, { merchantId })
  }
  const resetsAt = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1)).toISOString()
  if (result.code === 'budget.sender') {
    const { maxPerDay } = result
    return refuse(
      'sponsor.budget_exceeded',
      `This account had its ${maxPerDay} operations that no merchant pays for today. It resets at ${resetsAt}.`,
      { maxPerDay, resetsAt },
    )
  }
  const { budgetWei, usedWei } = result
  const leftWei = usedWei < budgetWei ? budgetWei - usedWei : 0n
  const whose = result.code === 'budget.merchant' ? `The merchant ${result.merchantId}` : 'The operator'
  return refuse(
    'sponsor.budget_exceeded',
    `${whose} has ${leftWei} of ${budgetWei} wei left for gas today; the operation may cost ${maxCostWei} wei. It resets at ${resetsAt}.`,
    {
      ...(result.code === 'budget.merchant' && { merchantId: result.merchantId }),
      budgetWei,
      leftWei,
      maxCostWei,
      resetsAt,
    },
  )
}
