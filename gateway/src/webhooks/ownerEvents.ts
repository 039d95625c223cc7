import { addressSchema, hex32Schema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import {
  amountAtomic,
  blockNumber,
  endpointDisabled,
  grantIdentity,
  grantStatus,
  incidentEventSchemas,
  momentFromSeconds,
  withdrawalRequested,
} from './eventFields.ts'

const grantOfKey = { ...grantIdentity, sessionKey: addressSchema }

const grantTerms = z.strictObject({
  ...grantOfKey,
  source: z.enum(['allowance', 'reserve']),
  totalLimitAtomic: amountAtomic,
  /** 0: no limit of a period. */
  periodLimitAtomic: amountAtomic,
  /** Seconds; 0: no limit of a period. */
  period: z.int(),
  validAfter: momentFromSeconds,
  validUntil: momentFromSeconds,
})

const grantChange = z.strictObject({
  ...grantOfKey,
  /** Whose doing this one change was. */
  by: z.enum(['chain', 'operator', 'merchant', 'owner', 'sentinel', 'rule']),
  /** Which merchant, where it was one: for their payee alone, and not part of `status`. */
  merchantId: z.string().nullable(),
  reason: z.string().nullable(),
  status: grantStatus,
})

const settlement = { settlementId: z.string(), ...grantIdentity, txHash: hex32Schema, blockNumber }

/** What the owner of an account is told, by type; docs/webhooks.md explains it. */
export const ownerEventSchemas = {
  'session_key.registered': grantTerms,
  'grant.created': grantTerms,
  'grant.frozen': grantChange,
  'grant.unfrozen': grantChange,
  'grant.revoked': grantChange,
  'grant.exhausted': z.strictObject({ ...grantOfKey, totalLimitAtomic: amountAtomic, settledAtomic: amountAtomic }),
  'settlement.confirmed': z.strictObject({
    ...settlement,
    /** Null: an ordinary transaction paid. */
    userOpHash: hex32Schema.nullable(),
    /** To all payees together. */
    paidAtomic: amountAtomic,
    payments: z.array(
      z.strictObject({
        payee: addressSchema,
        paidAtomic: amountAtomic.nullable(),
        skippedReason: z.string().nullable(),
      }),
    ),
  }),
  'settlement.reopened': z.strictObject(settlement),
  'reserve.withdrawal_requested': withdrawalRequested,
  ...incidentEventSchemas,
  'webhook_endpoint.disabled': endpointDisabled,
} as const
