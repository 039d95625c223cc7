import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listAudit } from '../audit/auditEntries.ts'
import { withChangeContext } from '../audit/changeContext.ts'
import { createMerchant } from '../merchants/merchants.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { randomAddress } from '../testing/fixtures.ts'
import { claimIdempotencyKey, endAttempt, idempotencyKeySeconds, maxIdempotencyKeys } from './idempotencyKeys.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const start = new Date('2030-01-01T00:00:00Z')
const later = (seconds: number) => new Date(start.getTime() + seconds * 1_000)
const fingerprint = 'ab'.repeat(32)
const newRequest = () => ({ caller: `key_${randomBytes(8).toString('hex')}`, key: 'order-1', fingerprint })

async function run(request: ReturnType<typeof newRequest>, now = start): Promise<string> {
  const claim = await claimIdempotencyKey(database.db, request, now)
  if (claim.kind !== 'run') throw new Error(`The request was not to be run: ${claim.kind}`)
  return claim.attempt
}

const change = (attempt: string) =>
  withChangeContext({ actor: 'operator', requestId: 'req_1', attempt }, () =>
    createMerchant(database.db, { name: 'Weather', payee: randomAddress() }),
  )

test('one of many at once runs a request, and the others are told so', async () => {
  const request = newRequest()
  const claims = await Promise.all(Array.from({ length: 12 }, () => claimIdempotencyKey(database.db, request, start)))
  const kinds = claims.map(({ kind }) => kind)
  expect(kinds.filter((kind) => kind === 'run')).toHaveLength(1)
  expect(kinds.filter((kind) => kind === 'in_progress')).toHaveLength(11)
})

test('an answer is given again for a day, to the same request of the same caller alone', async () => {
  const request = newRequest()
  const attempt = await run(request)
  const merchant = await change(attempt)
  await endAttempt(database.db, { attempt, status: 201, answer: 'sealed' })
  const ask = (of: Partial<typeof request>, now: Date) => claimIdempotencyKey(database.db, { ...request, ...of }, now)
  const answered = { kind: 'answered', status: 201, answer: 'sealed', subject: merchant.id }
  expect(await ask({}, later(idempotencyKeySeconds - 1))).toEqual(answered)
  expect(await ask({ fingerprint: 'cd'.repeat(32) }, later(1))).toEqual({ kind: 'other_request' })
  expect(await ask({ caller: 'key_other' }, later(1))).toMatchObject({ kind: 'run' })
  expect(await ask({}, later(idempotencyKeySeconds))).toMatchObject({ kind: 'run' })
})

test('a request that changed nothing and did not go well is free again', async () => {
  const request = newRequest()
  await endAttempt(database.db, { attempt: await run(request), status: 503, answer: 'sealed' })
  await run({ ...request, fingerprint: 'cd'.repeat(32) })
})

test('what changed something is kept, however it was answered', async () => {
  const request = newRequest()
  const attempt = await run(request)
  await change(attempt)
  await endAttempt(database.db, { attempt, status: 503, answer: 'sealed' })
  expect(await claimIdempotencyKey(database.db, request, start)).toMatchObject({ kind: 'answered', status: 503 })
})

test('a request whose process ended before it changed anything is run again', async () => {
  const request = newRequest()
  const gone = await run(request)
  expect(await claimIdempotencyKey(database.db, request, later(59))).toEqual({ kind: 'in_progress' })
  const attempt = await run(request, later(61))
  expect(attempt).not.toBe(gone)
  // The process was only slow: it cannot make the change any more.
  const before = await database.query('select id from merchant')
  await expect(change(gone)).rejects.toMatchObject({ cause: { code: '40001' } })
  expect(await database.query('select id from merchant')).toEqual(before)
  await change(attempt)
})

test('a request whose process ended after the change is not run again', async () => {
  const request = newRequest()
  const merchant = await change(await run(request))
  const claim = await claimIdempotencyKey(database.db, request, later(61))
  expect(claim).toEqual({ kind: 'answer_lost', subject: merchant.id })
})

test('a caller has so many keys at most, and old ones are taken away', async () => {
  const { caller } = newRequest()
  await database.query(
    `insert into idempotency_key (caller, key, fingerprint, attempt, lease_until, expires_at)
     select $1, 'k' || n, $2, $1 || n, $3, $4 from generate_series(1, $5) n`,
    [caller, fingerprint, later(60), later(100), maxIdempotencyKeys],
  )
  const claim = (now: Date) => claimIdempotencyKey(database.db, { caller, key: 'more', fingerprint }, now)
  expect(await claim(start)).toEqual({ kind: 'too_many' })
  expect(await claim(later(101))).toMatchObject({ kind: 'run' })
  const [left] = await database.query<{ kept: number }>(
    `select count(*)::int as kept from idempotency_key where caller = $1`,
    [caller],
  )
  expect(left?.kept).toBeLessThan(maxIdempotencyKeys)
})

test('a change is written down by the database with its request, and what is hidden stays so', async () => {
  const requestId = `req_${randomBytes(8).toString('hex')}`
  const merchant = await withChangeContext({ actor: 'key_of_operator', requestId }, () =>
    createMerchant(database.db, { name: 'Maps', payee: randomAddress() }),
  )
  const { items } = await listAudit(database.db, { requestId })
  expect(items).toMatchObject([
    { actor: 'key_of_operator', action: 'merchant_create', subject: merchant.id, requestId, before: null },
  ])
  expect(items[0]?.after).toMatchObject({ name: 'Maps', payee: merchant.payee.toLowerCase() })
  // Without a request there is nobody to name.
  const quiet = await createMerchant(database.db, { name: 'Quiet', payee: randomAddress() })
  expect((await listAudit(database.db, { subject: quiet.id })).items).toEqual([])
})
