import { addressSchema, hex32Schema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import { amountAtomic, blockNumber, endpointDisabled, grantIdentity, incidentEventSchemas } from './eventFields.ts'

const difference = z.looseObject({
  kind: z.string(),
  grantId: hex32Schema,
  payee: addressSchema,
  expectedAtomic: amountAtomic,
  actualAtomic: amountAtomic,
})

/** What the operator is told, by type; docs/webhooks.md explains it. */
export const operatorEventSchemas = {
  'settlement.dead': z.strictObject({
    settlementId: z.string(),
    ...grantIdentity,
    payees: z.array(addressSchema),
    attempts: z.int(),
    /** See docs/errors.md. */
    errorCode: z.string().nullable(),
    errorMessage: z.string().nullable(),
  }),
  'reconciliation.difference': z.strictObject({
    reconciliationId: z.string(),
    blockNumber,
    /** All that were found; `first` has ten of them at most. */
    differences: z.int(),
    first: z.array(difference),
  }),
  'usage.quarantined': z.strictObject({
    /** Of one batch of the journal. */
    events: z.int(),
    /** How many by reason; see docs/operations.md. */
    reasons: z.record(z.string(), z.int()),
    firstEventId: z.string(),
    firstDetail: z.string(),
  }),
  ...incidentEventSchemas,
  'webhook_endpoint.disabled': endpointDisabled,
} as const
