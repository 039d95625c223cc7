import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createMerchant, createService, listAllServices, updateService } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { randomAddress } from '../../api/testing/testApi.ts'
import { createServicesFile, ServicesFileError } from './servicesFile.ts'

const token = randomAddress()
const payee = randomAddress()
const soon = { timeout: 60_000 }
let database: TestDatabase
let folder: string
let path: string
const stops: (() => Promise<void>)[] = []

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'services-file-'))
  path = join(folder, 'services.yaml')
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  await rm(folder, { recursive: true })
})
afterAll(() => database.drop())

/** A file with one merchant, and these services' prices by name. */
function write(prices: Record<string, string>): Promise<void> {
  const services = Object.entries(prices).map(
    ([name, price]) => `      - name: ${name}\n        pathPrefix: /${name}\n        price: ${price}\n`,
  )
  const list = services.length === 0 ? ' []' : `\n${services.join('')}`
  return writeFile(path, `merchants:\n  - name: Weather Inc\n    payee: ${payee}\n    services:${list}\n`)
}

function createFile() {
  const seen = { applied: 0, isInvalid: false }
  const file = createServicesFile({
    path,
    db: database.db,
    token,
    tokenDecimals: 6,
    logger: pino({ level: 'silent' }),
    async onApplied() {
      seen.applied++
    },
    onState(isInvalid) {
      seen.isInvalid = isInvalid
    },
    pollMs: 10,
  })
  return {
    ...file,
    seen,
    start() {
      const stopping = new AbortController()
      const running = file.run(stopping.signal)
      stops.push(async () => {
        stopping.abort()
        await running
      })
    },
  }
}

async function pricesOf(): Promise<Record<string, bigint>> {
  const services = (await listAllServices(database.db)).filter((service) => service.payee === payee)
  return Object.fromEntries(services.map(({ name, price }) => [name, price]))
}

test('a file is applied, and again whenever it changes', async () => {
  await write({ weather: '0.01', maps: '0.02' })
  const file = createFile()
  expect(await file.apply()).toMatchObject({ created: 2 })
  expect(file.seen.applied).toBe(1)
  file.start()
  await write({ weather: '0.03' })
  await expect.poll(pricesOf, soon).toEqual({ weather: 30_000n })
  await expect.poll(() => file.seen.applied, soon).toBeGreaterThan(1)
  await write({})
  await expect.poll(pricesOf, soon).toEqual({})
})

test('gateways that read the same file make what it says once', async () => {
  await write({ weather: '0.01', maps: '0.02', chat: '0.03' })
  const applied = await Promise.all(Array.from({ length: 4 }, () => createFile().apply()))
  expect(applied.filter(({ created, changed }) => created + changed > 0)).toHaveLength(1)
  expect(await pricesOf()).toEqual({ weather: 10_000n, maps: 20_000n, chat: 30_000n })
})

test('a file that is wrong is not applied: at the start it is an error, later the last one counts', async () => {
  await write({ weather: 'free' })
  const broken = createFile().apply()
  await expect(broken).rejects.toBeInstanceOf(ServicesFileError)
  await expect(broken).rejects.toThrow(/services\.yaml\nline 7, merchants\[0\]\.services\[0\]\.price: /)

  await write({ weather: '0.05' })
  const file = createFile()
  await file.apply()
  file.start()
  await write({ weather: 'free' })
  await expect.poll(() => file.seen.isInvalid, soon).toBe(true)
  await rm(path)
  expect(await pricesOf()).toEqual({ weather: 50_000n })
  await write({ weather: '0.06' })
  await expect.poll(pricesOf, soon).toEqual({ weather: 60_000n })
  await expect.poll(() => file.seen.isInvalid, soon).toBe(false)
})

test('a path that another service has is told with its line, and nothing is applied', async () => {
  const { id: merchantId } = await createMerchant(database.db, { name: 'Other', payee: randomAddress() })
  await createService(database.db, { merchantId, name: 'theirs', pathPrefix: '/theirs', price: 1n, token })
  await write({ weather: '0.07' })
  await createFile().apply()
  await write({ weather: '0.08', theirs: '0.08' })
  await expect(createFile().apply()).rejects.toThrow(
    'line 9, merchants[0].services[1].pathPrefix: The path /theirs is in use by another service.',
  )
  expect(await pricesOf()).toEqual({ weather: 70_000n })
})

test('a path that a merchant has taken keeps no gateway from starting, and the file is applied once it is free', async () => {
  const { id: merchantId } = await createMerchant(database.db, { name: 'Squatter', payee: randomAddress() })
  const taken = { merchantId, name: 'squat', pathPrefix: '/squat', price: 1n, token }
  const { id } = await createService(database.db, taken)
  await write({ weather: '0.09', squat: '0.09' })
  const file = createFile()
  await file.applyAtStart()
  expect(file.seen.isInvalid).toBe(true)
  file.start()
  await updateService(database.db, id, { pathPrefix: '/elsewhere' })
  await expect.poll(pricesOf, soon).toEqual({ weather: 90_000n, squat: 90_000n })
  await expect.poll(() => file.seen.isInvalid, soon).toBe(false)

  await write({ weather: 'free' })
  await expect(createFile().applyAtStart()).rejects.toBeInstanceOf(ServicesFileError)
})

test('a file that is not there is an error that says so', async () => {
  await expect(createFile().apply()).rejects.toThrow(/cannot be read: ENOENT/)
})
