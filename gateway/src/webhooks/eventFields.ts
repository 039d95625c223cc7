import { addressSchema, hex32Schema } from '@protocolbanks/stream-protocol'
import { z } from 'zod'

// What events have in common. The database writes them with the change; these schemas say what leaves.

/** Base units of the token, as a decimal string. */
export const amountAtomic = z.string().regex(/^\d{1,39}$/)
export const blockNumber = z.string().regex(/^\d{1,20}$/)

/** Of the grant, the strictest of everything that stops it, at the moment of the change. */
export const grantStatus = z.enum(['pending', 'none', 'active', 'frozen', 'revoked'])

/** Unix seconds, as an ISO 8601 time. */
export const momentFromSeconds = z.int().transform((seconds) => new Date(seconds * 1_000).toISOString())

/** Another endpoint of the same recipient was disabled. */
export const endpointDisabled = z.strictObject({
  endpointId: z.string(),
  url: z.string(),
  reason: z.enum(['failures', 'gone']),
})

/** An account asks money back from its reserve. */
export const withdrawalRequested = z.strictObject({
  account: addressSchema,
  token: addressSchema,
  balanceAtomic: amountAtomic,
  withdrawingAtomic: amountAtomic,
  /** From when the money can be taken. */
  withdrawableAt: momentFromSeconds,
})

export const grantIdentity = { grantId: hex32Schema, account: addressSchema, token: addressSchema }

const incident = {
  incidentId: z.string(),
  ...grantIdentity,
  /** What found it, what is done about it, and why, in one sentence. */
  rule: z.string(),
  action: z.enum(['alert', 'block', 'freeze', 'revoke']),
  severity: z.enum(['info', 'warning', 'critical']),
  explanation: z.string(),
  /** hold: claims wait for the owner. settle: what was accepted is settled before the freeze on the chain. */
  voucherPolicy: z.enum(['hold', 'settle']),
  /** What was accepted and not settled: when it was opened, then when the chain had stopped the grant. */
  acceptedAtomic: amountAtomic,
}

/** What the sentinel found and did. */
export const incidentEventSchemas = {
  'incident.opened': z.strictObject({
    ...incident,
    /** The charge that opened it. Null, both: the owner asked for it. */
    requestId: z.string().nullable(),
    payee: addressSchema.nullable(),
    /** What the rule compared. */
    inputs: z.record(z.string(), z.string()),
  }),
  'incident.stopped': z.strictObject({
    ...incident,
    kind: z.enum(['freeze', 'revoke']),
    /** Null: somebody else had stopped the grant. */
    txHash: hex32Schema.nullable(),
    blockNumber,
  }),
  /** `findings`: how often it was found while it was open. */
  'incident.closed': z.strictObject({ ...incident, findings: z.int() }),
} as const
