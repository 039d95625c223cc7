import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MeterFullError, MeterUnavailableError, MeterUsageError } from '../errors.ts'
import {
  type CreditLimits,
  type Decision,
  type GrantState,
  type Meter,
  maxMeterAmount,
  type Ticket,
  type UsageEvent,
  type Use,
} from '../meter.ts'
import { partitionOf } from '../partitionOf.ts'
import {
  accountStateOf,
  channelStateOf,
  createPayer,
  fundsOf,
  grantStateOf,
  nowMs,
  nowSeconds,
  type Payer,
  randomAddress,
  randomBytes32,
  token,
  useOf,
} from './builders.ts'

/** Meters of several processes on one empty store. */
export type MeterStore = {
  open(instance: string, limits?: { maxWaitingEvents?: number; endedRetentionMs?: number }): Meter
  remove(): Promise<void>
}

/** The guarantees of a meter, whatever it is made of. */
export function describeMeter(name: string, createStore: () => Promise<MeterStore>): void {
  describe(name, () => {
    let store: MeterStore
    let meter: Meter
    let payer: Payer

    beforeEach(async () => {
      store = await createStore()
      meter = store.open('gateway-1')
      payer = createPayer()
      await meter.ping()
    })
    afterEach(() => store.remove())

    test('an account is held from its first mirror on, in that token alone', async () => {
      const { account } = createPayer()
      const { token } = accountStateOf(payer)
      expect(await meter.holds(account, token)).toBe(false)
      await meter.mirror(accountStateOf(payer, { grants: [] }))
      expect(await meter.holds(payer.account, token)).toBe(true)
      expect(await meter.holds(payer.account, payer.account)).toBe(false)
    })

    test('a grant that is refused at once is served again when its account is mirrored, and an unknown one is none', async () => {
      const [other, unknown] = [{ ...payer, grantId: randomBytes32() }, createPayer()]
      const state = accountStateOf(payer, { grants: [grantStateOf(payer), grantStateOf(other)] })
      await meter.mirror(state)
      expect(await meter.refuse(payer.account, payer.grantId)).toBe(true)
      expect(await codeOf(useOf(payer))).toBe('grant.frozen')
      expect(await codeOf(useOf(other))).toBe('ok')
      await meter.mirror(state)
      expect(await codeOf(useOf(payer))).toBe('ok')

      const revoked = { grants: [grantStateOf(payer, { status: 'revoked' })] }
      await meter.mirror(accountStateOf(payer, revoked))
      expect(await meter.refuse(payer.account, payer.grantId)).toBe(true)
      expect(await codeOf(useOf(payer))).toBe('grant.revoked')
      expect(await meter.refuse(unknown.account, unknown.grantId)).toBe(false)
    })

    describe('credit', () => {
      const credit = (limits: Partial<CreditLimits>): CreditLimits => ({ mode: 'credit', version: 1, ...limits })

      test('a merchant who takes no credit is served from reserves alone', async () => {
        const prepaid = { ...payer, grantId: randomBytes32() }
        const grants = [grantStateOf(payer), grantStateOf(prepaid, { source: 'reserve' })]
        await meter.mirror(accountStateOf(payer, { funds: fundsOf(100n, 100n), grants }))
        const closed = { credit: credit({ mode: 'reserve_only' }) }
        expect(await codeOf(useOf(payer, closed))).toBe('credit.refused')
        expect(await codeOf(useOf(prepaid, closed))).toBe('ok')
      })

      test('says which limit is reached: of the grant, of the account at this merchant, of either at all merchants', async () => {
        const second = { ...payer, grantId: randomBytes32() }
        const elsewhere = { ...second, payee: randomAddress() }
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer), grantStateOf(second)] }))
        const limits = { maxPerGrant: 20n, maxPerAccount: 30n, maxPerGrantOverall: 25n, maxPerAccountOverall: 40n }
        const limitOf = async (one: Payer, amount: bigint) => {
          const decision = await meter.charge(useOf(one, { amount, credit: credit(limits) }))
          return decision.ok || !('limit' in decision) ? 'ok' : decision.limit
        }
        expect(await limitOf(payer, 21n)).toBe('grant')
        expect(await limitOf(payer, 20n)).toBe('ok')
        expect(await limitOf(second, 11n)).toBe('account')
        expect(await limitOf(second, 10n)).toBe('ok')
        expect(await limitOf(elsewhere, 16n)).toBe('operator_grant')
        expect(await limitOf(elsewhere, 10n)).toBe('ok')
        expect(await limitOf({ ...payer, payee: randomAddress() }, 1n)).toBe('operator_account')
        const owed = { [payer.payee]: 30n, [elsewhere.payee]: 10n }
        expect((await meter.read(payer.account, second.grantId))?.accountExposure).toEqual(owed)
        expect(await meter.exposureOf(token, payer.payee)).toBe(30n)
      })

      test('what is settled or released makes room again, and what the reserve owes never takes any', async () => {
        const prepaid = { ...payer, grantId: randomBytes32() }
        const state = accountStateOf(payer, {
          funds: fundsOf(1_000n, 1_000n),
          grants: [grantStateOf(payer), grantStateOf(prepaid, { source: 'reserve' })],
        })
        await meter.mirror(state)
        const within = { credit: credit({ maxPerAccount: 20n }) }
        expect(await codeOf(useOf(prepaid, { amount: 500n, ...within }))).toBe('ok')
        const first = await charge(useOf(payer, { amount: 20n, ...within }))
        expect(await codeOf(useOf(payer, { amount: 1n, ...within }))).toBe('limit.exposure')
        await meter.capture(first, 5n)
        expect(await codeOf(useOf(payer, { amount: 15n, ...within }))).toBe('ok')
        expect(await codeOf(useOf(payer, { amount: 1n, ...within }))).toBe('limit.exposure')
        const channels = [channelStateOf(payer, { settled: 12n })]
        await meter.mirror({ ...state, block: 2n, grants: [grantStateOf(payer, { settled: 12n, channels })] })
        expect(await meter.exposureOf(token, payer.payee)).toBe(8n)
        expect(await codeOf(useOf(payer, { amount: 13n, ...within }))).toBe('limit.exposure')
        expect(await codeOf(useOf(payer, { amount: 12n, ...within }))).toBe('ok')
      })

      test('200 concurrent charges of many grants and accounts take no more than each limit allows', async () => {
        const payee = payer.payee
        const payers = Array.from({ length: 4 }, () => ({ ...createPayer(), payee }))
        const twice = payers.flatMap((one) => [one, { ...one, grantId: randomBytes32() }])
        for (const one of payers) {
          const grants = twice.filter(({ account }) => account === one.account).map((each) => grantStateOf(each))
          await meter.mirror(accountStateOf(one, { grants }))
        }
        const second = store.open('gateway-2')
        const limits = credit({ maxPerGrant: 60n, maxPerAccount: 100n })
        await Promise.all(
          Array.from({ length: 200 }, async (_, index) => {
            const one = twice[index % twice.length] ?? payer
            await (index % 2 ? meter : second).charge(useOf(one, { amount: 7n, credit: limits }))
          }),
        )
        for (const one of payers) {
          const { accountExposure, owed } = (await meter.read(one.account, one.grantId)) ?? {}
          // 8 x 7 of one grant, 14 x 7 of both.
          expect(owed).toBeLessThanOrEqual(56n)
          expect(accountExposure).toEqual({ [payee]: 98n })
        }
        expect(await meter.exposureOf(token, payee)).toBe(4n * 98n)
      })
    })

    describe('spending', () => {
      const limited = (limits: GrantState['limits']) =>
        meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { limits })] }))
      const refusalOf = async (use: Use) => {
        const decision = await meter.charge(use)
        return decision.ok || !('limit' in decision) ? 'ok' : `${decision.code} ${decision.limit}`
      }

      test('keeps to the limits of the service, of the grant at the payee and of the grant at all payees', async () => {
        const elsewhere = { ...payer, payee: randomAddress() }
        await limited({
          all: { maxAmountPerDay: 70n, maxAmountPerCall: 25n },
          payees: [{ payee: payer.payee, limits: { maxCallsPerHour: 2 } }],
        })
        expect(await refusalOf(useOf(payer, { amount: 26n }))).toBe('limit.per_call grant_call')
        expect(await refusalOf(useOf(payer, { amount: 20n, maxAmountPerMinute: 20n }))).toBe('ok')
        expect(await refusalOf(useOf(payer, { amount: 1n, maxAmountPerMinute: 20n }))).toBe(
          'limit.spend service_minute',
        )
        expect(await refusalOf(useOf(payer, { amount: 20n }))).toBe('ok')
        expect(await refusalOf(useOf(payer, { amount: 1n }))).toBe('limit.rate payee_hour')
        expect(await refusalOf(useOf(elsewhere, { amount: 20n }))).toBe('ok')
        expect(await refusalOf(useOf(elsewhere, { amount: 11n }))).toBe('limit.spend grant_day')
        expect(await refusalOf(useOf(elsewhere, { amount: 10n }))).toBe('ok')
        expect(await refusalOf(useOf(elsewhere, { amount: 1n, nowMs: nowMs + 86_400_000 }))).toBe('ok')
      })

      test('a mirror replaces limits, and keeps what was counted', async () => {
        await limited({ all: { maxCallsPerDay: 1 }, payees: [{ payee: payer.payee, limits: { maxCallsPerDay: 5 } }] })
        expect(await refusalOf(useOf(payer))).toBe('ok')
        expect(await refusalOf(useOf(payer))).toBe('limit.rate grant_day')
        await limited({ all: { maxCallsPerDay: 2 }, payees: [] })
        expect(await refusalOf(useOf(payer))).toBe('ok')
        expect(await refusalOf(useOf(payer))).toBe('limit.rate grant_day')
        await limited(undefined)
        expect(await refusalOf(useOf(payer))).toBe('ok')
      })

      test('what is released was not spent, but called', async () => {
        await limited({ all: { maxAmountPerHour: 30n, maxCallsPerMinute: 3 }, payees: [] })
        const held = await charge(useOf(payer, { amount: 30n }))
        expect(await refusalOf(useOf(payer, { amount: 1n }))).toBe('limit.spend grant_hour')
        await meter.capture(held, 12n)
        const next = await charge(useOf(payer, { amount: 18n }))
        expect(await refusalOf(useOf(payer, { amount: 1n }))).toBe('limit.spend grant_hour')
        await meter.capture(next, 0n)
        expect(await refusalOf(useOf(payer, { amount: 18n }))).toBe('ok')
        expect(await refusalOf(useOf(payer, { amount: 0n }))).toBe('limit.rate grant_minute')
      })

      test('200 concurrent charges at several payees and services go above no limit of any window', async () => {
        const payees = [payer.payee, randomAddress()]
        await limited({
          all: { maxCallsPerMinute: 90, maxAmountPerHour: 600n },
          payees: payees.map((payee) => ({ payee, limits: { maxCallsPerDay: 40, maxAmountPerMinute: 350n } })),
        })
        const second = store.open('gateway-2')
        const served = new Map<string, { calls: number; amount: bigint }>()
        await Promise.all(
          Array.from({ length: 200 }, async (_, index) => {
            const payee = payees[index % 2] ?? payer.payee
            const service = index % 3 === 0 ? 'maps' : 'weather'
            const amount = BigInt(5 + (index % 7))
            const own = { service, merchant: 'acme', signature: '0x5161' } as const
            const use = useOf(
              { ...payer, payee },
              { amount, maxCallsPerHour: 30, cumulativeAmount: 5_000n, event: own },
            )
            if (!(await (index % 5 ? meter : second).charge(use)).ok) return
            for (const scope of ['grant', payee, service]) {
              const { calls, amount: sum } = served.get(scope) ?? { calls: 0, amount: 0n }
              served.set(scope, { calls: calls + 1, amount: sum + amount })
            }
          }),
        )
        const grant = served.get('grant')
        expect(grant?.calls).toBeLessThanOrEqual(90)
        expect(grant?.amount).toBeLessThanOrEqual(600n)
        for (const payee of payees) {
          expect(served.get(payee)?.calls).toBeLessThanOrEqual(40)
          expect(served.get(payee)?.amount).toBeLessThanOrEqual(350n)
        }
        for (const service of ['maps', 'weather']) expect(served.get(service)?.calls).toBe(30)
      })
    })

    describe('charge', () => {
      test('charges the channel and tells what it holds', async () => {
        await meter.mirror(accountStateOf(payer))
        const use = useOf(payer, { amount: 10n, cumulativeAmount: 25n })
        const decision = await meter.charge(use)
        expect(decision).toMatchObject({
          ok: true,
          ticket: { ...payer, requestId: use.requestId, amount: 10n },
          channel: { authorized: 25n, charged: 10n, settled: 0n },
        })
        expect(await meter.read(payer.account, payer.grantId)).toEqual({
          status: 'active',
          source: 'allowance',
          settled: 0n,
          owed: 10n,
          channels: { [payer.payee]: { authorized: 25n, charged: 10n, settled: 0n } },
          accountOutstanding: 10n,
          accountFunds: 1_000_000n,
          accountExposure: { [payer.payee]: 10n },
        })
      })

      test('knows no grant that was not mirrored, and none of another account', async () => {
        expect(await meter.charge(useOf(payer))).toEqual({ ok: false, code: 'grant.unknown' })
        expect(await meter.read(payer.account, payer.grantId)).toBeUndefined()
        await meter.mirror(accountStateOf(payer))
        expect(await codeOf(useOf({ ...payer, account: randomAddress() }))).toBe('grant.unknown')
      })

      test('refuses a grant or a channel that is frozen or revoked', async () => {
        for (const status of ['frozen', 'revoked'] as const) {
          await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { status })] }))
          expect(await codeOf(useOf(payer))).toBe(`grant.${status}`)
          const channels = [channelStateOf(payer, { status })]
          await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { channels })] }))
          expect(await codeOf(useOf(payer))).toBe(`grant.${status}`)
        }
      })

      test('serves a grant from its first second to its last less the settlement margin, both included', async () => {
        await meter.mirror(accountStateOf(payer))
        const { validAfter, validUntil } = grantStateOf(payer)
        const at = (seconds: number) => codeOf(useOf(payer, { nowMs: seconds * 1000, settlementMarginSeconds: 60 }))
        expect(await at(validAfter - 1)).toBe('grant.not_yet_valid')
        expect(await at(validAfter)).toBe('ok')
        expect(await at(validUntil - 60)).toBe('ok')
        expect(await at(validUntil - 59)).toBe('grant.expired')
      })

      test('charges the same request once, and tells the repeater who charged it', async () => {
        await meter.mirror(accountStateOf(payer))
        const use = useOf(payer)
        const first = await charge(use)
        const again = await store.open('gateway-2').charge(use)
        expect(again).toEqual({
          ok: false,
          code: 'request.duplicate',
          instance: 'gateway-1',
          ticket: first,
          channel: { authorized: 1_000n, charged: 10n, settled: 0n },
        })
      })

      test('refuses a request id that was used for another request, per channel', async () => {
        await meter.mirror(accountStateOf(payer))
        const use = useOf(payer)
        await charge(use)
        expect(await codeOf({ ...use, fingerprint: 'fingerprint-b' })).toBe('request.conflict')
        expect(await codeOf({ ...use, payee: randomAddress(), fingerprint: 'fingerprint-b' })).toBe('ok')
      })

      test("keeps to the service's maximum per call", async () => {
        await meter.mirror(accountStateOf(payer))
        expect(await codeOf(useOf(payer, { amount: 11n, maxAmountPerCall: 10n }))).toBe('limit.per_call')
        expect(await codeOf(useOf(payer, { amount: 10n, maxAmountPerCall: 10n }))).toBe('ok')
      })

      test("keeps to the service's calls in a minute, and starts anew in the next", async () => {
        await meter.mirror(accountStateOf(payer))
        const call = (service: string, atMs: number) =>
          codeOf(useOf(payer, { maxCallsPerMinute: 2, nowMs: atMs, event: { ...useOf(payer).event, service } }))
        expect([await call('a', nowMs), await call('a', nowMs + 59_999), await call('a', nowMs + 59_999)]).toEqual([
          'ok',
          'ok',
          'limit.rate',
        ])
        expect(await call('b', nowMs)).toBe('ok')
        expect(await call('a', nowMs + 60_000)).toBe('ok')
        // A process whose clock is a little behind counts in the newer minute.
        expect([await call('a', nowMs + 59_999), await call('a', nowMs + 59_999)]).toEqual(['ok', 'limit.rate'])
      })

      test('charges up to the highest voucher seen, in whatever order vouchers come', async () => {
        await meter.mirror(accountStateOf(payer))
        expect(await codeOf(useOf(payer, { cumulativeAmount: 30n }))).toBe('ok')
        expect(await codeOf(useOf(payer, { cumulativeAmount: 10n }))).toBe('ok')
        expect(await codeOf(useOf(payer, { cumulativeAmount: 20n }))).toBe('ok')
        expect(await codeOf(useOf(payer, { cumulativeAmount: 30n }))).toBe('voucher.exhausted')
      })

      test('a refused charge raises nothing: its voucher will never be journalled', async () => {
        await meter.mirror(accountStateOf(payer))
        const refused = useOf(payer, { cumulativeAmount: 500n, amount: 11n, maxAmountPerCall: 10n })
        expect(await codeOf(refused)).toBe('limit.per_call')
        expect(await codeOf(useOf(payer, { cumulativeAmount: 9n }))).toBe('voucher.exhausted')
      })

      test('keeps settled and owed within the total limit', async () => {
        const grant = grantStateOf(payer, { totalLimit: 100n, settled: 70n })
        await meter.mirror(accountStateOf(payer, { grants: [grant] }))
        expect(await codeOf(useOf(payer, { amount: 20n }))).toBe('ok')
        expect(await codeOf(useOf(payer, { amount: 11n }))).toBe('limit.total')
        expect(await codeOf(useOf(payer, { amount: 10n }))).toBe('ok')
        expect(await codeOf(useOf(payer, { amount: 1n }))).toBe('limit.total')
      })

      test('keeps what is owed within what the period still allows', async () => {
        const grant = grantStateOf(payer, {
          validAfter: nowSeconds - 250,
          period: 100,
          periodLimit: 50n,
          periodIndex: 2,
          periodSettled: 30n,
          settled: 30n,
        })
        await meter.mirror(accountStateOf(payer, { grants: [grant] }))
        expect(await codeOf(useOf(payer, { amount: 21n }))).toBe('limit.period')
        expect(await codeOf(useOf(payer, { amount: 20n }))).toBe('ok')
        // Period 3: what was settled in period 2 does not count, what is owed does.
        expect(await codeOf(useOf(payer, { amount: 31n, nowMs: nowMs + 50_000 }))).toBe('limit.period')
        expect(await codeOf(useOf(payer, { amount: 30n, nowMs: nowMs + 50_000 }))).toBe('ok')
      })

      test('keeps the debt of all grants of an account within its funds', async () => {
        const other = { ...payer, grantId: randomBytes32() }
        const grants = [grantStateOf(payer), grantStateOf(other)]
        await meter.mirror(accountStateOf(payer, { funds: fundsOf(30n), grants }))
        expect(await codeOf(useOf(payer, { amount: 20n }))).toBe('ok')
        expect(await codeOf(useOf(other, { amount: 11n }))).toBe('funds.insufficient')
        expect(await codeOf(useOf(other, { amount: 10n }))).toBe('ok')
      })

      test('the reserve pays for no debt of the allowance, nor the allowance for the reserve’s', async () => {
        const credit = { ...payer, grantId: randomBytes32() }
        const prepaid = [payer, { ...payer, grantId: randomBytes32() }] as const
        const grants = [grantStateOf(credit), ...prepaid.map((one) => grantStateOf(one, { source: 'reserve' }))]
        await meter.mirror(accountStateOf(payer, { funds: fundsOf(30n, 20n), grants }))
        expect(await codeOf(useOf(credit, { amount: 31n }))).toBe('funds.insufficient')
        expect(await codeOf(useOf(credit, { amount: 30n }))).toBe('ok')
        // The two grants of the reserve share it.
        expect(await codeOf(useOf(prepaid[0], { amount: 12n }))).toBe('ok')
        expect(await codeOf(useOf(prepaid[1], { amount: 9n }))).toBe('funds.insufficient')
        const held = await charge(useOf(prepaid[1], { amount: 8n }))
        expect(await codeOf(useOf(prepaid[0], { amount: 1n }))).toBe('funds.insufficient')
        const read = (grantId: typeof payer.grantId) => meter.read(payer.account, grantId)
        const ofReserve = { source: 'reserve', accountOutstanding: 20n, accountFunds: 20n }
        expect(await read(payer.grantId)).toMatchObject({ ...ofReserve, owed: 12n })
        expect(await read(prepaid[1].grantId)).toMatchObject({ ...ofReserve, owed: 8n })
        const ofAllowance = { source: 'allowance', owed: 30n, accountOutstanding: 30n, accountFunds: 30n }
        expect(await read(credit.grantId)).toMatchObject(ofAllowance)
        // What one source gets back, the other cannot spend.
        await meter.capture(held, 3n)
        expect(await read(payer.grantId)).toMatchObject({ accountOutstanding: 15n })
        expect(await read(credit.grantId)).toMatchObject(ofAllowance)
        expect(await codeOf(useOf(credit, { amount: 1n }))).toBe('funds.insufficient')
        expect(await codeOf(useOf(prepaid[0], { amount: 5n }))).toBe('ok')
      })

      test('money that is asked back stops new charges at once; what was charged before stays owed', async () => {
        const grants = [grantStateOf(payer, { source: 'reserve' })]
        await meter.mirror(accountStateOf(payer, { funds: fundsOf(0n, 50n), grants }))
        expect(await codeOf(useOf(payer, { amount: 20n }))).toBe('ok')
        await meter.mirror(accountStateOf(payer, { block: 2n, funds: fundsOf(0n, 10n), grants }))
        expect(await codeOf(useOf(payer, { amount: 1n }))).toBe('funds.insufficient')
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({
          owed: 20n,
          accountOutstanding: 20n,
          accountFunds: 10n,
        })
        await meter.mirror(accountStateOf(payer, { block: 3n, funds: fundsOf(0n, 50n), grants }))
        expect(await codeOf(useOf(payer, { amount: 30n }))).toBe('ok')
      })

      test('a payee who collected ahead is charged against that first, and hides nobody else’s debt', async () => {
        const ahead = channelStateOf(payer, { authorized: 100n, charged: 10n, settled: 40n })
        const grant = grantStateOf(payer, { settled: 40n, totalLimit: 50n, channels: [ahead] })
        await meter.mirror(accountStateOf(payer, { grants: [grant] }))
        expect(await codeOf(useOf(payer, { amount: 30n }))).toBe('ok')
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 0n, accountOutstanding: 0n })
        expect(await codeOf(useOf({ ...payer, payee: randomAddress() }, { amount: 11n }))).toBe('limit.total')
        expect(await codeOf(useOf({ ...payer, payee: randomAddress() }, { amount: 10n }))).toBe('ok')
      })

      test('200 concurrent charges never overspend by one unit', async () => {
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { totalLimit: 1_000n })] }))
        const second = store.open('gateway-2')
        const decisions = await Promise.all(
          Array.from({ length: 200 }, (_, index) =>
            (index % 2 ? meter : second).charge(useOf(payer, { amount: 7n, cumulativeAmount: 100_000n })),
          ),
        )
        expect(decisions.filter(({ ok }) => ok)).toHaveLength(142)
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 994n, accountOutstanding: 994n })
      })

      test('meters amounts beyond 2^53 as if they were 2^53 - 1, exactly', async () => {
        const huge = 2n ** 96n - 1n
        const grants = [grantStateOf(payer, { totalLimit: huge })]
        await meter.mirror(accountStateOf(payer, { funds: fundsOf(huge), grants }))
        const cumulativeAmount = 2n ** 128n - 1n
        expect(await codeOf(useOf(payer, { amount: maxMeterAmount - 1n, cumulativeAmount }))).toBe('ok')
        expect(await codeOf(useOf(payer, { amount: 2n, cumulativeAmount }))).toBe('voucher.exhausted')
        const ticket = await charge(useOf(payer, { amount: 1n, cumulativeAmount }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({
          owed: maxMeterAmount,
          channels: { [payer.payee]: { authorized: maxMeterAmount, charged: maxMeterAmount } },
        })
        await meter.capture(ticket, 0n)
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: maxMeterAmount - 1n })
      })

      test('throws on a use that no meter could charge', async () => {
        await expect(meter.charge(useOf(payer, { amount: -1n }))).rejects.toThrow(MeterUsageError)
        await expect(meter.charge(useOf(payer, { amount: maxMeterAmount + 1n }))).rejects.toThrow(MeterUsageError)
        await expect(meter.charge(useOf(payer, { requestId: '' }))).rejects.toThrow(MeterUsageError)
        await expect(meter.charge(useOf(payer, { nowMs: Number.NaN }))).rejects.toThrow(MeterUsageError)
      })

      test('charges nothing while too many events wait for the journal, and goes on when there is room', async () => {
        const small = store.open('gateway-small', { maxWaitingEvents: 2 })
        await small.mirror(accountStateOf(payer))
        const tickets = [await charge(useOf(payer), small), await charge(useOf(payer), small)]
        const third = useOf(payer)
        await expect(small.charge(third)).rejects.toThrow(MeterFullError)
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 20n })
        for (const ticket of tickets) small.served(ticket)
        await journal(2)
        expect((await small.charge(third)).ok).toBe(true)
      })

      test('a closed meter says that it is unavailable', async () => {
        await meter.close()
        await expect(meter.charge(useOf(payer))).rejects.toThrow(MeterUnavailableError)
      })
    })

    describe('usage', () => {
      beforeEach(() => meter.mirror(accountStateOf(payer)))

      test('an event is read when its request was served, with all that the journal needs', async () => {
        const use = useOf(payer, { cumulativeAmount: 2n ** 100n })
        const before = Date.now()
        const ticket = await charge(use)
        expect(await settledUsage()).toEqual([])
        meter.served(ticket)
        const [event] = await usage(1)
        expect(event).toEqual({
          eventId: ticket.eventId,
          partition: partitionOf(payer.account),
          ...payer,
          requestId: use.requestId,
          fingerprint: use.fingerprint,
          amount: 10n,
          cumulativeAmount: 2n ** 100n,
          occurredAtMs: event?.occurredAtMs,
          record: use.event,
        })
        expect(Math.abs((event?.occurredAtMs ?? 0) - before)).toBeLessThan(10_000)
      })

      test('events come in order: none before an older one whose request is open', async () => {
        const first = await charge(useOf(payer))
        const second = await charge(useOf(payer))
        meter.served(second)
        expect(await settledUsage()).toEqual([])
        meter.served(first)
        expect(idsOf(await usage(2))).toEqual([first.eventId, second.eventId])
        const partition = partitionOf(payer.account)
        expect(idsOf(await meter.readUsage(partition, 1))).toEqual([first.eventId])
      })

      test('two readers get the same events until they are acknowledged, then nobody does', async () => {
        const tickets: Ticket[] = []
        for (let index = 0; index < 5; index += 1) tickets.push(await charge(useOf(payer)))
        for (const ticket of tickets) meter.served(ticket)
        const first = await usage(5)
        const partition = partitionOf(payer.account)
        const second = await store.open('gateway-2').readUsage(partition, 100)
        expect(second).toEqual(first)
        await meter.acknowledge(partition, idsOf(first.slice(0, 2)))
        expect(await meter.readUsage(partition, 100)).toEqual(first.slice(2))
        await Promise.all([
          meter.acknowledge(partition, idsOf(first)),
          meter.acknowledge(partition, idsOf(second)),
          meter.acknowledge(partition, []),
        ])
        expect(await meter.readUsage(partition, 100)).toEqual([])
      })

      test('who watches sees charges at once, in order, and takes nothing', async () => {
        const partition = partitionOf(payer.account)
        expect(await meter.peekUsage(partition, undefined, 100)).toEqual([])
        const tickets: Ticket[] = []
        for (let index = 0; index < 3; index += 1) tickets.push(await charge(useOf(payer, { amount: 10n })))
        const watcher = store.open('gateway-2')
        const seen = await watcher.peekUsage(partition, undefined, 2)
        expect(idsOf(seen)).toEqual(tickets.slice(0, 2).map(({ eventId }) => eventId))
        expect(idsOf(await watcher.peekUsage(partition, seen[1]?.eventId, 100))).toEqual([tickets[2]?.eventId])
        expect(await watcher.peekUsage(partition, tickets[2]?.eventId, 100)).toEqual([])
        // What was seen is captured and journalled as before.
        const [first, ...others] = tickets
        if (!first) throw new Error('there was no charge')
        expect(await meter.capture(first, 4n)).toMatchObject({ ok: true })
        const [captured] = await watcher.peekUsage(partition, tickets[2]?.eventId, 100)
        expect(captured).toMatchObject({ requestId: first.requestId, amount: 4n })
        for (const ticket of others) meter.served(ticket)
        expect((await usage(3)).map(({ amount }) => amount)).toEqual([10n, 10n, 4n])
      })

      test('charges of a process that is gone stand', async () => {
        const ticket = await charge(useOf(payer))
        const other = store.open('gateway-2')
        expect(await settledUsage()).toEqual([])
        await meter.close()
        expect(idsOf(await usage(1, other))).toEqual([ticket.eventId])
      })

      test('the journal can prove what is charged, whatever was released', async () => {
        // The upstream fails on the high voucher; then calls follow that only repeat a low one.
        const high = useOf(payer, { cumulativeAmount: 500n, event: { ...useOf(payer).event, signature: '0x500' } })
        await meter.capture(await charge(high), 0n)
        for (let index = 0; index < 5; index += 1) {
          const low = { ...useOf(payer).event, signature: '0x10' } as const
          meter.served(await charge(useOf(payer, { cumulativeAmount: 10n, event: low })))
        }
        const events = await usage(5)
        expect(events.map(({ cumulativeAmount, record }) => [cumulativeAmount, record.signature])).toEqual(
          Array.from({ length: 5 }, () => [500n, '0x500']),
        )
      })

      test('once the journal has the newest voucher, events carry their own', async () => {
        meter.served(await charge(useOf(payer, { cumulativeAmount: 500n })))
        const channels = [channelStateOf(payer, { authorized: 500n, charged: 10n })]
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { channels })] }))
        meter.served(await charge(useOf(payer, { cumulativeAmount: 20n })))
        expect((await usage(2)).map(({ cumulativeAmount }) => cumulativeAmount)).toEqual([500n, 20n])
      })
    })

    describe('capture', () => {
      beforeEach(() => meter.mirror(accountStateOf(payer)))

      test('a release before the journal read it: nobody pays, and the id is unused again', async () => {
        const use = useOf(payer)
        const ticket = await charge(use)
        expect(await meter.capture(ticket, 0n)).toEqual({
          ok: true,
          channel: { authorized: 1_000n, charged: 0n, settled: 0n },
        })
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 0n, accountOutstanding: 0n })
        const again = await charge({ ...use, fingerprint: 'fingerprint-b' })
        meter.served(again)
        expect(idsOf(await usage(1))).toEqual([again.eventId])
      })

      test('a release after the journal read it is too late: the charge stands, also when it is not yet acknowledged', async () => {
        const use = useOf(payer)
        const ticket = await charge(use)
        meter.served(ticket)
        const events = await usage(1)
        expect(await meter.capture(ticket, 0n)).toEqual({ ok: false, code: 'capture.too_late' })
        await meter.acknowledge(partitionOf(payer.account), idsOf(events))
        expect(await meter.capture(ticket, 0n)).toEqual({ ok: false, code: 'capture.too_late' })
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 10n, accountOutstanding: 10n })
        expect(await codeOf(use)).toBe('request.duplicate')
      })

      test('a capture charges the real amount, and is journalled once', async () => {
        const use = useOf(payer, { amount: 100n })
        const held = await charge(use)
        expect(await meter.capture(held, 30n)).toMatchObject({ ok: true, channel: { charged: 30n } })
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 30n, accountOutstanding: 30n })
        const events = await usage(1)
        expect(events).toMatchObject([{ amount: 30n, requestId: use.requestId, record: use.event }])
        expect(await meter.charge(use)).toMatchObject({
          code: 'request.duplicate',
          ticket: { amount: 30n, eventId: events[0]?.eventId },
        })
      })

      test('of two captures of one charge only the first counts', async () => {
        const ticket = await charge(useOf(payer, { amount: 100n }))
        const results = await Promise.all([meter.capture(ticket, 30n), meter.capture(ticket, 0n)])
        expect(results.map(({ ok }) => ok)).toEqual([true, false])
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 30n })
      })

      test('never charges more than was held', async () => {
        const ticket = await charge(useOf(payer, { amount: 100n }))
        await expect(meter.capture(ticket, 101n)).rejects.toThrow(MeterUsageError)
        await expect(meter.capture(ticket, -1n)).rejects.toThrow(MeterUsageError)
      })

      test('a release gives back only what is still owed', async () => {
        const ticket = await charge(useOf(payer, { amount: 100n }))
        const channels = [channelStateOf(payer, { settled: 60n })]
        const grants = [grantStateOf(payer, { settled: 60n, channels })]
        await meter.mirror(accountStateOf(payer, { grants }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 40n, accountOutstanding: 40n })
        await meter.capture(ticket, 0n)
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ owed: 0n, accountOutstanding: 0n })
      })
    })

    describe('adopt', () => {
      let use: Use
      const adoption = () => ({ ...payer, requestId: use.requestId, from: 'gateway-1' })
      beforeEach(async () => {
        await meter.mirror(accountStateOf(payer))
        use = useOf(payer)
        await charge(use)
      })

      test('a request is not taken from a process that lives', async () => {
        expect(await store.open('gateway-2').adopt(adoption())).toBe(false)
        expect(await meter.adopt(adoption())).toBe(false)
      })

      test('when its process is gone exactly one takes a request over', async () => {
        const others = ['gateway-2', 'gateway-3', 'gateway-4'].map((instance) => store.open(instance))
        await Promise.all(others.map((other) => other.ping()))
        await meter.close()
        const adopted = await Promise.all(others.map((other) => other.adopt(adoption())))
        expect(adopted.filter(Boolean)).toHaveLength(1)
        const winner = others[adopted.indexOf(true)]
        const [loser] = others.filter((other) => other !== winner)
        expect(await loser?.charge(use)).toMatchObject({
          code: 'request.duplicate',
          instance: `gateway-${adopted.indexOf(true) + 2}`,
        })
      })

      test('a request that is not known is not taken over', async () => {
        const other = store.open('gateway-2')
        await meter.close()
        expect(await other.adopt({ ...adoption(), requestId: 'another-request-id' })).toBe(false)
        expect(await other.adopt({ ...adoption(), from: 'gateway-9' })).toBe(false)
      })
    })

    describe('mirror', () => {
      test('replaces what the chain says, and never lowers what was charged or authorized', async () => {
        await meter.mirror(accountStateOf(payer))
        await charge(useOf(payer, { amount: 50n, cumulativeAmount: 60n }))
        const channels = [channelStateOf(payer, { authorized: 40n, charged: 40n, settled: 30n })]
        const grants = [grantStateOf(payer, { status: 'frozen', settled: 30n, channels })]
        await meter.mirror(accountStateOf(payer, { block: 2n, funds: fundsOf(77n), grants }))
        expect(await meter.read(payer.account, payer.grantId)).toEqual({
          status: 'frozen',
          source: 'allowance',
          settled: 30n,
          owed: 20n,
          channels: { [payer.payee]: { authorized: 60n, charged: 50n, settled: 30n } },
          accountOutstanding: 20n,
          accountFunds: 77n,
          accountExposure: { [payer.payee]: 20n },
        })
      })

      test('raises what was charged and authorized to what the journal says', async () => {
        const channels = [channelStateOf(payer, { authorized: 90n, charged: 80n, settled: 30n })]
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { settled: 30n, channels })] }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({
          owed: 50n,
          accountOutstanding: 50n,
          channels: { [payer.payee]: { authorized: 90n, charged: 80n, settled: 30n } },
        })
        expect(await codeOf(useOf(payer, { cumulativeAmount: 0n, amount: 11n }))).toBe('voucher.exhausted')
        expect(await codeOf(useOf(payer, { cumulativeAmount: 0n, amount: 10n }))).toBe('ok')
      })

      test('an older block changes nothing, the same block does', async () => {
        await meter.mirror(accountStateOf(payer, { block: 5n, funds: fundsOf(100n) }))
        await meter.mirror(accountStateOf(payer, { block: 4n, funds: fundsOf(1n) }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ accountFunds: 100n })
        await meter.mirror(accountStateOf(payer, { block: 5n, funds: fundsOf(99n) }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({ accountFunds: 99n })
      })

      test('leaves grants and channels alone that it does not name', async () => {
        const other = { ...payer, grantId: randomBytes32(), payee: randomAddress() }
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer), grantStateOf(other)] }))
        await charge(useOf(payer))
        await charge(useOf({ ...payer, payee: other.payee }))
        await charge(useOf(other))
        const channels = [channelStateOf(payer, { settled: 10n })]
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { settled: 10n, channels })] }))
        expect(await meter.read(payer.account, payer.grantId)).toMatchObject({
          owed: 10n,
          accountOutstanding: 20n,
          channels: { [payer.payee]: { settled: 10n }, [other.payee]: { charged: 10n, settled: 0n } },
        })
        expect(await meter.read(payer.account, other.grantId)).toMatchObject({ owed: 10n })
      })

      test('brings back recent request ids: a retry is free for one process, and never replaces what is known', async () => {
        const use = useOf(payer)
        const { requestId, fingerprint } = use
        const request = { ...payer, requestId, fingerprint, amount: 10n, eventId: 'p0-1-1' }
        await meter.mirror(accountStateOf(payer, { requests: [request] }))
        expect(await meter.charge(use)).toMatchObject({
          code: 'request.duplicate',
          instance: '',
          ticket: { amount: 10n },
        })
        expect(await codeOf({ ...use, fingerprint: 'fingerprint-b' })).toBe('request.conflict')
        expect(await meter.adopt({ ...payer, requestId, from: '' })).toBe(true)
        await meter.mirror(accountStateOf(payer, { requests: [request] }))
        expect(await meter.charge(use)).toMatchObject({ code: 'request.duplicate', instance: 'gateway-1' })
      })

      test('does not mind how addresses are written', async () => {
        await meter.mirror(accountStateOf(payer))
        const lower = {
          account: payer.account.toLowerCase() as typeof payer.account,
          grantId: payer.grantId,
          payee: payer.payee.toLowerCase() as typeof payer.payee,
        }
        const use = useOf(lower)
        expect(await codeOf(use)).toBe('ok')
        expect(await codeOf({ ...use, ...payer })).toBe('request.duplicate')
        expect(Object.keys((await meter.read(lower.account, lower.grantId))?.channels ?? {})).toEqual([payer.payee])
      })
    })

    async function charge(use: Use, by: Meter = meter): Promise<Ticket> {
      const decision = await by.charge(use)
      if (!decision.ok) throw new Error(`Refused: ${decision.code}`)
      return decision.ticket
    }

    async function codeOf(use: Use): Promise<string> {
      return outcomeOf(await meter.charge(use))
    }

    /** The readable events of the payer's partition, once there are so many. */
    async function usage(count: number, by: Meter = meter): Promise<UsageEvent[]> {
      const read = () => by.readUsage(partitionOf(payer.account), 100)
      await expect.poll(async () => (await read()).length, { interval: 5 }).toBe(count)
      return read()
    }

    /** What is readable after enough time for an event to become so. */
    async function settledUsage(): Promise<UsageEvent[]> {
      await new Promise((resolve) => setTimeout(resolve, 100))
      return meter.readUsage(partitionOf(payer.account), 100)
    }

    async function journal(count: number): Promise<void> {
      await meter.acknowledge(partitionOf(payer.account), idsOf(await usage(count)))
    }
  })
}

function outcomeOf(decision: Decision): string {
  return decision.ok ? 'ok' : decision.code
}

function idsOf(events: UsageEvent[]): string[] {
  return events.map(({ eventId }) => eventId)
}
