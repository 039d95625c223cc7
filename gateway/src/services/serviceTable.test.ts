import { expect, test } from 'vitest'
import { createServiceTable, type Service } from './serviceTable.ts'

const service: Service = {
  id: 'svc_1',
  name: 'weather',
  merchantId: 'mer_1',
  payee: '0x00000000000000000000000000000000000000a1',
  token: '0x00000000000000000000000000000000000000a2',
  price: 1_000n,
  pathPrefix: '/weather',
  upstream: 'http://weather.test',
  upstreamTimeoutMs: 1_000,
}

function arrange() {
  const state = { stored: [] as Service[], loads: 0, nowMs: 1_000_000, isUp: true }
  const table = createServiceTable(
    async () => {
      state.loads++
      if (!state.isUp) throw new Error('Postgres is gone.')
      return state.stored
    },
    () => state.nowMs,
  )
  return { state, table, findWeather: () => table.findAnew(() => table.match('/weather/today')) }
}

test('the longest prefix of whole segments is the service', async () => {
  const { state, table } = arrange()
  state.stored = [service, { ...service, id: 'svc_2', name: 'maps', pathPrefix: '/weather/maps' }]
  await table.refresh()
  const idOf = (path: string) => table.match(path)?.id
  expect(['/weather', '/weather/maps/1', '/weather/maps2', '/weathers', '/'].map(idOf)).toEqual([
    'svc_1',
    'svc_2',
    'svc_1',
    undefined,
    undefined,
  ])
  expect(table.byName('mer_1', 'maps')?.id).toBe('svc_2')
  expect(table.byName('mer_2', 'maps')).toBeUndefined()
})

test('a service that another gateway made a moment ago is found by the first call', async () => {
  const { state, table, findWeather } = arrange()
  await table.refresh()
  state.stored = [service]
  expect(table.match('/weather')).toBeUndefined()
  expect(await findWeather()).toBe(service)
})

test('however much is looked for in vain, Postgres is asked once a second', async () => {
  const { state, findWeather } = arrange()
  expect(await Promise.all(Array.from({ length: 50 }, findWeather))).toEqual(Array.from({ length: 50 }))
  expect(await findWeather()).toBeUndefined()
  expect(state.loads).toBe(1)
  state.nowMs += 1_000
  state.stored = [service]
  expect(await findWeather()).toBe(service)
  expect(state.loads).toBe(2)
})

test('while Postgres is gone nothing is found anew, and what was known stays', async () => {
  const { state, table, findWeather } = arrange()
  state.stored = [service]
  await table.refresh()
  state.isUp = false
  expect(await table.findAnew(() => table.match('/maps'))).toBeUndefined()
  expect(await findWeather()).toBe(service)
})
