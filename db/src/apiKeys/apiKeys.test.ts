import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { authenticateApiKey, issueApiKey, listApiKeys, lockApiKey, revokeApiKey, rotateApiKey } from './apiKeys.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const inAnHour = () => new Date(Date.now() + 3_600_000)
/** The moment is the database's, so the test moves what is compared with it. */
const setMoment = (column: 'expires_at' | 'previous_until', id: string) =>
  database.query(`update api_key set ${column} = now() - interval '1 second' where id = '${id}'`)

test('a key says what it may do and until when, and ends then', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const expiresAt = inAnHour()
  const given = { merchantId: merchant.id, name: 'reports', scopes: ['receipts:read'], expiresAt }
  const { id, key } = await issueApiKey(database.db, given)
  expect(await authenticateApiKey(database.db, key)).toEqual({
    apiKeyId: id,
    merchantId: merchant.id,
    scopes: ['receipts:read'],
    expiresAt,
  })
  await setMoment('expires_at', id)
  expect(await authenticateApiKey(database.db, key)).toBeUndefined()
  expect(await rotateApiKey(database.db, id, 0)).toBeUndefined()
})

test('a rotation gives a new secret, and leaves the old one good for its overlap', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const { id, key: first } = await issueApiKey(database.db, { merchantId: merchant.id, name: 'ci' })
  const second = await rotateApiKey(database.db, id, 3_600)
  expect(second).toMatchObject({ id, previousPrefix: first.slice(0, 11), prefix: second?.key.slice(0, 11) })
  const whose = (key: string | undefined) => authenticateApiKey(database.db, key ?? '')
  expect(await whose(first)).toEqual(await whose(second?.key))
  await setMoment('previous_until', id)
  expect(await whose(first)).toBeUndefined()
  expect(await whose(second?.key)).toMatchObject({ apiKeyId: id })
})

test('two rotations leave two secrets at most, and none of a revoked key', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const { id, key: first } = await issueApiKey(database.db, { merchantId: merchant.id, name: 'ci' })
  const second = await rotateApiKey(database.db, id, 86_400)
  const third = await rotateApiKey(database.db, id, 86_400)
  const whose = (key: string | undefined) => authenticateApiKey(database.db, key ?? '')
  expect(await whose(first)).toBeUndefined()
  expect(await whose(second?.key)).toBeDefined()
  expect(await revokeApiKey(database.db, id)).toBe(true)
  for (const key of [second?.key, third?.key]) expect(await whose(key)).toBeUndefined()
  expect(await rotateApiKey(database.db, id, 0)).toBeUndefined()
})

test('no secret is stored, before or after a rotation', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const { id, key } = await issueApiKey(database.db, { merchantId: merchant.id, name: 'ci' })
  const rotated = await rotateApiKey(database.db, id, 60)
  const stored = JSON.stringify(await database.query('select * from api_key'))
  expect(stored).not.toContain(key)
  expect(stored).not.toContain(rotated?.key)
})

test.each([-1, 86_401, Number.NaN])('an overlap of %d seconds is none', async (seconds) => {
  await expect(rotateApiKey(database.db, 'key_none', seconds)).rejects.toBeInstanceOf(RangeError)
})

test("a merchant neither sees, locks, rotates nor revokes another's key, or the operator's", async () => {
  const [{ merchant: mine }, { merchant: other }] = [
    await arrangeMerchant(database.db),
    await arrangeMerchant(database.db),
  ]
  for (const merchantId of [other.id, null]) {
    const { id, key } = await issueApiKey(database.db, { merchantId, name: 'theirs' })
    await withTenant(database.db, mine.id, async (tx) => {
      expect((await listApiKeys(tx)).items).toEqual([])
      expect(await lockApiKey(tx, id)).toBeUndefined()
      expect(await rotateApiKey(tx, id, 0)).toBeUndefined()
      expect(await revokeApiKey(tx, id)).toBe(false)
    })
    const issue = withTenant(database.db, mine.id, (tx) => issueApiKey(tx, { merchantId, name: 'mine' }))
    await expect(issue).rejects.toThrow()
    expect(await authenticateApiKey(database.db, key)).toMatchObject({ apiKeyId: id })
  }
})
