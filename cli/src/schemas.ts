import { z } from 'zod'

// What the management API answers, as far as the command shows it. Fields that it does not know stay in --json.

const text = z.string().nullable()

export const problemSchema = z.object({
  title: z.string(),
  code: z.string(),
  detail: z.string().optional(),
  hint: z.string().optional(),
})

export const settlementSchema = z.looseObject({
  id: z.string(),
  grantId: z.string(),
  account: z.string(),
  state: z.string(),
  trigger: z.string(),
  txHash: text,
  attempts: z.number(),
  failureReason: text,
  nextAttemptAt: text,
  errorCode: text,
  errorMessage: text,
  writtenOffAt: text,
  createdAt: z.string(),
  updatedAt: z.string(),
})

export const settlementWithItemsSchema = settlementSchema.extend({
  items: z.array(
    z.looseObject({
      payee: z.string(),
      merchantId: text,
      amountAtomic: z.string(),
      cumulativeAmountAtomic: z.string(),
      paidAtomic: text,
      skippedReason: text,
    }),
  ),
  transitions: z.array(
    z.looseObject({
      at: z.string(),
      from: text,
      to: z.string(),
      reason: text,
      errorCode: text,
      worker: text,
      attempt: z.number(),
      userOpHash: text,
      txHash: text,
    }),
  ),
})

export const settlementsSchema = z.looseObject({
  settlements: z.array(settlementSchema),
  nextCursor: z.string().optional(),
})

export const auditSchema = z.looseObject({
  entries: z.array(
    z.looseObject({
      id: z.string(),
      actor: z.string(),
      action: z.string(),
      outcome: z.string(),
      subject: z.string(),
      note: text,
      errorCode: text,
      createdAt: z.string(),
    }),
  ),
  nextCursor: z.string().optional(),
})

export const usageQuarantineSchema = z.looseObject({
  events: z.array(
    z.looseObject({
      id: z.string(),
      eventId: z.string(),
      reason: z.string(),
      detail: z.string(),
      createdAt: z.string(),
    }),
  ),
  nextCursor: z.string().optional(),
})

export const incidentSchema = z.looseObject({
  id: z.string(),
  grantId: z.string(),
  account: z.string(),
  rule: z.string(),
  ruleVersion: z.number(),
  action: z.string(),
  severity: z.string(),
  state: z.string(),
  payee: text,
  requestId: text,
  chargedAt: text,
  inputs: z.record(z.string(), z.string()).nullable(),
  explanation: z.string(),
  findings: z.number().nullable(),
  openedAt: z.string(),
  lastFoundAt: z.string(),
  acknowledgedBy: text,
  closedAt: text,
})

export const incidentWithEventsSchema = incidentSchema.extend({
  stop: z
    .looseObject({ kind: z.string(), refusedAt: text, chainState: z.string(), txHash: text, errorCode: text })
    .nullable(),
  events: z.array(z.looseObject({ at: z.string(), kind: z.string(), explanation: z.string() })),
})

export const incidentsSchema = z.looseObject({ incidents: z.array(incidentSchema), nextCursor: z.string().optional() })

export const reconciliationSchema = z.looseObject({
  id: z.string(),
  state: z.enum(['requested', 'running', 'done', 'failed']),
  grantId: text,
  blockNumber: text,
  differences: z.number().nullable(),
  errorCode: text,
  errorMessage: text,
  totals: z
    .looseObject({
      channels: z.number(),
      allowedAtomic: z.string(),
      chargedAtomic: z.string(),
      settledAtomic: z.string(),
      owedAtomic: z.string(),
      writtenOffAtomic: z.string(),
      payments: z.number(),
    })
    .nullable(),
})

export const reconciliationWithDifferencesSchema = reconciliationSchema.extend({
  found: z.array(
    z.looseObject({
      kind: z.string(),
      grantId: z.string(),
      payee: z.string(),
      expectedAtomic: z.string(),
      actualAtomic: z.string(),
      detail: z.string(),
    }),
  ),
})

export const traceSchema = z.looseObject({
  charges: z.array(
    z.looseObject({
      requestId: z.string(),
      traceId: text,
      occurredAt: z.string(),
      journalledAt: text,
      grantId: z.string(),
      payee: z.string(),
      serviceId: z.string(),
      amountAtomic: z.string(),
      settlementIds: z.array(z.string()),
    }),
  ),
  settlements: z.array(
    z.looseObject({
      id: z.string(),
      traceId: z.string(),
      state: z.string(),
      trigger: z.string(),
      txHash: text,
      blockNumber: text,
      createdAt: z.string(),
      updatedAt: z.string(),
      items: z.array(z.looseObject({ paidAtomic: text })),
      transitions: z.array(
        z.looseObject({ at: z.string(), to: z.string(), reason: text, userOpHash: text, txHash: text }),
      ),
      sponsorships: z.array(
        z.looseObject({ userOpHash: z.string(), createdAt: z.string(), bookedAt: text, actualCostWei: text }),
      ),
    }),
  ),
})
