import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { usageFeedLineSchema } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { accountStateOf, createPayer, useOf } from '../meter/testing/builders.ts'
import { createTestApi, operatorApiKey, type TestApi } from './testing/testApi.ts'

let database: TestDatabase
let api: TestApi
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
})
afterAll(() => database.drop())

test("the operator's sentinel is told of a charge as a line of JSON, and leaves when it wants", async () => {
  const payer = createPayer()
  await api.meter.mirror(accountStateOf(payer))
  const use = useOf(payer)
  expect(await api.meter.charge(use)).toMatchObject({ ok: true })
  const leaving = new AbortController()
  const response = await api.app.request('/api/usage/feed', {
    headers: { authorization: `Bearer ${operatorApiKey}` },
    signal: leaving.signal,
  })
  expect(response.headers.get('content-type')).toBe('application/x-ndjson')
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader()
  const { value = '' } = (await reader?.read()) ?? {}
  const [event, ...others] = usageFeedLineSchema.parse(JSON.parse(value)).events
  expect(others).toEqual([])
  expect(event).toMatchObject({ ...payer, requestId: use.requestId, amountAtomic: '10', service: 'weather' })
  await reader?.cancel()
  leaving.abort()
})

test('a merchant is not told what others charge', async () => {
  const merchant = await api.createMerchant('Curious Inc')
  expect(await api.get('/usage/feed', merchant.key)).toMatchObject({ status: 403, body: { code: 'operator.required' } })
})
