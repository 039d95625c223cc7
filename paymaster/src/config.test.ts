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
  SPONSOR_PAYMASTER: address,
  ACCOUNT_FACTORY: address,
  PAYMASTER_SIGNER_KEY: generatePrivateKey(),
  OPERATOR_API_KEY: 'hidden'.repeat(5),
}

test('a whole environment is frozen, with bounds by default', () => {
  const config = loadConfig(env)
  expect(Object.isFrozen(config)).toBe(true)
  expect(config).toMatchObject({ CHAIN_ID: 8453, SPONSORSHIP_TTL_SECONDS: 300, MAX_FEE_PER_GAS_WEI: 500_000_000_000n })
})

test('every problem is named at once, and no value is shown', () => {
  const broken = {
    ...env,
    CHAIN_ID: 'base',
    TOKEN: '0x12',
    PAYMASTER_SIGNER_KEY: '0xhidden',
    OPERATOR_API_KEY: 'hidden',
  }
  expect(() => loadConfig(broken)).toThrow(/CHAIN_ID[\s\S]*TOKEN[\s\S]*PAYMASTER_SIGNER_KEY[\s\S]*OPERATOR_API_KEY/)
  expect(() => loadConfig(broken)).not.toThrow(/hidden/)
})

test('EntryPoint v0.7 and the paymaster on it are set together', () => {
  expect(loadConfig({ ...env, ENTRY_POINT_07: address, SPONSOR_PAYMASTER_07: address })).toMatchObject({
    ENTRY_POINT_07: address,
  })
  expect(() => loadConfig({ ...env, ENTRY_POINT_07: address })).toThrow('SPONSOR_PAYMASTER_07')
  expect(() => loadConfig({ ...env, SPONSOR_PAYMASTER_07: address })).toThrow('SPONSOR_PAYMASTER_07')
})

test('printed, it shows no secret', () => {
  const printed = JSON.stringify(loadConfig(env))
  expect(printed).not.toContain('hidden')
  expect(printed).not.toContain(env.PAYMASTER_SIGNER_KEY)
  expect(printed).toContain('[redacted]')
})
