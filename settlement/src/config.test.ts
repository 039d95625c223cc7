import { generatePrivateKey } from 'viem/accounts'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'

const address = `0x${'11'.repeat(20)}`
const env = {
  DATABASE_URL: 'postgres://user:hidden@localhost/db',
  RPC_URL: 'http://localhost:8545/key-hidden',
  CHAIN_ID: '8453',
  SESSION_MODULE: address,
  ENTRY_POINT: address,
  TOKEN: address,
  BUNDLER_URL: 'http://localhost/?apikey=hidden',
  PAYMASTER_URL: 'http://localhost/?apikey=hidden',
  PAYMASTER_API_KEY: 'hidden',
  SETTLER_KEY: generatePrivateKey(),
}

test('a whole environment is frozen, with bounds by default', () => {
  const config = loadConfig(env)
  expect(Object.isFrozen(config)).toBe(true)
  expect(config).toMatchObject({ MAX_ATTEMPTS: 3, MAX_IN_FLIGHT: 32, POLL_MS: 1_000 })
})

test('every problem is named at once, and no value is shown', () => {
  const broken = { ...env, BUNDLER_URL: 'hidden', SETTLER_KEY: '0xhidden', MAX_ATTEMPTS: '0' }
  expect(() => loadConfig(broken)).toThrow(/BUNDLER_URL[\s\S]*SETTLER_KEY[\s\S]*MAX_ATTEMPTS/)
  expect(() => loadConfig(broken)).not.toThrow(/hidden/)
})

test('printed, it shows no secret', () => {
  const printed = JSON.stringify(loadConfig(env))
  expect(printed).not.toContain('hidden')
  expect(printed).not.toContain(env.SETTLER_KEY)
})
