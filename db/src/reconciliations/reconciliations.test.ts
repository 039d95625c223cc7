import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { claimOutbox } from '../outbox/outbox.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { randomAddress, randomHex } from '../testing/fixtures.ts'
import type { Difference, ReconciliationTotals } from './reconciliation.ts'
import {
  claimReconciliation,
  failReconciliation,
  finishReconciliation,
  getReconciliation,
  listDifferences,
  listReconciliations,
  newestReconciliation,
  renewReconciliation,
  requestReconciliation,
} from './reconciliations.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  await database.query(
    `insert into indexer_cursor (name, block_number, block_hash, checked_at) values ('chain', 7, $1, now())`,
    [randomHex(32)],
  )
})
afterAll(() => database.drop())
beforeEach(() => database.query('truncate reconciliation, reconciliation_difference'))

const start = new Date('2030-01-01T00:00:00Z')
const later = (seconds: number) => new Date(start.getTime() + seconds * 1_000)
const claim = (owner: string, now = start) =>
  claimReconciliation(database.db, { owner, leaseMs: 60_000, intervalMs: 3_600_000, now })

const totals: ReconciliationTotals = {
  channels: 1,
  allowedAtomic: '5',
  chargedAtomic: '4',
  settledAtomic: '3',
  owedAtomic: '1',
  writtenOffAtomic: '0',
  payments: 2,
}
const difference: Difference = {
  kind: 'journal',
  grantId: randomHex(32),
  payee: randomAddress(),
  expected: 5n,
  actual: 4n,
  detail: 'The journal says 5, the channel 4.',
}
const finish = (id: string, owner: string, differences: Difference[] = []) =>
  finishReconciliation(database.db, { id, owner, blockNumber: 7n, totals, differences, now: later(1) })

test('one runs at a time over all processes, and the scheduled one once in its interval', async () => {
  const claims = await Promise.all(['one', 'two', 'three', 'four'].map((owner) => claim(owner)))
  const [first] = claims.filter((claimed) => claimed !== undefined)
  expect(claims.filter(Boolean)).toHaveLength(1)
  expect(first).toMatchObject({ state: 'running', trigger: 'schedule', grantId: null, actor: 'schedule' })
  await requestReconciliation(database.db, { grantId: null, actor: 'operator' })
  expect(await claim('five')).toBeUndefined()
  expect(await finish(first?.id ?? '', first?.leaseOwner ?? '')).toBe(true)
  const asked = await claim('five')
  expect(asked).toMatchObject({ trigger: 'request' })
  await finish(asked?.id ?? '', 'five')
  expect(await claim('one', later(3_599))).toBeUndefined()
  expect(await claim('one', later(3_600))).toMatchObject({ trigger: 'schedule' })
})

test('whose process died is taken up by another, and the dead one writes nothing any more', async () => {
  const { id } = (await claim('one')) ?? { id: '' }
  expect(await claim('two', later(59))).toBeUndefined()
  expect(await renewReconciliation(database.db, { id, owner: 'one', until: later(120) })).toBe(true)
  expect(await claim('two', later(119))).toBeUndefined()
  expect(await claim('two', later(120))).toMatchObject({ id, leaseOwner: 'two' })
  expect(await renewReconciliation(database.db, { id, owner: 'one', until: later(999) })).toBe(false)
  expect(await finish(id, 'one', [difference])).toBe(false)
  const failure = { id, errorCode: 'chain.unavailable', errorMessage: 'gone', now: later(121) }
  expect(await failReconciliation(database.db, { ...failure, owner: 'one' })).toBe(false)
  expect(await listDifferences(database.db, id)).toEqual([])
  expect(await failReconciliation(database.db, { ...failure, owner: 'two' })).toBe(true)
  expect(await getReconciliation(database.db, id)).toMatchObject({
    state: 'failed',
    errorCode: 'chain.unavailable',
    leaseOwner: null,
  })
  expect(await claim('one', later(59))).toBeUndefined()
  expect(await claim('one', later(60))).toMatchObject({ trigger: 'schedule' })
})

test('differences are kept in their order and told to the operator with the end, at most 1,000 of them', async () => {
  const { id } = (await claim('one')) ?? { id: '' }
  const many = Array.from({ length: 1_001 }, (_, index) => ({ ...difference, actual: BigInt(index) }))
  expect(await finish(id, 'one', many)).toBe(true)
  expect(await newestReconciliation(database.db)).toMatchObject({ id, state: 'done', differences: 1_001, totals })
  const kept = await listDifferences(database.db, id)
  expect(kept).toHaveLength(1_000)
  expect(kept[999]).toEqual({ ...difference, actual: 999n })
  const alerts = (
    await claimOutbox(database.db, { limit: 1_000, leaseMs: 1, now: new Date(Date.now() + 1_000) })
  ).filter(({ payload }) => payload.reconciliationId === id)
  expect(alerts).toMatchObject([
    { topic: 'reconciliation.difference', merchantId: null, payload: { differences: 1_001, blockNumber: '7' } },
  ])
  expect(alerts[0]?.payload.first).toHaveLength(10)
})

test('one without differences alerts nobody', async () => {
  const { id } = (await claim('one')) ?? { id: '' }
  await finish(id, 'one')
  const messages = await claimOutbox(database.db, { limit: 1_000, leaseMs: 1, now: new Date(Date.now() + 1_000) })
  expect(messages.filter(({ payload }) => payload.reconciliationId === id)).toEqual([])
})

test('asking twice for the same waits for one, and pages hold each once, newest first', async () => {
  const grantId = randomHex(32)
  const ask = (of: typeof grantId | null) => requestReconciliation(database.db, { grantId: of, actor: 'operator' })
  const all = await ask(null)
  const one = await ask(grantId)
  expect((await ask(null)).id).toBe(all.id)
  expect((await ask(grantId)).id).toBe(one.id)
  const first = await listReconciliations(database.db, { limit: 1 })
  const second = await listReconciliations(database.db, { limit: 1, cursor: first.nextCursor })
  expect([...first.items, ...second.items].map(({ id }) => id)).toEqual([one.id, all.id])
})

test('nothing is scheduled before there is a mirror of the chain to compare', async () => {
  const empty = await createTestDatabase(inject('postgresUrl'))
  try {
    const lease = { owner: 'one', leaseMs: 60_000, intervalMs: 3_600_000, now: start }
    expect(await claimReconciliation(empty.db, lease)).toBeUndefined()
    expect((await listReconciliations(empty.db)).items).toEqual([])
  } finally {
    await empty.drop()
  }
})
