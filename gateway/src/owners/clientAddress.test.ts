import { expect, test } from 'vitest'
import { clientAddress } from './clientAddress.ts'

const of = (remote: string | undefined, forwardedFor?: string, trustedHops = 0) =>
  clientAddress({ remote, forwardedFor, trustedHops })

test('a client is who connects; what it claims in a header means nothing', () => {
  expect(of('203.0.113.7')).toBe('203.0.113.7')
  expect(of('203.0.113.7', '198.51.100.1')).toBe('203.0.113.7')
  expect(of(undefined)).toBe('unknown')
})

test('behind proxies it is whom the first of ours was asked by', () => {
  expect(of('10.0.0.2', '198.51.100.1', 1)).toBe('198.51.100.1')
  expect(of('10.0.0.2', '6.6.6.6, 198.51.100.1', 1)).toBe('198.51.100.1')
  expect(of('10.0.0.2', '6.6.6.6, 198.51.100.1, 10.0.0.3', 2)).toBe('198.51.100.1')
  // The proxy did not say.
  expect(of('10.0.0.2', undefined, 2)).toBe('10.0.0.2')
  expect(of('10.0.0.2', 'nonsense', 1)).toBe('unknown')
})

test.each([
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:db8:1:2:ffff:ffff:ffff:ffff', '2001:db8:1:2::/64'],
  ['2001:0db8:0001:0002::1', '2001:db8:1:2::/64'],
  ['2001:DB8::1', '2001:db8:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
])('an IPv6 network of one host is one client: %s', (address, key) => {
  expect(of(address)).toBe(key)
})
