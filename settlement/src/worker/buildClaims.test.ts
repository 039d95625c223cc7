import type { SettlementItem } from '@protocolbanks/stream-db'
import {
  createVoucherHasher,
  type GrantTerms,
  type Hex,
  hashVoucher,
  packClaims,
  payeeProofOf,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { getAddress, keccak256, recoverAddress, stringToHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { buildClaims } from './buildClaims.ts'

const addressOf = (name: string) => getAddress(`0x${keccak256(stringToHex(name)).slice(-40)}`)
const domain = { chainId: 31_337, module: addressOf('module') }
const hash = createVoucherHasher(domain)
const sessionPrivateKey = keccak256(stringToHex('session key'))
const sessionKey = privateKeyToAccount(sessionPrivateKey).address
const grantId = keccak256(stringToHex('grant'))
const payees = [addressOf('a'), addressOf('b'), addressOf('c')]
const terms: GrantTerms = {
  sessionKey,
  settler: addressOf('settler'),
  token: addressOf('token'),
  totalLimit: 100n,
  periodLimit: 0n,
  period: 0,
  validAfter: 0,
  validUntil: 4_000_000_000,
  payeeRoot: payeeRootOf(payees),
  source: 'allowance',
  salt: `0x${'00'.repeat(24)}`,
}

function itemOf(payee: (typeof payees)[0], change: Partial<SettlementItem> = {}): SettlementItem {
  const cumulativeAmount = change.cumulativeAmount ?? 9n
  const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee, cumulativeAmount })
  const payeeProof = payees.includes(payee) ? payeeProofOf(payees, payee) : []
  const outcome = { paid: null, skippedReason: null }
  return {
    settlementId: 'stl_1',
    merchantId: 'mer_1',
    payee,
    amount: 7n,
    cumulativeAmount,
    signature,
    payeeProof,
    ...outcome,
    ...change,
  }
}

const build = (items: SettlementItem[]) => buildClaims(hash, { grantId, terms, items })
const flipV = (signature: Hex): Hex => `${signature.slice(0, -2)}${signature.endsWith('1b') ? '1c' : '1b'}` as Hex

test('every claim carries the signature that recovers to the session key, whatever v the voucher came with', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.bigInt(1n, 2n ** 96n),
      fc.boolean(),
      fc.constantFrom(...payees),
      async (amount, flip, payee) => {
        const item = itemOf(payee, { amount, cumulativeAmount: amount })
        const { claims, leftOut } = build([flip ? { ...item, signature: flipV(item.signature) } : item])
        expect(leftOut).toEqual([])
        const [claim] = claims
        if (!claim) throw new Error('no claim')
        const digest = hashVoucher(domain, { grantId, payee, cumulativeAmount: amount })
        expect(await recoverAddress({ hash: digest, signature: claim.signature })).toBe(sessionKey)
      },
    ),
    { numRuns: 50 },
  )
})

test('one bad voucher is left out with its reason, the others go on', () => {
  const [a, b, c] = payees.map((payee) => itemOf(payee)) as [SettlementItem, SettlementItem, SettlementItem]
  const { claims, leftOut } = build([{ ...a, cumulativeAmount: 10n }, { ...b, payeeProof: [] }, c])
  expect(claims.map(({ payee }) => payee)).toEqual([c.payee])
  expect(leftOut).toEqual([
    { payee: a.payee, reason: 'voucher.signature' },
    { payee: b.payee, reason: 'voucher.proof' },
  ])
})

test('a payee that the grant does not name, and an amount above the voucher, are left out', () => {
  const stranger = itemOf(addressOf('stranger'))
  const greedy = itemOf(addressOf('a'), { amount: 10n, cumulativeAmount: 9n })
  expect(build([stranger, greedy])).toEqual({
    claims: [],
    leftOut: [
      { payee: stranger.payee, reason: 'voucher.proof' },
      { payee: greedy.payee, reason: 'voucher.amount' },
    ],
  })
})

test('the claim of a single payee needs no proof', () => {
  const [payee] = payees as [(typeof payees)[0]]
  const single = { ...terms, payeeRoot: payeeRootOf([payee]) }
  const { claims } = buildClaims(hash, { grantId, terms: single, items: [itemOf(payee, { payeeProof: [] })] })
  expect(claims).toMatchObject([{ payee, proof: [] }])
  expect(packClaims(claims)).toHaveLength(2 + 2 * 113)
})

test('a payee that the chain has paid before needs no proof, unless the grant has no other', () => {
  const [a, b] = payees.map((payee) => itemOf(payee)) as [SettlementItem, SettlementItem]
  const known = new Set([a.payee])
  const { claims } = buildClaims(hash, { grantId, terms, items: [a, b], known })
  expect(claims.map(({ proof }) => proof)).toEqual(['known', b.payeeProof])
  const single = { ...terms, payeeRoot: payeeRootOf([a.payee]) }
  const alone = buildClaims(hash, { grantId, terms: single, items: [{ ...a, payeeProof: [] }], known })
  expect(alone.claims.map(({ proof }) => proof)).toEqual([[]])
})
