import type { AllowanceForSentinel, RuleForSentinel } from '@protocolbanks/stream-db'
import type { Address } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createRuleBook } from './createRuleBook.ts'

const at = new Date('2026-01-01T12:00:00.000Z')
const alice: Address = '0x00000000000000000000000000000000000000aA'
const bob: Address = '0x00000000000000000000000000000000000000bB'
const shop: Address = '0x00000000000000000000000000000000000000cC'
const chargeOf = (account: Address = alice) => ({
  account: account.toLowerCase(),
  payee: shop.toLowerCase(),
  grantId: '0x01',
  service: 'svc_a',
})

/** Rules and allow lists as a database would answer them, page by page. */
function arrange() {
  let now = at.getTime()
  const rules = new Map<string, RuleForSentinel>()
  const allowances = new Map<string, AllowanceForSentinel & { changedAt: Date }>()
  let fails = false
  let whileReading = () => {}
  const book = createRuleBook({
    async listRules({ after = '', changedSince, limit }) {
      if (fails) throw new Error('Postgres is gone.')
      return [...rules.values()]
        .filter(({ id }) => id > after)
        .filter(({ state, changedAt }) => (changedSince ? changedAt >= changedSince : state === 'live'))
        .sort((a, b) => (a.id < b.id ? -1 : 1))
        .slice(0, limit)
    },
    async listAllowances({ after = '', changedSince, limit }) {
      whileReading()
      return [...allowances.values()]
        .filter(({ id }) => id > after)
        .filter(({ removedAt, changedAt }) => (changedSince ? changedAt >= changedSince : removedAt === null))
        .slice(0, limit)
    },
    readClock: async () => new Date(now),
    clock: () => now,
    logger: pino({ level: 'silent' }),
    pollMs: 1,
  })
  return {
    book,
    /** Between its two questions. */
    during: (look: () => void) => {
      whileReading = look
    },
    pass: (seconds: number) => {
      now += seconds * 1_000
    },
    fail: (wanted: boolean) => {
      fails = wanted
    },
    write: (change: Partial<RuleForSentinel> & { id: string }) =>
      rules.set(change.id, {
        merchantId: null,
        account: alice,
        merchantPayee: null,
        state: 'live',
        version: 1,
        failedVersion: null,
        name: 'x',
        expression: 'amount > 1',
        scope: {},
        action: 'freeze',
        severity: 'critical',
        blockSeconds: null,
        createdAt: at,
        ...change,
        changedAt: new Date(now),
      }),
    allow: (change: Partial<AllowanceForSentinel> & { id: string }) =>
      allowances.set(change.id, {
        merchantId: null,
        account: alice,
        merchantPayee: null,
        kind: 'payee',
        value: shop.toLowerCase(),
        actor: 'x',
        createdAt: at,
        removedAt: null,
        ...change,
        changedAt: new Date(now),
      }),
  }
}

test('a charge meets the rules of its owner, of its merchant and of the operator, and no others', async () => {
  const { book, write } = arrange()
  write({ id: 'rul_1' })
  write({ id: 'rul_2', account: bob })
  write({ id: 'rul_3', account: null, merchantId: 'mer_1', merchantPayee: shop })
  write({ id: 'rul_4', account: null, merchantId: 'mer_2', merchantPayee: bob })
  write({ id: 'rul_5', account: null })
  write({ id: 'rul_6', state: 'draft' })
  await book.refresh()
  expect(book.rules()).toBe(5)
  expect(book.rulesFor(chargeOf()).map(({ id }) => id)).toEqual(['rul_1', 'rul_3', 'rul_5'])
  expect(book.rulesFor(chargeOf(bob)).map(({ id }) => id)).toEqual(['rul_2', 'rul_3', 'rul_5'])
  const elsewhere = { ...chargeOf(), account: '0x', payee: '0x' }
  expect(book.rulesFor(elsewhere).map(({ id }) => id)).toEqual(['rul_5'])
})

test('no charge is judged by a rule whose allow list has not been read yet', async () => {
  const { book, write, allow, during } = arrange()
  write({ id: 'rul_1' })
  allow({ id: 'alw_1' })
  const seen: number[] = []
  during(() => seen.push(book.rulesFor(chargeOf()).length))
  await book.refresh()
  expect(seen).toEqual([0])
  const [rule] = book.rulesFor(chargeOf())
  expect(rule && book.sparedBy(rule.holder, chargeOf())).toBe(`the payee ${shop.toLowerCase()}`)
})

test('changes are seen at the next refresh: new versions, what is switched off, and what is live again', async () => {
  const { book, write, pass } = arrange()
  const live = () => book.rulesFor(chargeOf()).map(({ id, version }) => [id, version])
  write({ id: 'rul_1' })
  await book.refresh()
  pass(60)
  write({ id: 'rul_1', version: 2 })
  write({ id: 'rul_2' })
  await book.refresh()
  expect(live()).toEqual([
    ['rul_1', 2],
    ['rul_2', 1],
  ])
  pass(60)
  write({ id: 'rul_1', version: 2, state: 'off' })
  write({ id: 'rul_2', state: 'deleted' })
  await book.refresh()
  expect(live()).toEqual([])
  pass(60)
  write({ id: 'rul_1', version: 2 })
  await book.refresh()
  expect(live()).toEqual([['rul_1', 2]])
})

test('more rules than a page are all read', async () => {
  const { book, write } = arrange()
  for (let rule = 0; rule < 2_500; rule++) write({ id: `rul_${String(rule).padStart(5, '0')}` })
  await book.refresh()
  expect(book.rules()).toBe(2_500)
})

test('allow lists spare by grant, payee or service, of whoever wrote them, until they are taken off', async () => {
  const { book, allow, pass } = arrange()
  const owner = { merchantId: null, account: alice }
  allow({ id: 'alw_1' })
  allow({ id: 'alw_2', account: null, kind: 'service', value: 'svc_a' })
  await book.refresh()
  expect(book.sparedBy(owner, chargeOf())).toBe(`the payee ${shop.toLowerCase()}`)
  expect(book.sparedBy({ merchantId: null, account: null }, chargeOf())).toBe('the service svc_a')
  expect(book.sparedBy({ merchantId: null, account: bob }, chargeOf())).toBeUndefined()
  expect(book.sparedBy(owner, { ...chargeOf(), payee: '0x' })).toBeUndefined()
  pass(60)
  allow({ id: 'alw_1', removedAt: at })
  await book.refresh()
  expect(book.sparedBy(owner, chargeOf())).toBeUndefined()
})

test('while the database is gone the rules that were read go on, and how old they are is told', async () => {
  const { book, write, fail, pass } = arrange()
  write({ id: 'rul_1' })
  await book.refresh()
  fail(true)
  pass(30)
  await expect(book.refresh()).rejects.toThrow('Postgres is gone.')
  expect(book.rules()).toBe(1)
  expect(book.ageSeconds()).toBe(30)
  fail(false)
  await book.refresh()
  expect(book.ageSeconds()).toBe(0)
})
