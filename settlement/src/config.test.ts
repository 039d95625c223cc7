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
  expect(() => loadConfig(broken)).toThrow(/MAX_ATTEMPTS[\s\S]*BUNDLER_URL[\s\S]*SETTLER_KEY/)
  expect(() => loadConfig(broken)).not.toThrow(/hidden/)
})

test('printed, it shows no secret', () => {
  const printed = JSON.stringify(loadConfig(env))
  expect(printed).not.toContain('hidden')
  expect(printed).not.toContain(env.SETTLER_KEY)
})

const ownTransactions = {
  ...env,
  SETTLEMENT_ROUTE: 'transaction',
  BUNDLER_URL: undefined,
  PAYMASTER_URL: undefined,
  PAYMASTER_API_KEY: undefined,
  SETTLER_KEY: undefined,
  TRANSACTION_KEY: generatePrivateKey(),
}

test('who sends transactions of their own needs their key, and neither bundler nor paymaster', () => {
  const config = loadConfig(ownTransactions)
  expect(config).toMatchObject({
    SETTLEMENT_ROUTE: 'transaction',
    TRANSACTION_MAX_ACCOUNTS: 50,
    TRANSACTION_MAX_GAS: 15_000_000n,
    CONFIRMATIONS: 2,
  })
  expect(JSON.stringify(config)).not.toContain(ownTransactions.TRANSACTION_KEY)
  expect(() => loadConfig({ ...ownTransactions, TRANSACTION_KEY: undefined })).toThrow(/TRANSACTION_KEY/)
  expect(loadConfig(env)).toMatchObject({ SETTLEMENT_ROUTE: 'user-operation' })
})

test.each([
  ['SETTLEMENT_ROUTE', 'pigeon'],
  ['TRANSACTION_KEY', '0x12'],
  ['TRANSACTION_MAX_ACCOUNTS', '101'],
  ['TRANSACTION_MAX_GAS', '16777217'],
  ['CONFIRMATIONS', '0'],
])('%s=%s is refused by its name', (name, value) => {
  expect(() => loadConfig({ ...ownTransactions, [name]: value })).toThrow(name)
})
