import { maxCostOf, type PartialUserOperation, type UserOperation } from '@protocolbanks/stream-bundler-client'
import type { Grant, Merchant } from '@protocolbanks/stream-db'
import type { Operation } from './classifyOperation.ts'
import { type Refusal, refuse } from './refusal.ts'

/** Whose API key it is. The operator's may act for every merchant. */
export type Caller = { role: 'operator' } | { role: 'merchant'; merchantId: string }

/** What was looked up about the operation. */
export type Facts = {
  caller: Caller
  /** ERC-7677 context: which merchant pays for an owner's operation. */
  contextMerchantId: string | undefined
  /** Of a settlement: the grant its terms name. */
  grant: Grant | undefined
  /** Of a settlement: the merchants among its payees. */
  merchants: readonly Pick<Merchant, 'id' | 'payee'>[]
  nowSeconds: number
}

export type Bounds = {
  maxFeePerGas: bigint
  maxPreVerificationGas: bigint
}

/** Who pays for the gas: some merchants in equal shares, or the operator. */
export type Bearer = { by: 'merchants'; merchantIds: string[] } | { by: 'operator' }

export type Verdict = { bearer: Bearer } | { refusal: Refusal }

/** Whether the operation is sponsored as far as grant, caller and merchants go, and who bears it. */
export function decideSponsorship(operation: Operation, facts: Facts): Verdict {
  const contextRefusal = checkContext(facts)
  if (contextRefusal) return { refusal: contextRefusal }
  return operation.kind === 'settlement' ? decideSettlement(operation, facts) : decideOwnerOperation(facts)
}

function checkContext({ caller, contextMerchantId }: Facts): Refusal | undefined {
  if (caller.role === 'operator' || contextMerchantId === undefined || contextMerchantId === caller.merchantId) {
    return undefined
  }
  return refuse('sponsor.not_yours', `The context names the merchant ${contextMerchantId}; the API key is another's.`, {
    merchantId: contextMerchantId,
  })
}

function decideSettlement(operation: Operation & { kind: 'settlement' }, facts: Facts): Verdict {
  const { caller, grant, merchants, nowSeconds } = facts
  const { validAfter, validUntil } = operation.terms
  if (!grant || grant.status === 'pending' || grant.status === 'none') {
    return refused('sponsor.grant_unknown', 'The chain has shown no grant of this account with these terms.')
  }
  const { grantId, status, effectiveStatus } = grant
  if (status !== 'active') {
    return refused('sponsor.grant_not_live', `The grant ${grantId} is ${status}.`, { grantId, status })
  }
  // The operator's own freeze stops new charges. What was charged before it is still settled.
  if (effectiveStatus === 'revoked') {
    return refused('sponsor.grant_not_live', `The grant ${grantId} ended with its account's epoch.`, {
      grantId,
      status: effectiveStatus,
    })
  }
  if (nowSeconds < validAfter || nowSeconds > validUntil) {
    return refused(
      'sponsor.grant_not_live',
      `The grant ${grantId} is valid from ${validAfter} to ${validUntil}; it is ${nowSeconds}.`,
      { grantId, validAfter, validUntil, now: nowSeconds },
    )
  }
  const payees = new Set(operation.payees)
  const known = merchants.filter(({ payee }) => payees.has(payee))
  if (caller.role === 'merchant') {
    const own = known.find(({ id }) => id === caller.merchantId)
    // Else one merchant could spend the others' budgets.
    if (!own || payees.size > 1) {
      return refused(
        'sponsor.not_yours',
        'With a merchant’s API key only claims of that merchant’s payee are sponsored.',
      )
    }
  }
  const merchantIds = known.map(({ id }) => id)
  return { bearer: merchantIds.length > 0 ? { by: 'merchants', merchantIds } : { by: 'operator' } }
}

function decideOwnerOperation({ caller, contextMerchantId }: Facts): Verdict {
  const merchantId = caller.role === 'merchant' ? caller.merchantId : contextMerchantId
  return { bearer: merchantId === undefined ? { by: 'operator' } : { by: 'merchants', merchantIds: [merchantId] } }
}

/** An operation whose gas and fees are all there. */
export type SizedUserOperation = Omit<UserOperation, 'signature'>

/** The gas and fees that the operation names, within the bounds of its kind. */
export function checkGas(
  operation: Operation,
  op: PartialUserOperation,
  bounds: Bounds,
): { sized: SizedUserOperation } | { refusal: Refusal } {
  const { callGasLimit, verificationGasLimit, preVerificationGas, maxFeePerGas, maxPriorityFeePerGas } = op
  if (
    !callGasLimit ||
    !verificationGasLimit ||
    !preVerificationGas ||
    !maxFeePerGas ||
    maxPriorityFeePerGas === undefined
  ) {
    const fields = { callGasLimit, verificationGasLimit, preVerificationGas, maxFeePerGas, maxPriorityFeePerGas }
    const missing = Object.entries(fields).flatMap(([name, value]) => (value ? [] : [name]))
    return refused('sponsor.gas_missing', `Estimate first: ${missing.join(', ')} is missing or zero.`)
  }
  const limits = { ...gasLimitsOf(operation), preVerificationGas: bounds.maxPreVerificationGas }
  const gas = { callGasLimit, verificationGasLimit, preVerificationGas }
  for (const [name, limit] of Object.entries(limits)) {
    const value = gas[name as keyof typeof gas]
    if (value > limit) {
      return refused('sponsor.gas_above_limit', `${name} is ${value}; for a ${operation.kind} at most ${limit}.`, {
        name,
        value,
        limit,
      })
    }
  }
  if (maxFeePerGas > bounds.maxFeePerGas) {
    const values = { name: 'maxFeePerGas', value: maxFeePerGas, limit: bounds.maxFeePerGas }
    return refused(
      'sponsor.fee_above_limit',
      `maxFeePerGas is ${maxFeePerGas} wei; at most ${bounds.maxFeePerGas}.`,
      values,
    )
  }
  return { sized: { ...op, ...gas, maxFeePerGas, maxPriorityFeePerGas } }
}

/**
 * Twice what each kind was measured to need on a token like USDC, with what estimation adds to it. One more claim needs
 * about 45,000 to run and 17,000 if its payee has no balance yet.
 */
export function gasLimitsOf(operation: Operation): { callGasLimit: bigint; verificationGasLimit: bigint } {
  switch (operation.kind) {
    case 'settlement': {
      const claims = BigInt(operation.payees.length)
      return { callGasLimit: 200_000n + 120_000n * claims, verificationGasLimit: 250_000n + 10_000n * claims }
    }
    case 'grant': {
      const calls = BigInt(operation.calls)
      return {
        callGasLimit: 150_000n + 150_000n * calls,
        verificationGasLimit: operation.deploys ? 800_000n : 250_000n,
      }
    }
    case 'control':
      return { callGasLimit: 100_000n + 60_000n * BigInt(operation.calls), verificationGasLimit: 250_000n }
  }
}

/** Each merchant's part of the most the operation may cost; parts are rounded up, so that they cover it together. */
export function sharesOf(bearer: Bearer, sized: SizedUserOperation): { merchantId: string; maxCostWei: bigint }[] {
  if (bearer.by === 'operator') return []
  const parts = BigInt(bearer.merchantIds.length)
  const maxCostWei = (maxCostOf(sized) + parts - 1n) / parts
  return bearer.merchantIds.map((merchantId) => ({ merchantId, maxCostWei }))
}

function refused(...parameters: Parameters<typeof refuse>): { refusal: Refusal } {
  return { refusal: refuse(...parameters) }
}
