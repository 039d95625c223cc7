import { addressSchema, hex32Schema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import {
  amountAtomic,
  blockNumber,
  endpointDisabled,
  grantIdentity,
  grantStatus,
  withdrawalRequested,
} from './eventFields.ts'

const claim = {
  settlementId: z.string(),
  ...grantIdentity,
  payee: addressSchema,
  /** Cumulative: the claim is for everything up to here. */
  amountAtomic,
}

const failure = {
  ...claim,
  attempts: z.int(),
  /** See docs/errors.md. */
  errorCode: z.string().nullable(),
  errorMessage: z.string().nullable(),
}

const grantChange = z.strictObject({
  ...grantIdentity,
  /** Whose doing this one change was. */
  by: z.enum(['chain', 'operator', 'merchant', 'owner', 'sentinel', 'rule']),
  reason: z.string().nullable(),
  status: grantStatus,
})

/** What merchants are told, by type; docs/webhooks.md explains it. */
export const merchantEventSchemas = {
  'settlement.confirmed': z.strictObject({
    ...claim,
    /** What moved; 0 when the claim was skipped. */
    paidAtomic: amountAtomic.nullable(),
    skippedReason: z.string().nullable(),
    txHash: hex32Schema,
    blockNumber,
    /** Null: an ordinary transaction paid. */
    userOpHash: hex32Schema.nullable(),
  }),
  'settlement.reopened': z.strictObject({ ...claim, txHash: hex32Schema, blockNumber }),
  'settlement.failed': z.strictObject(failure),
  'settlement.dead': z.strictObject(failure),
  'grant.frozen': grantChange,
  'grant.unfrozen': grantChange,
  'grant.revoked': grantChange,
  'reserve.withdrawal_requested': withdrawalRequested,
  'webhook_endpoint.disabled': endpointDisabled,
} as const
