import fc from 'fast-check'
import { expect, test } from 'vitest'
import { acceptsCharge } from './acceptsCharge.ts'
import { toBase64Url } from './chargeRequest.ts'
import { isCredential, readCredential } from './readCredential.ts'

const challenge = { id: 'abc', realm: 'api.example.com', method: 'evm', intent: 'charge', request: 'e30' }
const payload = {
  type: 'authorization',
  from: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266',
  to: '0x70997970C51812dc3A010C7d01b50e0d17dc79C8',
  value: '20000',
  validAfter: '0',
  validBefore: '4000000000',
  nonce: `0x${'ab'.repeat(32)}`,
  signature: `0x${'11'.repeat(65)}`,
}
const credential = { challenge, payload, source: `did:pkh:eip155:1:${payload.from}` }
const write = (value: unknown) => `Payment ${toBase64Url(value)}`

test('a credential is read to its challenge and its authorisation, and what nobody knows is left out', () => {
  const more = { ...credential, challenge: { ...challenge, description: 'weather' }, payload: { ...payload, more: 1 } }
  for (const value of [credential, more]) {
    expect(readCredential(write(value))).toEqual({
      ok: true,
      credential: {
        challenge,
        source: credential.source,
        authorization: expect.objectContaining({ from: payload.from, value: 20_000n, nonce: payload.nonce }),
        signature: payload.signature,
      },
    })
  }
})

test('what separates the slots of an id is in none of them', () => {
  for (const name of ['realm', 'method', 'intent', 'expires', 'digest', 'header', 'request', 'opaque', 'id']) {
    const read = readCredential(write({ ...credential, challenge: { ...challenge, [name]: 'a|b' } }))
    expect(read, name).toMatchObject({ ok: false, what: 'credential' })
  }
})

test('a payload that is not an authorisation is told from a credential that is none', () => {
  for (const change of [{ type: 'hash' }, { value: '-1' }, { signature: '0x' }, { nonce: '0x12' }]) {
    expect(readCredential(write({ ...credential, payload: { ...payload, ...change } }))).toMatchObject({
      what: 'payload',
    })
  }
  for (const field of [
    'Payment',
    'Payment ',
    'Payment a b',
    'Payment e30=',
    'Payment e30',
    `Payment ${'A'.repeat(9_000)}`,
  ]) {
    expect(readCredential(field), field.slice(0, 20)).toMatchObject({ ok: false, what: 'credential' })
  }
})

test('no field breaks the reader, and none but a whole credential is read', { timeout: 60_000 }, () => {
  const whole = write(credential)
  const damaged = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string().map((text) => `Payment ${text}`),
    fc.jsonValue().map(write),
    fc
      .tuple(fc.nat(whole.length - 1), fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 3 }))
      .map(([at, text]) => whole.slice(0, at) + text + whole.slice(at + text.length)),
    fc
      .tuple(fc.constantFrom(...Object.keys(payload)), fc.jsonValue())
      .map(([name, value]) => write({ ...credential, payload: { ...payload, [name]: value } })),
    fc
      .tuple(fc.constantFrom(...Object.keys(challenge)), fc.jsonValue())
      .map(([name, value]) => write({ ...credential, challenge: { ...challenge, [name]: value } })),
  )
  fc.assert(
    fc.property(damaged, (field) => {
      const read = readCredential(field)
      if (read.ok) expect(read.credential.authorization.value).toBeTypeOf('bigint')
      else expect(read.detail).toMatch(/\.$/)
    }),
    { numRuns: 2_000 },
  )
})

test('a credential is told from what a service itself asks for', () => {
  expect(['Payment abc', 'payment abc', 'PAYMENT', 'Payment '].map(isCredential)).toEqual([true, true, true, true])
  expect([undefined, '', 'Bearer abc', 'Payments abc', 'Bearer Payment'].map(isCredential)).toEqual(
    Array(5).fill(false),
  )
})

test('only a client that says it does not want evm/charge is not offered it', () => {
  const wanted = [
    undefined,
    '',
    'evm/charge',
    'tempo/charge',
    '*/charge;q=0.5',
    'evm/*;q=0, evm/charge',
    'evm/charge;q=x',
  ]
  expect(wanted.filter((header) => !acceptsCharge(header))).toEqual([])
  const unwanted = ['evm/charge;q=0', 'tempo/charge, */*;q=0', 'evm/*, evm/charge;q=0.000', ' evm/charge ; q=0 ']
  expect(unwanted.filter(acceptsCharge)).toEqual([])
})
