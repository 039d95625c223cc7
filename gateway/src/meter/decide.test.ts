import { expect, test } from 'vitest'
import { type ChargeState, decideCharge, type PricedUse } from './decide.ts'
import { nowMs, nowSeconds } from './testing/builders.ts'

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
  account: { funds: 0n, outstanding: 0n },
  calls: { minute: nowMs / 60_000, count: 5 },
  request: { instance: 'gateway-1', fingerprint: 'other', amount: 1n, eventId: 'p0-1-1' },
}
const use: PricedUse = {
  amount: 10n,
  cumulativeAmount: 0n,
  fingerprint: 'fingerprint',
  nowMs,
  maxAmountPerCall: 5n,
  maxCallsPerMinute: 5,
  settlementMarginSeconds: 10,
}

test('the first rule that fails is the answer: known, status, validity, request, service, voucher, limits, funds', () => {
  let current = { ...state }
  let charge = { ...use }
  const answers: string[] = []
  const decide = () => {
    const verdict = decideCharge(current, charge)
    answers.push(verdict.ok ? 'ok' : verdict.code)
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
  charge = { ...charge, maxAmountPerCall: 10n }
  decide()
  charge = { ...charge, maxCallsPerMinute: 6 }
  decide()
  charge = { ...charge, cumulativeAmount: 10n }
  decide()
  grant({ totalLimit: 10n })
  decide()
  grant({ periodLimit: 11n })
  decide()
  current = { ...current, account: { funds: 10n, outstanding: 0n } }
  decide()

  expect(answers).toEqual([
    'grant.unknown',
    'grant.revoked',
    'grant.frozen',
    'grant.not_yet_valid',
    'grant.expired',
    'request.conflict',
    'request.duplicate',
    'limit.per_call',
    'limit.rate',
    'voucher.exhausted',
    'limit.total',
    'limit.period',
    'funds.insufficient',
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
    },
    { ...use, maxAmountPerCall: undefined, maxCallsPerMinute: undefined },
  )
  expect(verdict).toEqual({ ok: true, more: 4n })
})
