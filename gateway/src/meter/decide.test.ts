import { expect, test } from 'vitest'
import { type ChargeState, decideCharge, type PricedUse } from './decide.ts'
import type { CreditLimits, SpendingLimits } from './meter.ts'
import type { Spent } from './spending.ts'
import { nowMs, nowSeconds } from './testing/builders.ts'

const window = { calls: 5, amount: 50n }
const fiveCalls: Spent = {
  minute: { index: nowMs / 60_000, ...window },
  hour: { index: Math.floor(nowMs / 3_600_000), ...window },
  day: { index: Math.floor(nowMs / 86_400_000), ...window },
}

/** Everything is wrong with this charge. */
const state: ChargeState = {
  grant: {
    status: 'revoked',
    validAfter: nowSeconds + 1,
    validUntil: nowSeconds,
    totalLimit: 0n,
    periodLimit: 1n,
    period: 100,
    settled: 0n,
    periodIndex: 0,
    periodSettled: 1n,
    owed: 0n,
  },
  channel: { status: 'active', authorized: 0n, charged: 0n, settled: 0n },
  source: 'allowance',
  account: { funds: 0n, outstanding: 0n },
  exposure: { account: 5n, total: 50n },
  spending: [{ scope: 'service', limits: { maxAmountPerCall: 5n, maxCallsPerMinute: 5 }, spent: fiveCalls }],
  request: { instance: 'gateway-1', fingerprint: 'other', amount: 1n, eventId: 'p0-1-1' },
}
const use: PricedUse = {
  amount: 10n,
  cumulativeAmount: 0n,
  fingerprint: 'fingerprint',
  nowMs,
  credit: { mode: 'reserve_only', version: 1 },
  settlementMarginSeconds: 10,
}

test('the first rule that fails is the answer: known, status, validity, request, credit, service, voucher, limits, funds, exposure', () => {
  let current = { ...state }
  let charge = { ...use }
  const answers: string[] = []
  const decide = () => {
    const verdict = decideCharge(current, charge)
    answers.push(verdict.ok ? 'ok' : [verdict.code, verdict.limit].filter(Boolean).join(' '))
  }
  const grant = (changes: Partial<NonNullable<ChargeState['grant']>>) => {
    current = { ...current, grant: current.grant && { ...current.grant, ...changes } }
  }

  current = { ...current, grant: undefined }
  decide()
  current = { ...current, grant: state.grant }
  decide()
  grant({ status: 'frozen' })
  decide()
  grant({ status: 'active' })
  decide()
  grant({ validAfter: nowSeconds })
  decide()
  grant({ validUntil: nowSeconds + 10 })
  decide()
  charge = { ...charge, fingerprint: 'other' }
  decide()
  current = { ...current, request: undefined }
  decide()
  const trust = { maxPerGrant: 9n, maxPerAccount: 14n, maxPerGrantOverall: 9n, maxPerAccountOverall: 9n, maxTotal: 59n }
  let credit: CreditLimits = { ...trust, mode: 'credit', version: 1 }
  charge = { ...charge, credit }
  decide()
  let limits: SpendingLimits = { maxAmountPerCall: 10n, maxCallsPerMinute: 5, maxAmountPerDay: 59n }
  for (const raised of [{}, { maxAmountPerDay: 60n }, { maxCallsPerMinute: 6 }]) {
    limits = { ...limits, ...raised }
    current = { ...current, spending: [{ scope: 'service', limits, spent: fiveCalls }] }
    decide()
  }
  charge = { ...charge, cumulativeAmount: 10n }
  decide()
  grant({ totalLimit: 10n })
  decide()
  grant({ periodLimit: 11n })
  decide()
  current = { ...current, account: { funds: 10n, outstanding: 0n } }
  decide()
  for (const raised of [
    { maxPerGrant: 10n },
    { maxPerAccount: 15n },
    { maxPerGrantOverall: 10n },
    { maxPerAccountOverall: 10n },
    { maxTotal: 60n },
  ]) {
    credit = { ...credit, ...raised }
    charge = { ...charge, credit }
    decide()
  }

  expect(answers).toEqual([
    'grant.unknown',
    'grant.revoked',
    'grant.frozen',
    'grant.not_yet_valid',
    'grant.expired',
    'request.conflict',
    'request.duplicate',
    'credit.refused',
    'limit.per_call service_call',
    'limit.spend service_day',
    'limit.rate service_minute',
    'voucher.exhausted',
    'limit.total',
    'limit.period',
    'funds.insufficient',
    'limit.exposure grant',
    'limit.exposure account',
    'limit.exposure operator_grant',
    'limit.exposure operator_account',
    'limit.exposure merchant',
    'ok',
  ])
})

test('a charge adds to the debt only what the payee has not collected ahead', () => {
  const grant = {
    ...state.grant,
    status: 'active',
    validAfter: 0,
    validUntil: nowSeconds + 100,
    totalLimit: 100n,
  } as const
  const ahead = { status: 'active', authorized: 50n, charged: 20n, settled: 26n } as const
  const verdict = decideCharge(
    {
      ...state,
      grant: { ...grant, periodLimit: 0n, period: 0, periodIndex: 0, periodSettled: 0n, settled: 26n, owed: 0n },
      channel: ahead,
      account: { funds: 4n, outstanding: 0n },
      request: undefined,
      spending: [],
    },
    { ...use, credit: undefined },
  )
  expect(verdict).toEqual({ ok: true, more: 4n })
})

test('a grant that is paid from the reserve is no credit, nor is a charge that a payee has collected ahead', () => {
  const grant = {
    ...state.grant,
    status: 'active',
    validAfter: 0,
    validUntil: nowSeconds + 100,
    totalLimit: 100n,
  } as const
  const live = { ...grant, periodLimit: 0n, period: 0, periodIndex: 0, periodSettled: 0n, settled: 0n, owed: 0n }
  const channel = { status: 'active', authorized: 50n, charged: 0n, settled: 0n } as const
  const funded = {
    ...state,
    grant: live,
    channel,
    account: { funds: 90n, outstanding: 0n },
    request: undefined,
    spending: [],
  }
  const credit: CreditLimits = { mode: 'credit', version: 1, maxPerGrant: 0n, maxPerAccount: 0n, maxTotal: 0n }
  const charge = { ...use, credit }
  expect(decideCharge(funded, charge)).toMatchObject({ code: 'limit.exposure', limit: 'grant' })
  expect(decideCharge({ ...funded, channel: { ...channel, settled: 10n } }, charge)).toEqual({ ok: true, more: 0n })
  expect(decideCharge({ ...funded, source: 'reserve' }, charge)).toEqual({ ok: true, more: 10n })
  const closed = { ...charge, credit: { mode: 'reserve_only', version: 1 } as const }
  expect(decideCharge({ ...funded, channel: { ...channel, settled: 10n } }, closed)).toMatchObject({
    code: 'credit.refused',
  })
  expect(decideCharge({ ...funded, source: 'reserve' }, closed)).toEqual({ ok: true, more: 10n })
})
