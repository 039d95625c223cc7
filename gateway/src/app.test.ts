import { beforeAll, expect, test } from 'vitest'
import { createTestGateway } from './payment/testing/testGateway.ts'

const atService = createTestGateway({ service: { pathPrefix: '/healthy' } })
const atApi = createTestGateway({ service: { pathPrefix: '/api/weather' } })
beforeAll(async () => {
  await atService.ready()
  await atApi.ready()
})

test.each(['/healthy', '/healthy/today', '/%68ealthy', '/healthy?a=/health'])('%s is a service', async (path) => {
  const answer = await atService.app.request(path)
  expect(answer.status).toBe(402)
  expect(answer.headers.get('traceresponse')).toMatch(/^00-/)
})

test.each(['/health', '/%68ealth', '/health?a=/healthy'])('%s is a route of the gateway', async (path) => {
  expect(await (await atService.app.request(path)).json()).toEqual({ status: 'ok' })
})

test.each(['/api/none', '/health/none', '/none', '/'])('%s, which is neither, is an unknown service', async (path) => {
  const answer = await atService.app.request(path)
  expect(answer.status).toBe(404)
  expect(await answer.json()).toMatchObject({ code: 'service.unknown' })
})

test('a service whose path begins as a route of the gateway does is served where no route is', async () => {
  expect((await atApi.app.request('/api/weather/today')).status).toBe(402)
})

test.each(['/healthy', '/api/none'])('a failure at %s is a problem, not a stack', async (path) => {
  const { app } = atService
  const answer = await app.request(
    path,
    {},
    {
      get incoming() {
        throw new Error('broken')
      },
    },
  )
  expect(answer.status).toBe(500)
  expect(await answer.json()).toMatchObject({ code: 'internal' })
})
