import { z } from 'zod'
import { describe } from '../operation.ts'
import { address, decimal, hex, hex32, idSchema, moment, money, moneyOrNull, page, text, whole } from '../parts.ts'
import { grantLimits } from './merchantOperations.ts'

type Routes = Parameters<typeof describe>[0]

const status = z.enum(['pending', 'none', 'active', 'frozen', 'revoked'])
const holder = z.enum(['merchant', 'operator', 'sentinel', 'rule'])
const control = {
  by: text,
  holder,
  state: z.enum(['frozen', 'removed']),
  reason: text,
  createdAt: moment,
}

const funds = z
  .union([
    z.strictObject({
      ...money('available', 'reserve', 'withdrawing'),
      withdrawableAt: moment.nullable(),
      blockNumber: whole,
    }),
    z.strictObject({ ...money('available', 'balance', 'allowance'), blockNumber: whole }),
  ])
  .meta({ id: 'Funds', description: 'What the chain would pay; of the source that the grant has.' })

const grantFacts = {
  grantId: hex32,
  sessionKey: address,
  account: address,
  status,
  onChainStatus: status,
  blockedPayees: z.array(z.strictObject({ payee: address, since: moment })),
  note: text.nullable(),
  token: address,
  settler: address,
  ...money('totalLimit', 'settled'),
  ...moneyOrNull('periodLimit'),
  period: z.int(),
  validAfter: z.int(),
  validUntil: z.int(),
  payeeRoot: hex32,
  source: z.enum(['allowance', 'reserve']),
  backing: z.enum(['guaranteed', 'credit']),
  funds: funds.nullable(),
  salt: hex,
  packedTerms: hex,
  epoch: whole,
  blockNumber: whole,
  createdAt: moment,
}
const grantFields = { ...grantFacts, controls: z.array(z.strictObject({ ...control, actor: text.nullable() })) }
const grant = z.strictObject(grantFields).meta({ id: 'Grant' })
const call = z.strictObject({ to: address, data: hex })
const registered = z
  .strictObject({
    ...grantFields,
    calls: z.strictObject({ installModule: call, approve: call, deposit: call.optional(), grant: call }),
  })
  .meta({ id: 'RegisteredGrant', description: 'The grant, and the calls that the owner’s account makes for it.' })
const ofKey = z.strictObject({ sessionKey: address, grants: z.array(grant) })
const figures = money('authorized', 'charged', 'settled', 'outstanding')
const usage = z
  .strictObject({
    grantId: hex32,
    account: address,
    status,
    channels: z.array(
      z.strictObject({
        payee: address,
        merchantId: idSchema('mer').nullable(),
        ...figures,
        live: z.strictObject(figures).nullable(),
        lastChargeAt: moment.nullable(),
        calls: z.int(),
      }),
    ),
  })
  .meta({ id: 'GrantUsage' })

type Schemas = {
  registration: z.ZodType
  list: z.ZodObject
  selection: z.ZodObject
  grantQuery: z.ZodObject
  hold: z.ZodType
}

export function describeSessionKeys(routes: Routes, of: Schemas): void {
  const change = { query: of.grantQuery, body: of.hold, answers: { 200: ofKey } } as const
  const errors = [
    'session_key.unknown',
    'session_key.too_many_grants',
    'meter.unavailable',
    'operator.required',
  ] as const
  describe(routes, {
    'POST /': {
      id: 'registerGrant',
      summary: 'Remembers a grant before the chain shows it, and says what its owner signs. 200: it was known.',
      body: of.registration,
      answers: { 200: registered, 201: registered },
      errors: ['terms.unsupported', 'terms.invalid', 'payees.invalid', 'payee.not_granted', 'merchant.unknown'],
    },
    'GET /': {
      id: 'listGrants',
      summary: 'Grants, newest first.',
      query: of.list,
      answers: { 200: page('grants', grant) },
    },
    'GET /:sessionKey': {
      id: 'getSessionKey',
      summary: 'The grants of a session key.',
      query: of.selection,
      answers: { 200: page('grants', grant, { sessionKey: address }) },
      errors: ['session_key.unknown'],
    },
    'POST /:sessionKey/freeze': {
      id: 'freezeSessionKey',
      summary: 'Freezes the grants of a session key, or one of them, off-chain and at once.',
      ...change,
      errors: [...errors, 'grant.removed'],
    },
    'POST /:sessionKey/unfreeze': {
      id: 'unfreezeSessionKey',
      summary: 'Lifts off-chain freezes of the caller.',
      ...change,
      errors: [...errors, 'grant.removed'],
    },
    'DELETE /:sessionKey': {
      id: 'removeSessionKey',
      summary: 'Removes the grants of a session key at this gateway, for good.',
      ...change,
      errors,
    },
    'GET /:sessionKey/usage': {
      id: 'getUsage',
      summary: 'What was authorized, charged and settled, in the journal and live.',
      query: of.selection,
      answers: { 200: page('grants', usage, { sessionKey: address }) },
      errors: ['session_key.unknown'],
    },
  })
}

export function describeGrantLimits(routes: Routes, of: { limits: z.ZodType; query: z.ZodObject }): void {
  const answers = { 200: z.strictObject({ grants: z.array(grantLimits) }) }
  const errors = ['session_key.unknown', 'session_key.too_many_grants'] as const
  describe(routes, {
    'GET /:sessionKey/limits': {
      id: 'getLimits',
      summary: 'What the grants of a session key may spend, by owner and operator; at most 100 of them.',
      query: of.query,
      answers,
      errors,
      isForOperator: true,
    },
    'PUT /:sessionKey/limits': {
      id: 'setLimits',
      summary: 'Sets what the grants of a session key may spend. It only ever tightens.',
      query: of.query,
      body: of.limits,
      answers,
      errors: [...errors, 'meter.unavailable'],
      isForOperator: true,
    },
  })
}

export function describeOwnerLimits(routes: Routes, of: { limits: z.ZodType }): void {
  describe(routes, {
    'GET /grants/:id/limits': {
      id: 'getGrantLimits',
      summary: 'What a grant of the account may spend.',
      answers: { 200: grantLimits },
      errors: ['grant.unknown'],
    },
    'PUT /grants/:id/limits': {
      id: 'setGrantLimits',
      summary: 'Sets what a grant of the account may spend. It only ever tightens.',
      body: of.limits,
      answers: { 200: grantLimits },
      errors: ['grant.unknown', 'meter.unavailable', 'owner.rate_limited'],
    },
  })
}

const ownerFacts = {
  ...grantFacts,
  controls: z.array(z.strictObject(control)),
  ownerFreeze: z.strictObject({ reason: text, createdAt: moment }).nullable(),
}
const ownerGrant = z.strictObject(ownerFacts).meta({ id: 'OwnerGrant' })
const ownerGrantFields = {
  ...ownerFacts,
  heldBy: z.array(
    z.strictObject({
      by: text,
      merchantId: idSchema('mer').nullable(),
      state: z.enum(['frozen', 'removed', 'revoked']),
      reason: text.nullable(),
      since: moment.nullable(),
    }),
  ),
  toSign: z.array(z.strictObject({ to: address, value: z.literal('0'), data: hex })),
  channels: z.array(
    z.strictObject({
      payee: address,
      merchantId: idSchema('mer').nullable(),
      ...figures,
      lastChargeAt: moment.nullable(),
    }),
  ),
}
const shownGrant = z.strictObject(ownerGrantFields).meta({ id: 'OwnerGrantInFull' })
const frozenGrant = z.strictObject({ ...ownerGrantFields, incidentId: idSchema('inc').optional() })
const ownerCharge = z
  .strictObject({
    eventId: text,
    occurredAt: moment,
    grantId: hex32,
    payee: address,
    merchantId: idSchema('mer').nullable(),
    serviceId: idSchema('svc').nullable(),
    requestId: text,
    amount: decimal,
    amountAtomic: whole,
    cumulativeAmountAtomic: whole,
  })
  .meta({ id: 'OwnerCharge' })

type OwnerSchemas = { page: z.ZodObject; charges: z.ZodObject; freeze: z.ZodType; unfreeze: z.ZodType }

export function describeOwner(routes: Routes, of: OwnerSchemas): void {
  const errors = ['grant.unknown', 'meter.unavailable', 'owner.rate_limited'] as const
  describe(routes, {
    'GET /session': {
      id: 'getSession',
      summary: 'The session that this token opens.',
      answers: { 200: z.strictObject({ id: idSchema('ows'), account: address, expiresAt: moment }) },
    },
    'GET /grants': {
      id: 'listGrants',
      summary: 'Grants of the account, newest first.',
      query: of.page,
      answers: { 200: page('grants', ownerGrant) },
    },
    'GET /grants/:id': {
      id: 'getGrant',
      summary: 'One grant with its channels, what holds it, and what has to be signed to lift that.',
      answers: { 200: shownGrant },
      errors: ['grant.unknown'],
    },
    'POST /grants/:id/freeze': {
      id: 'freezeGrant',
      summary: 'Freezes a grant at the gateway and, where asked, on the chain by the guardian.',
      body: of.freeze,
      answers: { 200: frozenGrant },
      errors,
    },
    'POST /grants/:id/unfreeze': {
      id: 'unfreezeGrant',
      summary: 'Lifts the owner’s own freeze at the gateway.',
      body: of.unfreeze,
      answers: { 200: frozenGrant },
      errors,
    },
    'GET /charges': {
      id: 'listCharges',
      summary: 'What was charged, newest first.',
      query: of.charges,
      answers: { 200: page('charges', ownerCharge) },
    },
  })
}

const policy = z.enum(['hold', 'settle'])
const policies = z
  .strictObject({
    account: policy.nullable(),
    grants: z.array(z.strictObject({ grantId: hex32, policy: policy.nullable() })),
  })
  .meta({ id: 'VoucherPolicies' })

export function describeVoucherPolicies(routes: Routes, of: { policy: z.ZodType }): void {
  const errors = ['grant.unknown', 'owner.rate_limited'] as const
  describe(routes, {
    'GET /voucher-policy': {
      id: 'getVoucherPolicy',
      summary: 'What is done with vouchers that were accepted before a grant is stopped.',
      answers: { 200: policies },
    },
    'PUT /voucher-policy': {
      id: 'setVoucherPolicy',
      summary: 'Sets it for the account.',
      body: of.policy,
      answers: { 200: policies },
      errors,
    },
    'PUT /grants/:id/voucher-policy': {
      id: 'setGrantVoucherPolicy',
      summary: 'Sets it for one grant.',
      body: of.policy,
      answers: { 200: policies },
      errors,
    },
  })
}

export function describeOwnerSessions(routes: Routes, of: { session: z.ZodType }): void {
  describe(routes, {
    'POST /nonce': {
      id: 'createNonce',
      summary: 'A nonce for a message of Sign-In with Ethereum (EIP-4361), and what the message has to say.',
      answers: {
        201: z.strictObject({
          nonce: text,
          expiresAt: moment,
          statement: text,
          version: z.literal('1'),
          chainId: z.int(),
          origins: z.array(text),
        }),
      },
      errors: ['owner.rate_limited'],
    },
    'POST /session': {
      id: 'openSession',
      summary: 'Opens a session for the account that signed the message. Its token is in this answer alone.',
      body: of.session,
      answers: { 201: z.strictObject({ id: idSchema('ows'), account: address, token: text, expiresAt: moment }) },
      errors: [
        'owner.message_invalid',
        'owner.nonce_invalid',
        'owner.signature_invalid',
        'owner.rate_limited',
        'owner.chain_unreachable',
      ],
    },
    'DELETE /session': {
      id: 'endSession',
      summary: 'Ends the session of this token.',
      answers: { 204: 'none' },
      errors: ['owner.session_invalid'],
    },
  })
}
