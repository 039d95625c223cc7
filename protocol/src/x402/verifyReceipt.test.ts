import { createHash, generateKeyPairSync, type JsonWebKey, type KeyObject, sign } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { canonicalJson } from './canonicalJson.ts'
import { encodeHeader } from './headers.ts'
import { parseReceiptKeys, type ReceiptKey } from './receiptKeys.ts'
import { receiptText, verifyReceipt } from './verifyReceipt.ts'

const receipt = {
  success: true,
  transaction: '',
  network: 'eip155:8453',
  payer: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
  amount: '10000',
  extra: { requestId: 'req_0123456789abcdef', charged: '30000' },
}

/** As RFC 7515 says, and nothing of ours. */
function signDetached(privateKey: KeyObject, header: object, text: string): string {
  const [head, payload] = [JSON.stringify(header), text].map((part) => Buffer.from(part).toString('base64url'))
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' as const }
  return `${head}..${sign('sha256', Buffer.from(`${head}.${payload}`), key).toString('base64url')}`
}

function createKey(): { privateKey: KeyObject; key: ReceiptKey } {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' }: JsonWebKey = publicKey.export({ format: 'jwk' })
  const kid = createHash('sha256').update(x).digest('base64url')
  return { privateKey, key: { kty: 'EC', crv: 'P-256', x, y, kid, alg: 'ES256', use: 'sig' } }
}

const mine = createKey()
const other = createKey()

function signed(by = mine, header: object = { alg: 'ES256', kid: by.key.kid }) {
  return {
    ...receipt,
    extra: { ...receipt.extra, signature: signDetached(by.privateKey, header, receiptText(receipt)) },
  }
}

test('a receipt is proven by its header or as an object, in whatever order its members came', async () => {
  const { extra, ...rest } = signed()
  const turned = Object.fromEntries(Object.entries({ ...rest, extra }).toReversed())
  for (const form of [encodeHeader(signed()), encodeHeader(turned), signed()]) {
    expect(await verifyReceipt(form, [other.key, mine.key])).toMatchObject({ ok: true, keyId: mine.key.kid })
  }
})

test('a key that is not known, one that did not sign, and no signature are told apart', async () => {
  const ask = (of: Parameters<typeof verifyReceipt>[0]) => verifyReceipt(of, [mine.key])
  expect(await ask(signed(other))).toEqual({ ok: false, reason: 'unknown_key', keyId: other.key.kid })
  expect(await ask(signed(other, { alg: 'ES256', kid: mine.key.kid }))).toMatchObject({ reason: 'invalid' })
  expect(await ask(receipt)).toEqual({ ok: false, reason: 'unsigned', keyId: undefined })
  expect(await ask('no header')).toEqual({ ok: false, reason: 'invalid', keyId: undefined })
})

test.each([
  ['no algorithm', { alg: 'none', kid: mine.key.kid }],
  ['another algorithm', { alg: 'HS256', kid: mine.key.kid }],
  ['what has to be understood and is not', { alg: 'ES256', kid: mine.key.kid, crit: ['b64'], b64: false }],
  ['no key', { alg: 'ES256' }],
])('a signature that names %s proves nothing', async (_, header) => {
  expect(await verifyReceipt(signed(mine, header), [mine.key])).toMatchObject({ ok: false, reason: 'invalid' })
})

test('whatever stands where a signature belongs is an answer, not an error', async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.anything(), fc.string(), fc.base64String()), async (signature) => {
      const check = await verifyReceipt({ ...receipt, extra: { signature } }, [mine.key])
      expect(check.ok).toBe(false)
    }),
  )
})

test('a key that is no point of the curve proves nothing', async () => {
  const broken = { ...mine.key, y: mine.key.x }
  expect(await verifyReceipt(signed(), [broken])).toMatchObject({ ok: false, reason: 'invalid' })
})

test('of a key set only keys of receipts are taken', () => {
  const { d: _, ...rsa } = { kty: 'RSA', n: 'AQAB', e: 'AQAB', kid: 'r', d: '' }
  expect(parseReceiptKeys({ keys: [rsa, mine.key, { ...mine.key, use: 'enc' }, null] })).toEqual([mine.key])
  for (const none of [undefined, null, 'x', {}, { keys: {} }]) expect(parseReceiptKeys(none)).toEqual([])
})

test('canonical JSON reads back as what was written, and is the same for every order of members', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 3 }), (value) => {
      const text = canonicalJson(value)
      expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
      expect(canonicalJson(JSON.parse(text))).toBe(text)
    }),
  )
  // RFC 8785, section 3.2.3.
  expect(canonicalJson({ '€': 1, '\r': 2, '1': 3, '😂': 4, ö: 5 })).toBe('{"\\r":2,"1":3,"ö":5,"€":1,"😂":4}')
})
