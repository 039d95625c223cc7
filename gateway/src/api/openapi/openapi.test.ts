import { readFile } from 'node:fs/promises'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { routeScopes } from '../routeScopes.ts'
import { createTestApi, operatorApiKey, type TestApi } from '../testing/testApi.ts'
import { errorStatuses } from './errorStatuses.ts'

type Parameter = { name: string; in: string; required?: boolean; schema: { maximum?: number; minimum?: number } }
type Schema = { properties?: Record<string, { type?: string }>; required?: string[]; $ref?: string }
type Operation = {
  operationId: string
  summary: string
  tags: string[]
  security: Record<string, string[]>[]
  parameters?: Parameter[]
  requestBody?: { content: Record<string, { schema: object }> }
  responses: Record<string, { content?: Record<string, { schema: Schema }> }>
}
type Document = {
  openapi: string
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, Schema> }
}

let database: TestDatabase
let api: TestApi
let document: Document

beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  api = createTestApi(database.db)
  const response = await api.app.request('/api/openapi.json')
  expect(response.status).toBe(200)
  document = JSON.parse(await response.text())
})
afterAll(() => database.drop())

const operations = () =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
  )

test('every route of the API is in the document', () => {
  const routes = api.app.routes.filter(({ method }) => method !== 'ALL')
  expect(routes.length).toBeGreaterThan(60)
  const missing = routes.filter(({ method, path }) => {
    const template = path.replace(/\/$/, '').replaceAll(/:(\w+)/g, '{$1}')
    return document.paths[template]?.[method.toLowerCase()] === undefined
  })
  expect(missing.map(({ method, path }) => `${method} ${path}`)).toEqual([])
})

test('operations have a name of their own, a summary, a tag, and answers', () => {
  expect(document.openapi).toBe('3.1.0')
  const ids = operations().map(({ operation }) => operation.operationId)
  expect(ids.filter((id, index) => ids.indexOf(id) !== index)).toEqual([])
  for (const { path, method, operation } of operations()) {
    expect(operation.summary, `${method} ${path}`).toMatch(/\.$/)
    expect(operation.tags, `${method} ${path}`).toHaveLength(1)
    expect(Object.keys(operation.responses), `${method} ${path}`).toContain('500')
  }
})

test('a route that a key opens names the scope that it asks of the key', () => {
  const named = operations().flatMap(({ path, method, operation }) =>
    operation.security.flatMap(({ apiKey }) => {
      const route = `${method.toUpperCase()} ${path.slice('/api'.length).replaceAll(/\{(\w+)\}/g, ':$1')}`
      return apiKey === undefined ? [] : [[route, apiKey[0] ?? 'any']]
    }),
  )
  expect(Object.fromEntries(named)).toEqual(routeScopes)
})

// Signing in and the links of alerts work once by themselves; a charge is named by the request id of its payment.
test('what changes something takes an Idempotency-Key, but for signing in, the links of alerts and charges', () => {
  const without = operations()
    .filter(({ method }) => method !== 'get')
    .filter(({ operation }) => !operation.parameters?.some(({ name }) => name === 'Idempotency-Key'))
  expect(without.map(({ operation }) => operation.operationId).toSorted()).toEqual(
    ['createNonce', 'endSession', 'openSession', 'useAlertLink', ...chargeIds].toSorted(),
  )
})

const chargeIds = ['createCharge', 'captureCharge', 'extendCharge', 'settleCharge', 'serveCharge', 'releaseCharge']

test('every route of the charges API is in the document, with what it takes, answers and refuses', () => {
  const charges = operations().filter(({ path }) => /^\/api\/charges(\/|$)/.test(path))
  expect(charges.map(({ operation }) => operation.operationId).toSorted()).toEqual(chargeIds.toSorted())
  for (const { method, path, operation } of charges) {
    expect([method, operation.tags, operation.security], path).toEqual([
      'post',
      ['charges'],
      [{ apiKey: ['charges:write'] }],
    ])
    for (const status of ['200', '401', '403', '404', '413', '500', '503']) {
      expect(Object.keys(operation.responses), path).toContain(status)
    }
  }
  const withBody = charges.filter(({ operation }) => operation.requestBody)
  expect(withBody.map(({ operation }) => operation.operationId).toSorted()).toEqual(
    ['createCharge', 'captureCharge', 'extendCharge'].toSorted(),
  )
  const codesOf = (path: string, status: number) =>
    JSON.stringify(document.paths[path]?.post?.responses[status]?.content?.['application/problem+json']?.schema)
  expect(codesOf('/api/charges', 409)).toContain('ticket.used')
  expect(codesOf('/api/charges/{ticket}/served', 409)).toContain('ticket.not_settled')
  expect(codesOf('/api/charges/{ticket}/capture', 404)).toContain('ticket.unknown')
  const body = JSON.stringify(document.paths['/api/charges']?.post?.requestBody)
  for (const name of ['service', 'paymentSignature', 'holdAtomic', 'settles']) expect(body).toContain(`"${name}"`)
})

test('every list is read page by page, 1 to 100 at a time', () => {
  // Bounded by themselves: at most 100 grants of a key, the receipts of one request, settings of one account.
  const whole = ['getLimits', 'getReceipts', 'ownerGetReceipts', 'ownerGetVoucherPolicy']
  const lists = operations().filter(({ method, path, operation }) => {
    const schema = operation.responses['200']?.content?.['application/json']?.schema
    const resolved = schema?.$ref ? document.components.schemas[schema.$ref.split('/').at(-1) ?? ''] : schema
    const hasList = Object.values(resolved?.properties ?? {}).some(({ type }) => type === 'array')
    return method === 'get' && hasList && !/\{(id|deliveryId)\}$/.test(path) && !whole.includes(operation.operationId)
  })
  expect(lists.length).toBeGreaterThan(20)
  for (const { path, operation } of lists) {
    const query = operation.parameters?.filter((parameter) => parameter.in === 'query') ?? []
    const limit = query.find(({ name }) => name === 'limit')
    expect(limit?.schema, path).toMatchObject({ minimum: 1, maximum: 100 })
    expect(query.find(({ name }) => name === 'cursor')?.required ?? false, path).toBe(false)
    const schema = operation.responses['200']?.content?.['application/json']?.schema
    expect(schema?.properties, path).toHaveProperty('nextCursor')
    expect(schema?.required, path).not.toContain('nextCursor')
  }
})

test('each code that the document names is explained', async () => {
  const errors = await readFile(new URL('../../../../docs/errors.md', import.meta.url), 'utf8')
  const missing = Object.keys(errorStatuses).filter((code) => !errors.includes(`</a>\`${code}\``))
  expect(missing).toEqual([])
})

test('the document and its page are for everybody, and load nothing from elsewhere', async () => {
  const page = await api.app.request('/api/reference')
  expect(page.headers.get('content-security-policy')).toContain("script-src 'self'")
  const html = await page.text()
  const parts = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, part = '']) => part)
  expect(parts).toHaveLength(3)
  for (const part of parts) {
    const response = await api.app.request(`/api/${part}`)
    expect([part, response.status]).toEqual([part, 200])
    expect((await response.arrayBuffer()).byteLength).toBeGreaterThan(100)
  }
  expect((await api.app.request('/api/services')).status).toBe(401)
  expect((await api.get('/services', operatorApiKey)).status).toBe(200)
})
