import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, anything, decimal, hex32, idSchema, moment, page, pageSchema, text, whole } from '../parts.ts'

type Routes = Parameters<typeof describe>[0]

const severity = z.enum(['info', 'warning', 'critical'])
const action = z.enum(['alert', 'block', 'freeze', 'revoke'])
const incidentFields = {
  id: idSchema('inc'),
  grantId: hex32,
  account: address,
  rule: text,
  ruleVersion: z.int(),
  action,
  severity,
  state: z.enum(['open', 'acknowledged', 'closed']),
  ruleId: idSchema('rul').nullable(),
  payee: address.nullable(),
  requestId: text.nullable(),
  chargedAt: moment.nullable(),
  inputs: anything.nullable(),
  explanation: text,
  findings: z.int().nullable(),
  openedAt: moment,
  lastFoundAt: moment,
  acknowledgedAt: moment.nullable(),
  closedAt: moment.nullable(),
  acknowledgedBy: text.nullable(),
}
const incident = z.strictObject(incidentFields).meta({ id: 'Incident' })
const incidentInFull = z
  .strictObject({
    ...incidentFields,
    stop: z
      .strictObject({
        id: idSchema('stp'),
        kind: text,
        refusedAt: moment.nullable(),
        chainState: text,
        txHash: hex32.nullable(),
        blockNumber: whole.nullable(),
        errorCode: text.nullable(),
      })
      .nullable(),
    events: z.array(
      z.strictObject({
        at: moment,
        kind: text,
        explanation: text,
        rule: text.nullable(),
        ruleVersion: z.unknown(),
        inputs: z.unknown(),
      }),
    ),
  })
  .meta({ id: 'IncidentInFull' })

export function describeIncidents(routes: Routes, of: { list: z.ZodObject; change: z.ZodType }): void {
  describe(routes, {
    'GET /': {
      id: 'listIncidents',
      summary: 'What the sentinel found, newest first.',
      query: of.list,
      answers: { 200: page('incidents', incident) },
    },
    'GET /:id': {
      id: 'getIncident',
      summary: 'One incident with what happened since.',
      answers: { 200: incidentInFull },
      errors: ['incident.unknown'],
    },
    'POST /:id/acknowledge': {
      id: 'acknowledgeIncident',
      summary: 'Says that it was seen. It lifts nothing.',
      body: of.change,
      answers: { 200: incidentInFull },
      errors: ['operator.required', 'incident.unknown', 'incident.over', 'owner.rate_limited'],
    },
    'POST /:id/close': {
      id: 'closeIncident',
      summary: 'Closes it. It lifts nothing.',
      body: of.change,
      answers: { 200: incidentInFull },
      errors: ['operator.required', 'incident.unknown', 'owner.rate_limited'],
    },
  })
}

const scope = z.strictObject({
  grantIds: z.array(hex32).optional(),
  payees: z.array(address).optional(),
  services: z.array(idSchema('svc')).optional(),
})
const terms = { name: text, expression: text, scope, action, severity, blockSeconds: z.int().nullable() }
const ruleFields = {
  id: idSchema('rul'),
  ...terms,
  state: z.enum(['draft', 'live', 'off', 'deleted']),
  version: z.int(),
  createdAt: moment,
  changedAt: moment,
  failed: z.boolean(),
}
const dryRunState = z.enum(['pending', 'done', 'failed'])
const rule = z.strictObject(ruleFields).meta({ id: 'Rule' })
const ruleWithDryRun = z
  .strictObject({
    ...ruleFields,
    dryRun: z.strictObject({ id: idSchema('dry'), state: dryRunState }).nullable(),
    warning: text.optional(),
  })
  .meta({ id: 'RuleWithDryRun' })
const version = z
  .strictObject({
    version: z.int(),
    ...terms,
    actor: text,
    createdAt: moment,
    dryRunId: idSchema('dry').nullable(),
  })
  .meta({ id: 'RuleVersion' })

export function describeRules(routes: Routes, of: { created: z.ZodType; changed: z.ZodType }): void {
  const answers = { 200: ruleWithDryRun }
  const errors = ['rule.unknown', 'owner.rate_limited'] as const
  const invalid = ['rule.invalid', 'rule.action_refused', 'owner.rate_limited'] as const
  describe(routes, {
    'POST /': {
      id: 'createRule',
      summary: 'Writes a rule about spending, as a draft.',
      body: of.created,
      answers: { 201: ruleWithDryRun },
      errors: [...invalid, 'rule.too_many'],
    },
    'GET /': {
      id: 'listRules',
      summary: 'Rules, newest first.',
      query: pageSchema,
      answers: { 200: page('rules', rule) },
    },
    'GET /:id': { id: 'getRule', summary: 'One rule.', answers, errors: ['rule.unknown'] },
    'GET /:id/versions': {
      id: 'listRuleVersions',
      summary: 'What a rule said, newest first.',
      query: pageSchema,
      answers: { 200: page('versions', version) },
      errors: ['rule.unknown'],
    },
    'PATCH /:id': {
      id: 'changeRule',
      summary: 'Changes what a rule says: a new version.',
      body: of.changed,
      answers,
      errors: [...invalid, 'rule.unknown'],
    },
    'POST /:id/live': { id: 'startRule', summary: 'Puts a rule in force.', answers, errors },
    'POST /:id/off': { id: 'stopRule', summary: 'Takes a rule out of force.', answers, errors },
    'DELETE /:id': { id: 'deleteRule', summary: 'Deletes a rule.', answers: { 204: 'none' }, errors },
  })
}

const result = z.strictObject({
  charges: z.int(),
  matched: z.int(),
  unknown: z.int(),
  failed: z.int(),
  firstFailure: text.nullable(),
  spared: z.int(),
  grants: z.int(),
  stoppedGrants: z.int(),
  stoppedCalls: z.int(),
  stoppedAtomic: whole,
  stoppedAmount: decimal,
  stops: z.array(
    z.strictObject({
      grantId: hex32,
      payee: address.nullable(),
      at: moment,
      requestId: text,
      until: moment.nullable(),
      callsAfter: z.int(),
      atomicAfter: whole,
      amountAfter: decimal,
    }),
  ),
  examples: z.array(
    z.strictObject({
      grantId: hex32,
      payee: address,
      service: text,
      requestId: text,
      at: moment,
      amountAtomic: whole,
      amount: decimal,
      values: anything,
    }),
  ),
  cutShort: z.strictObject({ at: moment, reason: z.enum(['charges', 'time', 'grants']) }).nullable(),
  learnedFrom: moment,
})
const dryRun = z
  .strictObject({
    id: idSchema('dry'),
    ruleId: idSchema('rul').nullable(),
    ruleVersion: z.int().nullable(),
    expression: text,
    scope,
    action,
    blockSeconds: z.int().nullable(),
    from: moment,
    until: moment,
    state: dryRunState,
    result: result.nullable(),
    error: text.nullable(),
    actor: text,
    createdAt: moment,
    finishedAt: moment.nullable(),
  })
  .meta({ id: 'DryRun' })

export function describeDryRuns(routes: Routes, of: { created: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'createDryRun',
      summary: 'Asks what a rule would have done in a time that is past.',
      body: of.created,
      answers: { 202: dryRun },
      errors: ['rule.unknown', 'rule.invalid', 'rule.action_refused', 'dry_run.too_many', 'owner.rate_limited'],
    },
    'GET /': {
      id: 'listDryRuns',
      summary: 'Dry runs, newest first; the newest 50 are kept.',
      query: pageSchema,
      answers: { 200: page('dryRuns', dryRun) },
    },
    'GET /:id': {
      id: 'getDryRun',
      summary: 'One dry run with what it found.',
      answers: { 200: dryRun },
      errors: ['dry_run.unknown'],
    },
  })
}

const allowance = z
  .strictObject({
    id: idSchema('alw'),
    kind: z.enum(['grant', 'payee', 'service']),
    value: text,
    actor: text,
    createdAt: moment,
  })
  .meta({ id: 'Allowance' })

export function describeAllowances(routes: Routes, of: { created: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'addAllowance',
      summary: 'Adds to what rules never stop.',
      body: of.created,
      answers: { 201: allowance },
      errors: ['allowance.too_many', 'owner.rate_limited'],
    },
    'GET /': {
      id: 'listAllowances',
      summary: 'What rules never stop, newest first.',
      query: pageSchema,
      answers: { 200: page('allowances', allowance) },
    },
    'DELETE /:id': {
      id: 'removeAllowance',
      summary: 'Takes an entry off the list.',
      answers: { 204: 'none' },
      errors: ['allowance.unknown', 'owner.rate_limited'],
    },
  })
}

export function describeRuleHolds(routes: Routes): void {
  describe(routes, {
    'POST /:id/apply': {
      id: 'applyRuleHold',
      summary: 'Does what is due for a hold of a rule, so that every gateway has it with the answer.',
      answers: { 200: z.strictObject({ id: idSchema('rhd'), is: text }) },
      errors: ['rule.hold_unknown', 'meter.unavailable'],
      isForOperator: true,
    },
  })
}
