import { receiptKeySetSchema } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { createReceiptKeysRoute } from './createReceiptKeysRoute.ts'
import { createReceiptSigner } from './createReceiptSigner.ts'

const now = createReceiptSigner(`0x${'7a'.repeat(32)}`)
const before = createReceiptSigner(`0x${'1b'.repeat(32)}`)

function publishedBy(...args: Parameters<typeof createReceiptKeysRoute>) {
  return new Hono().get('/keys', createReceiptKeysRoute(...args)).request('/keys')
}

test('the key that signs is published with those that did, each once, for anybody to keep for five minutes', async () => {
  const response = await publishedBy(now, [before.key, now.key])
  expect(response.headers.get('cache-control')).toBe('public, max-age=300')
  expect(response.headers.get('access-control-allow-origin')).toBe('*')
  expect(receiptKeySetSchema.parse(await response.json())).toEqual({ keys: [now.key, before.key] })
  expect(await (await publishedBy(undefined, [])).json()).toEqual({ keys: [] })
})

const env = {
  DATABASE_URL: 'postgres://127.0.0.1/stream',
  RPC_URL: 'http://127.0.0.1:8545',
  CHAIN_ID: '31337',
  SESSION_MODULE: `0x${'a'.repeat(40)}`,
  ENTRY_POINT: `0x${'d'.repeat(40)}`,
  TOKEN: `0x${'c'.repeat(40)}`,
  SETTLER_ADDRESS: `0x${'b'.repeat(40)}`,
  OPERATOR_API_KEY: 'operator-key-of-a-test-0001',
}

test('what a gateway publishes is what another is configured with', () => {
  const config = loadConfig({
    ...env,
    RECEIPT_KEY: `0x${'7a'.repeat(32)}`,
    RECEIPT_PUBLIC_KEYS: JSON.stringify({ keys: [before.key] }),
  })
  expect(config.RECEIPT_PUBLIC_KEYS).toEqual([before.key])
  expect(config.RECEIPT_KEY && createReceiptSigner(config.RECEIPT_KEY).key).toEqual(now.key)
  expect(loadConfig({ ...env, RECEIPT_KEY: '' }).RECEIPT_KEY).toBeUndefined()
})

test.each([
  ['RECEIPT_KEY', '0x12'],
  ['RECEIPT_KEY', `0x${'00'.repeat(32)}`],
  ['RECEIPT_KEY', `0x${'ff'.repeat(32)}`],
  ['RECEIPT_PUBLIC_KEYS', 'keys'],
  ['RECEIPT_PUBLIC_KEYS', '{"keys":[{"kty":"RSA"}]}'],
])('a gateway with %s=%s does not start, and says why without showing it', (name, value) => {
  const load = () => loadConfig({ ...env, [name]: value })
  expect(load).toThrow(name)
  expect(load).not.toThrow(value)
})
