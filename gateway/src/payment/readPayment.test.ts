import { encodeHeader } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sessionRequirements } from './offer.ts'
import { readPayment, readWithSchemas } from './readPayment.ts'
import { chain, createTestGateway, newRequestId, payment, price } from './testing/testGateway.ts'

const { service } = createTestGateway()
const offer = sessionRequirements(chain, service, price)
const usual = () => payment(service, price, newRequestId())

type Json = Record<string, unknown>

test('what a client of ours sends is read alike with and without the schemas', () => {
  const header = usual()
  expect(readPayment(header, offer)).toMatchObject({ ok: true, payment: { cumulativeAmount: price, payeeProof: [] } })
  expect(readPayment(header, offer)).toEqual(readWithSchemas(header, offer))
})

test('no damage to a header is read otherwise than the schemas read it', () => {
  const damage = fc.record({ at: fc.nat(2000), with: fc.constantFrom(...'AZaz09+/=-_ \n%é'), cut: fc.nat(20) })
  fc.assert(
    fc.property(damage, ({ at, with: character, cut }) => {
      const header = usual()
      const index = at % header.length
      const damaged = header.slice(0, index) + character + header.slice(index + 1, header.length - cut)
      expect(readPayment(damaged, offer)).toEqual(readWithSchemas(damaged, offer))
    }),
    { numRuns: 2000 },
  )
})

test('no change of a field is read otherwise than the schemas read it', () => {
  const paths = [
    ['x402Version'],
    ...['scheme', 'network', 'amount', 'asset', 'payTo', 'maxTimeoutSeconds', 'extra'].map((name) => [
      'accepted',
      name,
    ]),
    ...['module', 'settler', 'service', 'scope', 'sources'].map((name) => ['accepted', 'extra', name]),
    ...['grantId', 'cumulativeAmount', 'signature', 'payeeProof', 'other'].map((name) => ['payload', name]),
    ['extensions', 'payment-identifier', 'info', 'id'],
    ['extensions', 'payment-identifier', 'info', 'required'],
    ['resource'],
    ['other'],
  ]
  const values = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(
      '0',
      '00',
      '-1',
      '1.5',
      `${2n ** 128n}`,
      `${2n ** 63n}`,
      '0xAB',
      `0x${'AB'.repeat(32)}`,
      [],
      {},
      undefined,
    ),
  )
  fc.assert(
    fc.property(fc.constantFrom(...paths), values, (path, value) => {
      const root = JSON.parse(atob(usual())) as Json
      const parent = path.slice(0, -1).reduce((node, name) => node[name] as Json, root)
      parent[path.at(-1) ?? ''] = value
      const header = encodeHeader(root)
      expect(readPayment(header, offer)).toEqual(readWithSchemas(header, offer))
    }),
    { numRuns: 2000 },
  )
})
