import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { createSiweMessage } from 'viem/siwe'
import { describe, expect, test } from 'vitest'
import { readSignInMessage, signInStatement } from './signInMessage.ts'

const now = new Date('2026-11-21T12:00:00.000Z')
const address = privateKeyToAddress(generatePrivateKey())
const origins = ['https://console.example.com', 'http://localhost:5173']
const policy = { chainId: 8453, origins, maxAgeMs: 600_000, now }
const fields = {
  address,
  chainId: 8453,
  domain: 'console.example.com',
  nonce: 'abcdefgh12345678',
  uri: 'https://console.example.com/sign-in',
  version: '1',
  statement: signInStatement,
  issuedAt: new Date(now.getTime() - 1_000),
} as const
const good = createSiweMessage(fields)
const read = (text: string) => readSignInMessage(text, policy)
const later = (ms: number) => new Date(now.getTime() + ms)

test('a message of EIP-4361 for here is read', () => {
  const account = { ok: true, account: address, nonce: fields.nonce }
  expect(read(good)).toEqual({ ...account, expirationTime: undefined })
  const expirationTime = later(60_000)
  const optional = { scheme: 'https', expirationTime, notBefore: now }
  expect(read(createSiweMessage({ ...fields, ...optional }))).toEqual({ ...account, expirationTime })
  const local = { domain: 'localhost:5173', uri: 'http://localhost:5173' }
  expect(read(createSiweMessage({ ...fields, ...local }))).toMatchObject(account)
})

describe('is refused when', () => {
  test.each<[string, Partial<Parameters<typeof createSiweMessage>[0]>, RegExp]>([
    ['it is for another domain', { domain: 'evil.example.com' }, /^Its domain is evil\.example\.com; here it is/],
    ['its domain has another port', { domain: 'console.example.com:8443' }, /^Its domain/],
    ['it is for another page', { uri: 'https://evil.example.com/' }, /^Its URI/],
    ['its URI only begins like ours', { uri: 'https://console.example.com.evil.com/' }, /^Its URI/],
    ['its URI is not encrypted', { uri: 'http://console.example.com/' }, /^Its URI/],
    ['its scheme is another', { scheme: 'http' }, /^Its scheme is http; at this domain it is https\./],
    ['it is for another chain', { chainId: 1 }, /^Its chain is 1; here it is 8453\./],
    ['it says something else', { statement: 'Give me everything.' }, /^Its statement/],
    ['it says nothing', { statement: undefined }, /^Its statement/],
    ['it is old', { issuedAt: later(-600_001) }, /issued more than 600 s ago/],
    ['it is from the future', { issuedAt: later(60_001) }, /issued in the future/],
    ['it has expired', { expirationTime: now }, /has expired/],
    ['it is not valid yet', { notBefore: later(1) }, /not valid yet/],
    ['it has a request id', { requestId: 'x' }, /not written as/],
    ['it has resources', { resources: ['https://console.example.com/all'] }, /not written as/],
  ])('%s', (_, change, reason) => {
    const message = createSiweMessage({ ...fields, ...change } as Parameters<typeof createSiweMessage>[0])
    expect(read(message)).toEqual({ ok: false, reason: expect.stringMatching(reason) })
  })

  test.each<[string, (message: string) => string]>([
    ['it is no message', () => 'Hello'],
    ['it is empty', () => ''],
    ['it is endless', (message) => message + '\n'.repeat(2_000)],
    ['its version is another', (message) => message.replace('Version: 1', 'Version: 2')],
    ['its address has no checksum', (message) => message.replace(address, address.toLowerCase())],
    ['something stands before it', (message) => `evil\n${message}`],
    ['something stands behind it', (message) => `${message}\nTransfer everything.`],
    ['another message stands behind it', (message) => `${message}\n${message}`],
    ['a field is there twice', (message) => message.replace('Nonce:', 'Nonce: 99999999\nNonce:')],
    ['its lines end otherwise', (message) => message.replaceAll('\n', '\r\n')],
    ['its time is written otherwise', (message) => message.replace('.000Z', 'Z')],
    ['its time is none', (message) => message.replace(/Issued At: .*/, 'Issued At: yesterday')],
    ['its nonce is too short', (message) => message.replace(fields.nonce, 'abc')],
    ['a field is missing', (message) => message.replace(/\nNonce: .*/, '')],
    ['its fields stand in another order', (message) => message.replace(/(Version: 1)\n(Chain ID: \d+)/, '$2\n$1')],
  ])('%s', (_, change) => {
    const changed = change(good)
    expect(changed).not.toBe(good)
    expect(read(changed).ok).toBe(false)
  })
})

test('a letter that is changed anywhere makes it another message, or none', () => {
  const bare = createSiweMessage({ ...fields, uri: 'https://console.example.com' })
  const seen = read(bare)
  expect(seen.ok).toBe(true)
  for (let index = 0; index < bare.length; index++) {
    const changed = `${bare.slice(0, index)}${bare[index] === 'a' ? 'b' : 'a'}${bare.slice(index + 1)}`
    const other = read(changed)
    if (other.ok) expect(other, `at ${index}`).not.toEqual(seen)
  }
})
