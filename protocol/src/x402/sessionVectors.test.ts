import { createECDH, createHash, createPublicKey, verify } from 'node:crypto'
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
import type { ReceiptKey } from './receiptKeys.ts'
import { paymentPayloadSchema, settleResponseSchema } from './schemas.ts'
import { receiptText, verifyReceipt } from './verifyReceipt.ts'

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
  receipt: { privateKey: Hex; key: ReceiptKey; text: string; signature: string; header: string }
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

test('the receipt of the vectors is what we verify, and what RFC 7515, 7517 and 7638 make of the specification alone', async () => {
  const { privateKey, key, text, signature, header } = v.receipt
  expect(await verifyReceipt(header, [key])).toMatchObject({ ok: true, keyId: key.kid })
  const decoded = decodeHeader(header, settleResponseSchema)
  expect(decoded.ok && receiptText(decoded.value)).toBe(text)

  const { signature: told, ...extra } = JSON.parse(atob(header)).extra
  expect(told).toBe(signature)
  expect(JSON.parse(text)).toEqual({ ...JSON.parse(atob(header)), extra })
  const ecdh = createECDH('prime256v1')
  ecdh.setPrivateKey(privateKey.slice(2), 'hex')
  const { kty, crv, x, y, kid } = key
  const point = Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
  expect(ecdh.getPublicKey().equals(point)).toBe(true)
  expect(createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url')).toBe(kid)
  const [protectedHeader = '', nothing, proof = ''] = signature.split('.')
  expect(nothing).toBe('')
  expect(JSON.parse(Buffer.from(protectedHeader, 'base64url').toString())).toEqual({ alg: 'ES256', kid })
  const input = Buffer.from(`${protectedHeader}.${Buffer.from(text).toString('base64url')}`)
  const publicKey = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' })
  expect(verify('sha256', input, { key: publicKey, dsaEncoding: 'ieee-p1363' }, Buffer.from(proof, 'base64url'))).toBe(
    true,
  )
})
