import { failureReasons, quarantineReasons, settlementStates } from '@protocolbanks/stream-db'
import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, anything, decimal, hex32, idSchema, moment, page, pageSchema, text, whole } from '../parts.ts'

type Routes = Parameters<typeof describe>[0]

const state = z.enum(settlementStates)
const trigger = z.enum(['threshold', 'age', 'expiry', 'request', 'withdrawal'])
const facts = {
  id: idSchema('stl'),
  grantId: hex32,
  account: address,
  state,
  trigger,
  userOpHash: hex32.nullable(),
  txHash: hex32.nullable(),
  blockNumber: whole.nullable(),
  createdAt: moment,
  updatedAt: moment,
}
const settlementFields = {
  ...facts,
  attempts: z.int(),
  waits: z.int(),
  nextAttemptAt: moment.nullable(),
  failureReason: z.enum(failureReasons).nullable(),
  errorCode: text.nullable(),
  errorMessage: text.nullable(),
  gasUsed: whole.nullable(),
  gasCostWei: whole.nullable(),
  writtenOffAt: moment.nullable(),
}
const settlement = z.strictObject(settlementFields).meta({ id: 'Settlement' })
const transition = z
  .strictObject({
    at: moment,
    from: state.nullable(),
    to: state,
    reason: z.enum(failureReasons).nullable(),
    errorCode: text.nullable(),
    worker: text.nullable(),
    attempt: z.int(),
    userOpHash: hex32.nullable(),
    txHash: hex32.nullable(),
  })
  .meta({ id: 'SettlementTransition' })
const inFull = z
  .strictObject({
    ...settlementFields,
    items: z.array(
      z.strictObject({
        payee: address,
        merchantId: idSchema('mer').nullable(),
        amount: decimal,
        amountAtomic: whole,
        cumulativeAmountAtomic: whole,
        paid: decimal.nullable(),
        paidAtomic: whole.nullable(),
        skippedReason: text.nullable(),
      }),
    ),
    transitions: z.array(transition),
  })
  .meta({ id: 'SettlementInFull' })

type Schemas = { request: z.ZodType; list: z.ZodObject; retry: z.ZodType; writeOff: z.ZodType }

export function describeSettlements(routes: Routes, of: Schemas): void {
  describe(routes, {
    'POST /': {
      id: 'requestSettlement',
      summary: 'Asks for a settlement of a grant. The settlement worker makes it.',
      body: of.request,
      answers: { 202: z.strictObject({ id: idSchema('srq'), grantId: hex32, state: z.literal('requested') }) },
      errors: ['grant.unknown', 'settlement.nothing_due'],
    },
    'GET /': {
      id: 'listSettlements',
      summary: 'Settlements, newest first.',
      query: of.list,
      answers: { 200: page('settlements', settlement) },
    },
    'GET /:id': {
      id: 'getSettlement',
      summary: 'One settlement with its claims and every state it was in.',
      answers: { 200: inFull },
      errors: ['settlement.unknown'],
    },
    'POST /:id/retry': {
      id: 'retrySettlement',
      summary: 'Tries a dead settlement again.',
      body: of.retry,
      answers: { 200: inFull },
      errors: ['settlement.unknown', 'settlement.not_dead'],
      isForOperator: true,
    },
    'POST /:id/write-off': {
      id: 'writeOffSettlement',
      summary: 'Gives up what a dead settlement would have paid.',
      body: of.writeOff,
      answers: { 200: inFull },
      errors: ['settlement.unknown', 'settlement.not_dead'],
      isForOperator: true,
    },
  })
}

const reconciliationFields = {
  id: idSchema('rec'),
  state: z.enum(['requested', 'running', 'done', 'failed']),
  trigger: z.enum(['schedule', 'request']),
  grantId: hex32.nullable(),
  actor: text,
  blockNumber: whole.nullable(),
  totals: z
    .strictObject({
      channels: z.int(),
      allowedAtomic: whole,
      chargedAtomic: whole,
      settledAtomic: whole,
      owedAtomic: whole,
      writtenOffAtomic: whole,
      payments: z.int(),
    })
    .nullable(),
  differences: z.int().nullable(),
  errorCode: text.nullable(),
  errorMessage: text.nullable(),
  createdAt: moment,
  finishedAt: moment.nullable(),
}
const reconciliation = z.strictObject(reconciliationFields).meta({ id: 'Reconciliation' })
const difference = z.strictObject({
  kind: text,
  grantId: hex32,
  payee: address,
  detail: text,
  expectedAtomic: whole,
  actualAtomic: whole,
})

export function describeReconciliations(routes: Routes, of: { request: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'requestReconciliation',
      summary: 'Asks for a comparison of the books with the chain.',
      body: of.request,
      answers: { 202: reconciliation },
      errors: ['grant.unknown'],
      isForOperator: true,
    },
    'GET /': {
      id: 'listReconciliations',
      summary: 'Reconciliations, newest first.',
      query: pageSchema,
      answers: { 200: page('reconciliations', reconciliation) },
      isForOperator: true,
    },
    'GET /:id': {
      id: 'getReconciliation',
      summary: 'One reconciliation with what it found, 1,000 differences at most.',
      answers: { 200: z.strictObject({ ...reconciliationFields, found: z.array(difference) }) },
      errors: ['reconciliation.unknown'],
      isForOperator: true,
    },
  })
}

const auditEntry = z
  .strictObject({
    id: idSchema('aud'),
    actor: text,
    action: text,
    outcome: z.enum(['done', 'refused']),
    subject: text,
    note: text.nullable(),
    errorCode: text.nullable(),
    before: anything.nullable(),
    after: anything.nullable(),
    requestId: text.nullable(),
    createdAt: moment,
  })
  .meta({ id: 'AuditEntry' })

export function describeAudit(routes: Routes, of: { list: z.ZodObject }): void {
  describe(routes, {
    'GET /': {
      id: 'listAuditEntries',
      summary: 'Who changed what, and what was refused; newest first.',
      query: of.list,
      answers: { 200: page('entries', auditEntry) },
      isForOperator: true,
    },
  })
}

const trace = z
  .strictObject({
    id: text,
    charges: z.array(
      z.strictObject({
        eventId: text,
        requestId: text,
        traceId: text.nullable(),
        occurredAt: moment,
        journalledAt: moment,
        grantId: hex32,
        account: address,
        payee: address,
        merchantId: idSchema('mer').nullable(),
        serviceId: idSchema('svc').nullable(),
        amount: decimal,
        amountAtomic: whole,
        settlementIds: z.array(idSchema('stl')),
      }),
    ),
    settlements: z.array(
      z.strictObject({
        ...facts,
        traceId: text,
        earlierUserOpHashes: z.array(hex32),
        items: z.array(
          z.strictObject({
            payee: address,
            merchantId: idSchema('mer').nullable(),
            amountAtomic: whole,
            paidAtomic: whole.nullable(),
            skippedReason: text.nullable(),
          }),
        ),
        transitions: z.array(transition),
        sponsorships: z.array(
          z.strictObject({
            userOpHash: hex32,
            state: text,
            createdAt: moment,
            bookedAt: moment.nullable(),
            actualCostWei: whole.nullable(),
          }),
        ),
        transactions: z.array(
          z.strictObject({
            id: idSchema('stx'),
            state: text,
            hashes: z.array(hex32),
            sentAt: moment.nullable(),
            txHash: hex32.nullable(),
          }),
        ),
      }),
    ),
  })
  .meta({ id: 'Trace' })

export function describeTraces(routes: Routes): void {
  describe(routes, {
    'GET /:id': {
      id: 'getTrace',
      summary: 'From a request to the transaction that paid for it, by whatever is known of it.',
      answers: { 200: trace },
      errors: ['trace.unknown'],
      isForOperator: true,
    },
  })
}

export function describeUsage(routes: Routes, of: { refusals: z.ZodType }): void {
  describe(routes, {
    'POST /refusals': {
      id: 'refuseGrants',
      summary: 'Refuses grants from the answer on, while their stop is recorded.',
      body: of.refusals,
      answers: { 204: 'none' },
      errors: ['meter.unavailable'],
      isForOperator: true,
    },
    'GET /feed': {
      id: 'watchUsage',
      summary: 'Every charge of the deployment as it is made, a line of JSON each, until the reader leaves.',
      answers: { 200: 'application/x-ndjson' },
      isForOperator: true,
    },
  })
}

const quarantined = z
  .strictObject({
    id: idSchema('uqr'),
    eventId: text,
    reason: z.enum(quarantineReasons),
    detail: text,
    event: z.unknown(),
    createdAt: moment,
  })
  .meta({ id: 'QuarantinedUsage' })

export function describeUsageQuarantine(routes: Routes, of: { list: z.ZodObject }): void {
  describe(routes, {
    'GET /': {
      id: 'listQuarantinedUsage',
      summary: 'Usage events that the journal did not take, newest first.',
      query: of.list,
      answers: { 200: page('events', quarantined) },
      isForOperator: true,
    },
  })
}

const chain = z
  .looseObject({
    chainId: z.int(),
    module: address,
    reserve: address,
    settler: address,
    token: address,
    entryPoint: address,
    block: whole.nullable(),
    checkedAt: moment.nullable(),
  })
  .meta({ id: 'Chain' })

export function describeChain(routes: Routes): void {
  describe(routes, {
    'GET /chain': {
      id: 'getChain',
      summary: 'The chain, its contracts, and up to which block it is mirrored.',
      answers: { 200: chain },
    },
  })
}
