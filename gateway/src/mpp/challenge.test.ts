import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type ChallengeSlots, challengeId, isIssued, writeChallenge } from './challenge.ts'
import { challengeKeys } from './challengeKeys.ts'
import { decodeChargeRequest, encodeChargeRequest, toBase64Url } from './chargeRequest.ts'
import { nonceOf } from './checkChallenge.ts'

const key = Buffer.from('a secret of thirty-two characters')
const required = {
  scheme: 'exact',
  network: 'eip155:8453',
  amount: '20000',
  asset: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913',
  payTo: '0x742d35Cc6634C0532925a3b844Bc9e7595f8fE00',
  maxTimeoutSeconds: 60,
} as const
const request = encodeChargeRequest(required, 8_453)
const slots: ChallengeSlots = { realm: 'api.example.com', method: 'evm', intent: 'charge', request }
const expires = '2026-04-01T12:05:00.000Z'
const digest = 'sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:'
const opaque = toBase64Url({ nonce: 'AAAA', service: 'svc_1' })

/** As mppx 0.11.0 makes them with the same secret. */
const vectors: [ChallengeSlots, string][] = [
  [slots, 'yoCJlZDYnwJO87VjFihGJ1WRu3L4BuhQPqWH0pfNHH0'],
  [{ ...slots, expires }, 'uuBnE3St2eQTYUG23NcCzP19rrnyqIlrbzx3izM1I5o'],
  [{ ...slots, digest }, '-iwzAWMkKkTnQwKOQVx14_9S7vp25BeS-nja6xP3wJg'],
  [{ ...slots, expires, digest, opaque }, 'oi10rNGHKS7pHfAHKL4w6X_m3L7SQ7LbjD662wSXK1c'],
]

test('the id, the request and the nonce of a challenge are those that mppx makes', () => {
  for (const [made, id] of vectors) expect(challengeId(made, key)).toBe(id)
  expect(nonceOf({ id: 'aB3cDeF4gHiJkLmN', realm: 'api.example.com' })).toBe(
    '0x899e3a8fe6830644e150b972d4ba1fce69bcdf0bf9ea7f13d57cada71c6f281d',
  )
  expect(decodeChargeRequest(request)).toMatchObject({ amount: '20000', methodDetails: { chainId: 8_453 } })
})

const text = fc.stringMatching(/^[^|]{0,40}$/)
const anySlots: fc.Arbitrary<ChallengeSlots> = fc.record(
  { realm: text, method: text, intent: text, request: text, expires: text, digest: text, opaque: text, header: text },
  { requiredKeys: ['realm', 'method', 'intent', 'request'] },
)

test('an id is of its slots and its key alone', () => {
  fc.assert(
    fc.property(
      anySlots,
      fc.constantFrom(...Object.keys(slots), 'expires', 'digest', 'opaque', 'header'),
      (made, name) => {
        const id = challengeId(made, key)
        expect(isIssued({ id, ...made }, [Buffer.from('another'), key])).toBe(true)
        expect(isIssued({ id, ...made }, [Buffer.from('another')])).toBe(false)
        const changed = { ...made, [name]: `${made[name as keyof ChallengeSlots] ?? ''}x` }
        expect(isIssued({ id, ...changed }, [key])).toBe(false)
        expect(isIssued({ ...made, id: id.slice(1) }, [key])).toBe(false)
      },
    ),
  )
})

test('keys are of one deployment alone, the current one first', () => {
  const module = '0x00000000000000000000000000000000000000A1'
  const secrets = { current: 'one', former: ['two'] }
  const keys = challengeKeys(secrets, { chainId: 1, module })
  expect(keys).toEqual(challengeKeys(secrets, { chainId: 1, module: module.toLowerCase() as typeof module }))
  expect(keys[1]).toEqual(challengeKeys({ current: 'two', former: [] }, { chainId: 1, module })[0])
  expect(keys[0]).not.toEqual(challengeKeys(secrets, { chainId: 2, module })[0])
})

test('a description goes into the header when it can be written there, with what ends it escaped', () => {
  const challenge = { id: 'abc', ...slots }
  expect(writeChallenge(challenge, 'the "best" \\ weather')).toContain(
    String.raw`description="the \"best\" \\ weather"`,
  )
  for (const description of ['Wetter für alle', 'line\r\nbreak', '☀']) {
    expect(writeChallenge(challenge, description)).not.toContain('description')
  }
})
