import { randomBytes } from 'node:crypto'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'

const address = '0x70997970c51812dc3a010c7d01b50e0d17dc79c8'
const env = {
  DATABASE_URL: 'postgres://localhost/stream',
  RPC_URL: 'http://localhost:8545',
  CHAIN_ID: '31337',
  SESSION_MODULE: address,
  ENTRY_POINT: address,
  TOKEN: address,
  SETTLER_ADDRESS: address,
  OPERATOR_API_KEY: 'x'.repeat(24),
}

test('without settings of webhooks none are sent, and private networks are closed', () => {
  const config = loadConfig(env)
  expect(config.WEBHOOK_ENCRYPTION_KEYS).toBeUndefined()
  expect(config.WEBHOOK_ALLOW_PRIVATE_NETWORKS).toBe(false)
})

test('keys that seal are read from base64, in their order', () => {
  const keys = [randomBytes(32), randomBytes(32)]
  const text = keys.map((key) => key.toString('base64')).join(',')
  expect(loadConfig({ ...env, WEBHOOK_ENCRYPTION_KEYS: text }).WEBHOOK_ENCRYPTION_KEYS).toEqual(keys)
})

test('a Redis is one URL, and a Redis Cluster several', () => {
  const cluster = 'redis://10.0.0.1:6379, rediss://10.0.0.2:6379'
  for (const url of ['redis://127.0.0.1:6379', cluster])
    expect(loadConfig({ ...env, REDIS_URL: url }).REDIS_URL).toBe(url)
  for (const wrong of ['', '10.0.0.1:6379', 'http://10.0.0.1', 'redis://10.0.0.1:6379,']) {
    expect(() => loadConfig({ ...env, REDIS_URL: wrong }), wrong).toThrow(/REDIS_URL/)
  }
})

test('everything that is wrong is named at once, and no value with it', () => {
  const secret = randomBytes(31).toString('base64')
  const wrong = { WEBHOOK_ENCRYPTION_KEYS: secret, WEBHOOK_ALLOW_PRIVATE_NETWORKS: 'yes', WEBHOOK_TIMEOUT_MS: '0' }
  const message = (() => {
    try {
      return String(loadConfig({ ...env, ...wrong }))
    } catch (error) {
      return String(error)
    }
  })()
  for (const name of Object.keys(wrong)) expect(message).toContain(name)
  expect(message).not.toContain(secret)
})

test('pages that owners sign in at are origins, and nothing that only looks like one', () => {
  const origins = ['https://console.example.com', 'http://localhost:5173']
  expect(loadConfig({ ...env, OWNER_ORIGINS: origins.join(', ') }).OWNER_ORIGINS).toEqual(origins)
  for (const wrong of ['console.example.com', 'https://console.example.com/', 'https://a.b/path', 'ftp://a.b', '']) {
    expect(() => loadConfig({ ...env, OWNER_ORIGINS: wrong }), wrong).toThrow(/OWNER_ORIGINS/)
  }
})

test('hosts that upstreams may be at are read as a URL reads them, and what is none is refused', () => {
  expect(loadConfig(env).UPSTREAM_ALLOWED_HOSTS).toEqual([])
  const hosts = loadConfig({ ...env, UPSTREAM_ALLOWED_HOSTS: 'API.internal, 0x0a000307:8080,[fd00::7]' })
  expect(hosts.UPSTREAM_ALLOWED_HOSTS).toEqual(['api.internal', '10.0.3.7:8080', 'fd00::7'])
  for (const wrong of ['', 'http://api.internal', 'api.internal/v1', 'api.internal:0', 'a,']) {
    expect(() => loadConfig({ ...env, UPSTREAM_ALLOWED_HOSTS: wrong }), wrong).toThrow(/UPSTREAM_ALLOWED_HOSTS/)
  }
})
