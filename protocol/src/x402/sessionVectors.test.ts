import { readFile } from 'node:fs/promises'
import {
  type Address,
  concatHex,
  encodeAbiParameters,
  type Hex,
  hashTypedData,
  keccak256,
  numberToHex,
  recoverAddress,
  sliceHex,
} from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { packClaims } from '../claims/packClaims.ts'
import { grantIdOf } from '../grant/grantId.ts'
import { isPayee, payeeRootOf } from '../grant/payees.ts'
import { type GrantTerms, packTerms } from '../grant/terms.ts'
import { createVoucherHasher } from '../voucher/hashVoucher.ts'
import { signVoucher } from '../voucher/signVoucher.ts'
import { decodeHeader } from './headers.ts'
import { paymentPayloadSchema } from './schemas.ts'

// The test vectors of docs/spec/session-scheme.md, once by this package and once by the words of the document alone.

type Vectors = {
  chainId: number
  module: Address
  account: Address
  epoch: string
  sessionPrivateKey: Hex
  payees: [Address, Address]
  terms: Omit<GrantTerms, 'totalLimit' | 'periodLimit'> & { totalLimit: string; periodLimit: string }
  singlePayeeRoot: Hex
  packedTerms: Hex
  grantId: Hex
  voucher: { grantId: Hex; payee: Address; cumulativeAmount: string }
  digest: Hex
  signature: Hex
  payeeProof: Hex[]
  payment: unknown
  header: string
  claim: { amount: string; proof: Hex; known: Hex }
}

const v: Vectors = JSON.parse(
  await readFile(new URL('../../../docs/spec/session-vectors.json', import.meta.url), 'utf8'),
)
const terms: GrantTerms = {
  ...v.terms,
  totalLimit: BigInt(v.terms.totalLimit),
  periodLimit: BigInt(v.terms.periodLimit),
}
const voucher = { ...v.voucher, cumulativeAmount: BigInt(v.voucher.cumulativeAmount) }

test('the vectors are what this package makes', () => {
  const { chainId, module, account, sessionPrivateKey } = v
  expect(packTerms(terms)).toBe(v.packedTerms)
  expect(grantIdOf({ chainId, module, account, epoch: BigInt(v.epoch) }, terms)).toBe(v.grantId)
  expect(signVoucher(createVoucherHasher({ chainId, module }), sessionPrivateKey, voucher).signature).toBe(v.signature)
  expect(payeeRootOf(v.payees)).toBe(terms.payeeRoot)
  expect(isPayee(terms.payeeRoot, v.voucher.payee, v.payeeProof)).toBe(true)
  expect(decodeHeader(v.header, paymentPayloadSchema)).toEqual({ ok: true, value: v.payment })
  const claim = { ...voucher, amount: BigInt(v.claim.amount), signature: v.signature }
  expect(packClaims([{ ...claim, proof: v.payeeProof }])).toBe(v.claim.proof)
  expect(packClaims([{ ...claim, proof: 'known' }])).toBe(v.claim.known)
})

test('the terms are packed and hashed as the document says', () => {
  const { sessionKey, settler, token, period, validAfter, validUntil, payeeRoot, salt } = terms
  const packed = concatHex([
    ...[sessionKey, settler, token].map((address) => address.toLowerCase() as Hex),
    numberToHex(terms.totalLimit, { size: 12 }),
    numberToHex(terms.periodLimit, { size: 12 }),
    numberToHex(period, { size: 4 }),
    numberToHex(validAfter, { size: 6 }),
    numberToHex(validUntil, { size: 6 }),
    payeeRoot,
    '0x01',
    salt,
  ])
  expect(packed).toBe(v.packedTerms)
  const types = ['uint256', 'address', 'address', 'uint256', 'bytes32'].map((type) => ({ type }))
  const values = [BigInt(v.chainId), v.module, v.account, BigInt(v.epoch), keccak256(packed)]
  expect(keccak256(encodeAbiParameters(types, values))).toBe(v.grantId)
})

test('the leaf of one payee is the root, and two leaves are hashed in their order', () => {
  const leaf = (payee: Address) => keccak256(keccak256(encodeAbiParameters([{ type: 'address' }], [payee])))
  const [one, other] = v.payees
  expect(leaf(one)).toBe(v.singlePayeeRoot)
  expect(v.payeeProof).toEqual([leaf(other)])
  expect(keccak256(concatHex([leaf(one), leaf(other)].toSorted()))).toBe(terms.payeeRoot)
})

test('the voucher is EIP-712 by the session key, with a low s, and compact in a claim', async () => {
  const digest = hashTypedData({
    domain: { name: 'Protocol Banks Session', version: '1', chainId: v.chainId, verifyingContract: v.module },
    types: {
      Voucher: [
        { name: 'grantId', type: 'bytes32' },
        { name: 'payee', type: 'address' },
        { name: 'cumulativeAmount', type: 'uint128' },
      ],
    },
    primaryType: 'Voucher',
    message: voucher,
  })
  expect(digest).toBe(v.digest)
  expect(await recoverAddress({ hash: digest, signature: v.signature })).toBe(terms.sessionKey)
  expect(privateKeyToAccount(v.sessionPrivateKey).address).toBe(terms.sessionKey)
  const yParity = BigInt(sliceHex(v.signature, 64)) - 27n
  const compactS = BigInt(sliceHex(v.signature, 32, 64)) | (yParity << 255n)
  const head = concatHex([
    v.voucher.payee.toLowerCase() as Hex,
    numberToHex(BigInt(v.claim.amount), { size: 12 }),
    numberToHex(voucher.cumulativeAmount, { size: 16 }),
    sliceHex(v.signature, 0, 32),
    numberToHex(compactS, { size: 32 }),
  ])
  expect(v.claim.known).toBe(concatHex([head, '0xff']))
  expect(v.claim.proof).toBe(concatHex([head, '0x01', ...v.payeeProof]))
})
