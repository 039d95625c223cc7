import type { LookupFunction } from 'node:net'
import { describe, expect, test } from 'vitest'
import { checkEndpointUrl, parseEndpointUrl } from './endpointUrl.ts'

const strict = { allowPrivateNetworks: false }

/** A resolver that knows these names. */
function resolver(names: Record<string, string[]>): LookupFunction {
  return (host, _, callback) => {
    const found = (names[host] ?? []).map((address) => ({ address, family: address.includes(':') ? 6 : 4 }))
    if (found.length > 0) return callback(null, found)
    callback(Object.assign(new Error('not found'), { code: 'ENOTFOUND' }), [])
  }
}

describe('a host that is written as an address has to be public', () => {
  test.each([
    'https://127.0.0.1/',
    'https://127.1/',
    'https://127.0.0.1./',
    // The same in decimal, octal and hexadecimal.
    'https://2130706433/',
    'https://0177.0.0.1/',
    'https://0x7f.0.0.1/',
    'https://0x7f000001/',
    'https://0/',
    'https://0.0.0.0/',
    'https://10.1.2.3/',
    'https://172.16.0.1/',
    'https://172.31.255.255/',
    'https://192.168.1.1/',
    'https://100.64.0.1/',
    // Metadata of clouds.
    'https://169.254.169.254/latest/meta-data/',
    'https://0xa9fea9fe/',
    'https://168.63.129.16/',
    'https://[fd00:ec2::254]/',
    'https://198.18.0.1/',
    'https://224.0.0.1/',
    'https://255.255.255.255/',
    'https://[::]/',
    'https://[::1]/',
    'https://[0:0:0:0:0:0:0:1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/',
    'https://[::127.0.0.1]/',
    'https://[64:ff9b::7f00:1]/',
    'https://[64:ff9b:1::7f00:1]/',
    'https://[2002:7f00:1::]/',
    'https://[2001:0:7f00:1::]/',
    'https://[fe80::1]/',
    'https://[fec0::1]/',
    'https://[fc00::1]/',
    'https://[ff02::1]/',
    'https://[2001:db8::1]/',
    'https://①②⑦.⓪.⓪.①/',
  ])('%s is refused', async (url) => {
    expect(parseEndpointUrl(url, strict)).toEqual({ ok: false, reason: 'Its host is not a public address.' })
    expect((await checkEndpointUrl(url, { ...strict, lookup: resolver({}) })).ok).toBe(false)
    expect(parseEndpointUrl(url, { allowPrivateNetworks: true }).ok).toBe(true)
  })

  test.each(['https://1.1.1.1/', 'https://93.184.216.34:8443/hook?a=b', 'https://[2606:4700:4700::1111]/'])(
    '%s is allowed',
    async (url) => {
      expect(await checkEndpointUrl(url, { ...strict, lookup: resolver({}) })).toEqual({ ok: true, url: new URL(url) })
    },
  )
})

test.each([
  ['no URL', 'example.com/hook', 'It is not an absolute URL.'],
  ['http', 'http://example.com/hook', 'It does not begin with https://.'],
  ['another scheme', 'file:///etc/passwd', 'It does not begin with https://.'],
  ['credentials', 'https://user:secret@example.com/', 'It has a user or a password in it.'],
  ['a fragment', 'https://example.com/#a', 'It has a fragment (#).'],
  ['more than 2,000 characters', `https://example.com/${'a'.repeat(2_000)}`, 'It is longer than 2000 characters.'],
])('a URL with %s is refused', (_, url, reason) => {
  expect(parseEndpointUrl(url, strict)).toEqual({ ok: false, reason })
})

test('a name has to resolve, and to public addresses alone', async () => {
  const lookup = resolver({
    'hooks.example.com': ['93.184.216.34', '2606:2800:220:1::1'],
    'mixed.example.com': ['93.184.216.34', '10.0.0.1'],
    'inside.example.com': ['::ffff:10.0.0.1'],
  })
  const check = (host: string) => checkEndpointUrl(`https://${host}/`, { ...strict, lookup })
  expect(await check('hooks.example.com')).toMatchObject({ ok: true })
  const notPublic = { ok: false, reason: 'Its host does not resolve to public addresses alone.' }
  expect(await check('mixed.example.com')).toEqual(notPublic)
  expect(await check('inside.example.com')).toEqual(notPublic)
  expect(await check('nowhere.example.com')).toEqual({ ok: false, reason: 'Its host cannot be resolved.' })
})

test('local development may use http and private networks', async () => {
  const policy = { allowPrivateNetworks: true, lookup: resolver({}) }
  expect(await checkEndpointUrl('http://localhost:3000/hook', policy)).toMatchObject({ ok: true })
  expect(await checkEndpointUrl('ftp://localhost/', policy)).toMatchObject({ ok: false })
})
