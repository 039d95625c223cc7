import { eq } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { withChangeContext } from '../audit/changeContext.ts'
import { createMerchant, getMerchantByPayee } from '../merchants/merchants.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { randomAddress } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { applyServicesFile, type FileService } from './applyServicesFile.ts'
import {
  createService,
  getService,
  listAllServices,
  type Service,
  ServiceManagedError,
  updateService,
} from './services.ts'
import { ServiceTakenError } from './serviceTaken.ts'
import { serviceTable } from './table.ts'

const token = randomAddress()
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

/** A merchant of a file that names nobody else, under paths that no other test has. */
function newMerchant() {
  const payee = randomAddress()
  const root = `/${payee.slice(2, 12)}`
  return {
    payee,
    service: (name: string, change: Partial<FileService> = {}): FileService => ({
      name,
      pathPrefix: `${root}/${name}`,
      price: 10_000n,
      ...change,
    }),
    apply: (...services: FileService[]) =>
      applyServicesFile(database.db, { token, merchants: [{ name: 'Weather Inc', payee, services }] }),
    /** What is served, by name. */
    async read(): Promise<Record<string, Service>> {
      const all = await listAllServices(database.db)
      return Object.fromEntries(all.filter((service) => service.payee === payee).map((one) => [one.name, one]))
    },
  }
}

async function one(services: Promise<Record<string, Service>>): Promise<Service> {
  const [service] = Object.values(await services)
  if (!service) throw new Error('no service is served')
  return service
}

test('the first application makes merchant and services, and the next changes nothing', async () => {
  const { apply, read, service } = newMerchant()
  const services = [
    service('weather', { upstream: 'http://10.0.0.1:8080', maxCallsPerMinute: 60 }),
    service('chat', {
      pricing: {
        kind: 'token',
        input: { price: 1n, per: 1_000n },
        output: { price: 4n, per: 1_000n },
      },
      routes: [{ path: '/free', price: 1n, pricing: { kind: 'call' } }],
      exactPrice: 20_000n,
      threshold: 5n,
    }),
  ]
  expect(await apply(...services)).toMatchObject({ merchants: 1, created: 2, changed: 0 })
  const made = await read()
  expect(made).toMatchObject({
    weather: {
      upstream: 'http://10.0.0.1:8080',
      upstreamTrusted: true,
      managedBy: 'file',
      token,
      threshold: 10_000_000n,
      maxAgeSeconds: 86_400,
      upstreamTimeoutMs: 30_000,
      pricing: { kind: 'call' },
    },
    chat: { ...services[1], upstream: undefined, upstreamTrusted: false },
  })
  expect(await apply(...services)).toEqual({ merchants: 0, created: 0, changed: 0, released: 0 })
  expect(await read()).toEqual(made)
})

test('gateways that apply the same file at once apply it once', async () => {
  const { apply, service, read } = newMerchant()
  const services = ['a', 'b', 'c'].map((name) => service(name))
  const applied = await Promise.all(Array.from({ length: 6 }, () => apply(...services)))
  expect(applied.reduce((sum, { created }) => sum + created, 0)).toBe(3)
  expect(applied.reduce((sum, { merchants }) => sum + merchants, 0)).toBe(1)
  expect(Object.keys(await read()).sort()).toEqual(['a', 'b', 'c'])
})

test('what the file does not say any more has its default again', async () => {
  const { apply, service, read } = newMerchant()
  const said = { exactPrice: 5n, maxCallsPerDay: 3, enabled: true, upstream: 'https://api.example.com' }
  await apply(service('weather', said))
  const { id } = await one(read())
  expect(await apply(service('weather', { price: 7n, exactPrice: null }))).toMatchObject({ changed: 1 })
  expect(await getService(database.db, id)).toMatchObject({
    price: 7n,
    exactPrice: undefined,
    maxCallsPerDay: undefined,
    upstream: undefined,
    upstreamTrusted: false,
  })
})

test('a service keeps its id when its name or its path changes, and when two change places', async () => {
  const { apply, service, read } = newMerchant()
  await apply(service('a'), service('b'))
  const { a, b } = await read()
  await apply(service('a', { pathPrefix: b?.pathPrefix ?? '' }), service('b', { pathPrefix: a?.pathPrefix ?? '' }))
  expect(await read()).toMatchObject({
    a: { id: a?.id, pathPrefix: b?.pathPrefix },
    b: { id: b?.id, pathPrefix: a?.pathPrefix },
  })
  await apply(
    service('renamed', { pathPrefix: b?.pathPrefix ?? '' }),
    service('b', { pathPrefix: a?.pathPrefix ?? '' }),
  )
  expect(await read()).toMatchObject({ renamed: { id: a?.id }, b: { id: b?.id } })
})

test('what the file does not name any more is disabled, and the API may change it again', async () => {
  const { apply, service, read } = newMerchant()
  await apply(service('old'), service('kept'))
  const { old } = await read()
  const id = old?.id ?? ''
  await expect(updateService(database.db, id, { price: 1n })).rejects.toBeInstanceOf(ServiceManagedError)
  // Its path is given to another at once.
  expect(await apply(service('kept', { pathPrefix: old?.pathPrefix ?? '' }))).toMatchObject({ changed: 1, released: 1 })
  expect(Object.keys(await read())).toEqual(['kept'])
  expect(await getService(database.db, id)).toMatchObject({ enabled: false, managedBy: 'api' })
  expect(await updateService(database.db, id, { price: 1n })).toMatchObject({ price: 1n })
  await apply(service('kept'), service('old'))
  expect(await read()).toMatchObject({ old: { id, price: 10_000n, managedBy: 'file' } })
})

test('a service of the same name that the API made becomes the one of the file', async () => {
  const { apply, service, payee, read } = newMerchant()
  const { id: merchantId } = await createMerchant(database.db, { name: 'Known Inc', payee })
  const { name, pathPrefix, price } = service('weather')
  const made = await createService(database.db, { merchantId, name, pathPrefix, price, token, maxAgeSeconds: 1 })
  expect(await apply(service('weather'))).toMatchObject({ merchants: 0, created: 0, changed: 1 })
  expect(await one(read())).toMatchObject({ id: made.id, managedBy: 'file', maxAgeSeconds: 86_400 })
  expect(await getMerchantByPayee(database.db, payee)).toMatchObject({ name: 'Known Inc' })
})

test('a path of a service that is not of the file is refused, and then nothing of the file is applied', async () => {
  const other = newMerchant()
  const { id: merchantId } = await createMerchant(database.db, { name: 'Other Inc', payee: other.payee })
  const path = '/taken-by-the-api'
  await createService(database.db, { merchantId, name: 'theirs', pathPrefix: path, price: 1n, token })
  const { apply, service, read } = newMerchant()
  await apply(service('weather'))
  const before = await read()
  const refused = apply(service('weather', { price: 1n }), service('new'), service('wrong', { pathPrefix: path }))
  await expect(refused).rejects.toBeInstanceOf(ServiceTakenError)
  await expect(refused).rejects.toMatchObject({ taken: { pathPrefix: path } })
  expect(await read()).toEqual(before)
})

test('changes are in the audit in the name of who applied the file', async () => {
  const { apply, service, read } = newMerchant()
  await withChangeContext({ actor: 'services_file', requestId: 'a-version' }, () => apply(service('weather')))
  const { id } = await one(read())
  const entries = await database.query('SELECT actor, action, request_id FROM audit_entry WHERE subject = $1', [id])
  expect(entries).toEqual([{ actor: 'services_file', action: 'service_create', request_id: 'a-version' }])
})

test('what the file does not name any more cannot be switched on again with an upstream that it alone could name', async () => {
  const { apply, service, payee, read } = newMerchant()
  await apply(service('internal', { upstream: 'http://10.0.0.1', upstreamTrusted: true }))
  const { id } = await one(read())
  await apply(service('other'))
  const merchantId = (await getMerchantByPayee(database.db, payee))?.id ?? ''
  const again = await withTenant(database.db, merchantId, (tx) => updateService(tx, id, { enabled: true, price: 1n }))
  expect(again).toMatchObject({ enabled: true, upstreamTrusted: false })
})

test('a merchant cannot make an upstream trusted, or change what the file manages, whatever is written in their name', async () => {
  const { apply, service, payee, read } = newMerchant()
  await apply(service('weather'))
  const { id } = await one(read())
  const merchantId = (await getMerchantByPayee(database.db, payee))?.id ?? ''
  const write = withTenant(database.db, merchantId, (tx) =>
    tx.update(serviceTable).set({ price: 1n }).where(eq(serviceTable.id, id)),
  )
  await expect(write).rejects.toMatchObject({ cause: { code: '42501' } })

  const upstream = 'http://10.0.0.1'
  const own = await withTenant(database.db, merchantId, (tx) =>
    createService(tx, {
      merchantId,
      name: 'own',
      pathPrefix: `/own-${id}`,
      price: 1n,
      token,
      upstream,
      upstreamTrusted: true,
    }),
  )
  expect(own).toMatchObject({ upstreamTrusted: false, managedBy: 'api' })
  const change = (to: Parameters<typeof updateService>[2]) =>
    withTenant(database.db, merchantId, (tx) => updateService(tx, own.id, to))
  expect(await change({ upstreamTrusted: true })).toMatchObject({ upstreamTrusted: false })
  await updateService(database.db, own.id, { upstreamTrusted: true })
  expect(await change({ price: 2n })).toMatchObject({ upstreamTrusted: true })
  expect(await change({ upstream: 'http://10.0.0.2', upstreamTrusted: true })).toMatchObject({ upstreamTrusted: false })
})
