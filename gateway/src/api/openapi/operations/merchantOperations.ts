import { z } from 'zod'
import { describe } from '../operation.ts'
import {
  address,
  decimal,
  hex32,
  idSchema,
  moment,
  money,
  moneyOrNull,
  page,
  pageSchema,
  text,
  whole,
} from '../parts.ts'

type Routes = Parameters<typeof describe>[0]

const merchant = z
  .strictObject({ id: idSchema('mer'), name: text, payee: address, gasBudgetWeiPerDay: whole, createdAt: moment })
  .meta({ id: 'Merchant' })

export function describeMerchants(routes: Routes, of: { created: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'createMerchant',
      summary: 'Registers a merchant, paid at one address for good.',
      body: of.created,
      answers: { 201: merchant },
      errors: ['merchant.payee_taken'],
      isForOperator: true,
    },
    'GET /': {
      id: 'listMerchants',
      summary: 'Merchants, newest first.',
      query: pageSchema,
      answers: { 200: page('merchants', merchant) },
      isForOperator: true,
    },
    'GET /:id': {
      id: 'getMerchant',
      summary: 'One merchant. A merchant sees itself.',
      answers: { 200: merchant },
      errors: ['merchant.unknown'],
    },
  })
}

const credit = z
  .strictObject({
    merchantId: idSchema('mer'),
    mode: z.enum(['credit', 'reserve_only']),
    version: z.int().min(0),
    ...moneyOrNull('maxTotal', 'maxPerAccount', 'maxPerGrant', 'owed'),
  })
  .meta({ id: 'Credit' })

export function describeCredit(routes: Routes, of: { policy: z.ZodType }): void {
  describe(routes, {
    'GET /:id/credit': {
      id: 'getCredit',
      summary:
        'What a merchant serves on credit, and what is owed now; `owed` is null while the meter does not answer.',
      answers: { 200: credit },
      errors: ['merchant.unknown'],
    },
    'PUT /:id/credit': {
      id: 'setCredit',
      summary: 'Chooses what a merchant serves on credit.',
      body: of.policy,
      answers: { 200: credit },
      errors: ['merchant.unknown'],
    },
  })
}

const limits = {
  maxCallsPerMinute: z.int().nullable(),
  maxCallsPerHour: z.int().nullable(),
  maxCallsPerDay: z.int().nullable(),
  ...moneyOrNull('maxAmountPerCall', 'maxAmountPerMinute', 'maxAmountPerHour', 'maxAmountPerDay'),
}
const spendingLimits = z.strictObject(limits).meta({ id: 'SpendingLimits' })
const setLimits = z.strictObject({
  all: spendingLimits.nullable(),
  payees: z.array(z.strictObject({ payee: address, limits: spendingLimits })),
})
/** What owner and operator have set for a grant, and what holds. */
export const grantLimits = z
  .strictObject({ grantId: hex32, owner: setLimits, operator: setLimits, effective: setLimits })
  .meta({ id: 'GrantLimits' })

const service = z
  .looseObject({
    id: idSchema('svc'),
    merchantId: idSchema('mer'),
    name: text,
    pathPrefix: text,
    upstream: text.nullable(),
    token: address,
    ...money('price', 'threshold'),
    exactPrice: decimal.nullable(),
    /** See docs/merchants.md. */
    pricing: z.looseObject({ kind: z.enum(['call', 'unit', 'token', 'byte', 'second']) }),
    routes: z.array(z.looseObject({ path: text, price: decimal })),
    voucherGraceMs: z.int(),
    maxAgeSeconds: z.int(),
    upstreamTimeoutMs: z.int(),
    enabled: z.boolean(),
    ...limits,
    createdAt: moment,
    updatedAt: moment,
  })
  .meta({ id: 'Service' })

export function describeServices(routes: Routes, of: { created: z.ZodType; changed: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'createService',
      summary: 'Puts a priced API behind the gateway, or one that its own process serves.',
      body: of.created,
      answers: { 201: service },
      errors: ['merchant.unknown', 'service.taken', 'service.upstream_refused'],
    },
    'GET /': {
      id: 'listServices',
      summary: 'Services, newest first.',
      query: pageSchema,
      answers: { 200: page('services', service) },
    },
    'GET /:id': {
      id: 'getService',
      summary: 'One service.',
      answers: { 200: service },
      errors: ['service.unknown'],
    },
    'PATCH /:id': {
      id: 'changeService',
      summary: 'Changes what is named; null takes away what is optional.',
      body: of.changed,
      answers: { 200: service },
      errors: ['service.unknown', 'service.taken', 'service.managed', 'service.upstream_refused'],
    },
    'DELETE /:id': {
      id: 'disableService',
      summary: 'Stops serving it. The journal keeps naming it; `enabled: true` brings it back.',
      answers: { 204: 'none' },
      errors: ['service.unknown', 'service.managed'],
    },
  })
}

const keyFacts = {
  id: idSchema('key'),
  merchantId: idSchema('mer').nullable(),
  name: text,
  scopes: z.array(text),
  expiresAt: moment.nullable(),
}
const apiKey = z
  .looseObject({
    ...keyFacts,
    prefix: text,
    createdAt: moment,
    revokedAt: moment.nullable(),
    lastUsedAt: moment.nullable(),
  })
  .meta({ id: 'ApiKey' })
const issuedKey = z.strictObject({ ...keyFacts, key: text }).meta({ id: 'IssuedApiKey' })

export function describeApiKeys(routes: Routes, of: { created: z.ZodType; rotated: z.ZodType }): void {
  describe(routes, {
    'POST /': {
      id: 'issueApiKey',
      summary: 'Issues an API key. The key is in this answer, and nowhere else.',
      body: of.created,
      answers: { 201: issuedKey },
      errors: ['merchant.unknown', 'api_key.beyond_own'],
    },
    'GET /': {
      id: 'listApiKeys',
      summary: 'API keys without the keys themselves, newest first.',
      query: pageSchema,
      answers: { 200: page('apiKeys', apiKey) },
    },
    'POST /:id/rotate': {
      id: 'rotateApiKey',
      summary: 'Gives a key another secret; the one of before goes on for a while.',
      body: of.rotated,
      answers: { 200: z.looseObject({ id: idSchema('key'), key: text }) },
      errors: ['api_key.unknown', 'api_key.beyond_own'],
    },
    'DELETE /:id': {
      id: 'revokeApiKey',
      summary: 'Revokes a key, for good.',
      answers: { 204: 'none' },
      errors: ['api_key.unknown', 'api_key.beyond_own'],
    },
  })
}
