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
  /** Written by the journal, as it found it. */
  'usage.quarantined': z.record(z.string(), z.json()),
  ...incidentEventSchemas,
  'webhook_endpoint.disabled': endpointDisabled,
} as const
