import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { crossOrigin, originsOnly } from './crossOrigin.ts'

const seen: string[] = []
const app = new Hono()
app.use('/weather', crossOrigin)
app.use('/owner/*', originsOnly(['https://console.example']))
app.all('*', (c) => {
  seen.push(c.req.method)
  return c.body('served', 402, {
    'payment-required': 'offer',
    'access-control-allow-origin': 'https://upstream.example',
  })
})

const ask = (path: string, method: string, headers: Record<string, string>) => app.request(path, { method, headers })
const origin = 'https://page.example'

test('a page of any origin may call and read every header of the answer', async () => {
  const { status, headers } = await ask('/weather', 'GET', { origin })
  expect(status).toBe(402)
  expect(headers.get('access-control-allow-origin')).toBe('*')
  expect(headers.get('access-control-expose-headers')).toBe('*')
  expect(headers.get('access-control-allow-credentials')).toBeNull()
})

test("a browser's question beforehand is answered and reaches nothing that costs", async () => {
  seen.length = 0
  const asked = { 'access-control-request-method': 'POST', 'access-control-request-headers': 'payment-signature' }
  const { status, headers } = await ask('/weather', 'OPTIONS', { origin, ...asked })
  expect(status).toBe(204)
  expect(headers.get('access-control-allow-headers')).toBe('payment-signature')
  expect(headers.get('access-control-allow-methods')).toContain('POST')
  expect(seen).toEqual([])
})

test('OPTIONS that is no such question is a call like any other, and without an origin nothing is added', async () => {
  seen.length = 0
  expect((await ask('/weather', 'OPTIONS', { origin })).status).toBe(402)
  const { headers } = await ask('/weather', 'GET', {})
  expect(headers.get('access-control-allow-origin')).toBe('https://upstream.example')
  expect(seen).toEqual(['OPTIONS', 'GET'])
})

test('routes with sessions are open to the pages that are named, and to no others', async () => {
  const allowed = async (from: string) =>
    (await ask('/owner/grants', 'OPTIONS', { origin: from, 'access-control-request-method': 'GET' })).headers.get(
      'access-control-allow-origin',
    )
  expect(await allowed('https://console.example')).toBe('https://console.example')
  expect(await allowed('https://console.example.evil')).toBeNull()
})
