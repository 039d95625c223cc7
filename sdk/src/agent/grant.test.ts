import { expect, test } from 'vitest'
import { createTestGrant } from '../testing/testGrant.ts'
import { InvalidGrantError, parseGrant } from './grant.ts'

test('a grant survives JSON', () => {
  const { grant } = createTestGrant({ totalLimit: 5_000_000n })
  const json = JSON.parse(JSON.stringify({ ...grant, totalLimit: '5000000', status: 'active' }))
  expect(parseGrant(json)).toEqual(grant)
})

test('every field that is wrong is named', () => {
  expect(() => parseGrant({ grantId: '0x1', chainId: '137', payees: ['0x2'], totalLimit: '1.5' })).toThrow(
    /grantId: .*\n(.*\n)*account: .*\n(.*\n)*totalLimit: .*\n(.*\n)*chainId: .*\n(.*\n)*payees\[0\]: /,
  )
  expect(() => parseGrant(null)).toThrow(InvalidGrantError)
  const { grant } = createTestGrant()
  expect(() => parseGrant({ ...grant, payees: [] })).toThrow('payees: must be a list of at least one address')
})
