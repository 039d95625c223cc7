import type { PricedRoute, Pricing } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant, usdc } from '../testing/fixtures.ts'
import { createService, getService, listAllServices, updateService } from './services.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const rate = { price: 2n ** 53n - 1n, per: 1_000_000n }
const pricings: Pricing[] = [
  { kind: 'call' },
  { kind: 'unit', unit: 'page', rate },
  { kind: 'token', input: rate, output: { price: 600_000n, per: 1_000_000n } },
  { kind: 'byte', rate },
  { kind: 'second', rate },
]

test('a service has the pricing and the routes that it was given, to the last base unit', async () => {
  const { merchant } = await arrangeMerchant(database.db)
  const base = { merchantId: merchant.id, price: 10_000n, token: usdc }
  const plain = await createService(database.db, { ...base, name: 'plain', pathPrefix: '/plain' })
  expect(plain).toMatchObject({ pricing: { kind: 'call' }, routes: [], voucherGraceMs: 10_000 })

  const routes = pricings.map(
    (pricing, index): PricedRoute => ({
      method: index === 0 ? undefined : 'POST',
      path: `/v1/${pricing.kind}/:id`,
      query: index === 0 ? undefined : { size: 'large' },
      price: 2n ** 53n - 1n,
      pricing,
      exactPrice: index === 0 ? 7n : undefined,
    }),
  )
  for (const pricing of pricings) {
    const { id } = await createService(database.db, {
      ...base,
      name: pricing.kind,
      pathPrefix: `/${pricing.kind}`,
      pricing,
      routes,
      voucherGraceMs: 500,
    })
    const service = await getService(database.db, id)
    expect(service).toMatchObject({ pricing, voucherGraceMs: 500 })
    expect(service?.routes).toEqual(routes)
    expect((await listAllServices(database.db)).find((one) => one.id === id)).toMatchObject({ pricing })
    expect(await updateService(database.db, id, { price: 5n })).toMatchObject({ pricing, price: 5n })
    expect(await updateService(database.db, id, { pricing: { kind: 'call' }, routes: [] })).toMatchObject({
      pricing: { kind: 'call' },
      routes: [],
    })
  }
})
