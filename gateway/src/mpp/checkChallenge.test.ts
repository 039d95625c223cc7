import { expect, test } from 'vitest'
import { toBase64Url } from './chargeRequest.ts'
import { isExpired, serviceOf } from './checkChallenge.ts'

const challenge = { id: 'abc', realm: 'api.example.com', method: 'evm', intent: 'charge', request: 'e30' }

test('a challenge has ended at its end, and one without an end, or with none that is a time, has always', () => {
  const nowMs = Date.parse('2026-04-01T12:05:00.000Z')
  const endsAt = (expires?: string) => isExpired({ ...challenge, expires }, nowMs)
  expect(endsAt('2026-04-01T12:05:00.001Z')).toBe(false)
  for (const expires of ['2026-04-01T12:05:00.000Z', '2026-04-01T12:04:59Z', 'tomorrow', '', undefined]) {
    expect(endsAt(expires), expires).toBe(true)
  }
})

test('the service of a challenge is read out of what it brings back, whatever that is', () => {
  expect(serviceOf({ ...challenge, opaque: toBase64Url({ nonce: 'AAAA', service: 'svc_1' }) })).toBe('svc_1')
  for (const opaque of [undefined, '', '!', 'e30', toBase64Url(null), toBase64Url({ service: 1 }), toBase64Url([1])]) {
    expect(serviceOf({ ...challenge, opaque })).toBeUndefined()
  }
})
