import {
  InvalidTermsError,
  packClaims,
  packedTermsSize,
  packTerms,
  reserveOf,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import fc from 'fast-check'
import {
  bytesToHex,
  concatHex,
  decodeFunctionData,
  erc20Abi,
  getAddress,
  hexToNumber,
  size,
  slice,
  zeroHash,
} from 'viem'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import type { Call } from './call.ts'
import { freezeCall, revokeAllCall, setGuardianCall, stopManyCall, unfreezeCall } from './controlCalls.ts'
import { decodeExecute, maxBatchCalls } from './decodeExecute.ts'
import { decodeSettle } from './decodeSettle.ts'
import { encodeExecute } from './encodeExecute.ts'
import { encodeGrantSetup } from './encodeGrantSetup.ts'
import { encodeSettle } from './encodeSettle.ts'
import { grantSetupCalls } from './grantSetupCalls.ts'
import { cancelWithdrawalCall, requestWithdrawalCall, withdrawCall } from './reserveCalls.ts'

const { module, account, terms, claims, grantId, addressOf } = examples
const settle = encodeSettle({ module, account, terms, claims })

const call = fc.record({
  to: fc.uint8Array({ minLength: 20, maxLength: 20 }).map((bytes) => getAddress(bytesToHex(bytes))),
  value: fc.bigInt(0n, 2n ** 256n - 1n),
  data: fc.uint8Array({ maxLength: 100 }).map((bytes) => bytesToHex(bytes)),
})

test('calls survive the way into execute and back', () => {
  fc.assert(
    fc.property(fc.array(call, { minLength: 1, maxLength: maxBatchCalls }), (calls) => {
      expect(decodeExecute(encodeExecute(calls))).toEqual({ mode: calls.length === 1 ? 'single' : 'batch', calls })
    }),
  )
})

test('nothing but the canonical encoding is read as execute', () => {
  const padded = concatHex([settle, '0x00'])
  const delegated = settle.replace(
    slice(settle, 0, 4) + zeroHash.slice(2),
    `${slice(settle, 0, 4)}ff${'00'.repeat(31)}`,
  )
  // The last byte of the batch's padding.
  const batch = encodeExecute([
    { to: account, value: 0n, data: '0x01' },
    { to: account, value: 0n, data: '0x02' },
  ])
  const dirty = concatHex([slice(batch, 0, size(batch) - 1), '0x01'])
  for (const data of [padded, delegated, dirty, slice(settle, 0, 99), '0x', '0x12345678'] as const) {
    expect(decodeExecute(data as `0x${string}`)).toBeUndefined()
  }
})

test('settle call data has its parts where the module looks for them', () => {
  const packed = packClaims(claims)
  expect(slice(settle, 4, 36)).toBe(zeroHash)
  expect(getAddress(slice(settle, 100, 120))).toBe(module)
  expect(hexToNumber(slice(settle, 252, 284))).toBe(packedTermsSize)
  expect(slice(settle, 284, 284 + packedTermsSize)).toBe(packTerms(terms))
  expect(hexToNumber(slice(settle, 444, 476))).toBe(size(packed))
  expect(slice(settle, 476, 476 + size(packed))).toBe(packed)
})

test('a settlement is read back with its terms and claims', () => {
  expect(decodeSettle(settle)).toEqual({
    module,
    account,
    packedTerms: packTerms(terms),
    terms,
    claims: claims.map(({ payee, amount, cumulativeAmount }) => ({ payee, amount, cumulativeAmount })),
  })
})

test('nothing else is read as a settlement: value, another function, cut claims, a batch around it', () => {
  const inner = decodeExecute(settle)?.calls[0]
  if (!inner) throw new Error('not a single call')
  const [proofless] = claims.map((claim) => ({ ...claim, proof: [] }))
  if (!proofless) throw new Error('no claim')
  for (const data of [
    encodeExecute([{ ...inner, value: 1n }]),
    encodeExecute([freezeCall({ module, account, grantId })]),
    encodeExecute([{ ...inner, data: slice(inner.data, 0, size(inner.data) - 64) }]),
    encodeExecute([inner, inner]),
    // A claim without a proof stands alone.
    encodeSettle({ module, account, terms, claims: [proofless, proofless] }),
    '0x' as const,
  ]) {
    expect(decodeSettle(data)).toBeUndefined()
  }
})

test('the setup installs, approves and grants, in this order', () => {
  const { token } = terms
  const guardian = addressOf('guardian')
  const calls = decodeExecute(encodeGrantSetup({ account, module, guardian, token, allowance: 5n, terms }))?.calls ?? []
  expect(calls.map(({ to }) => to)).toEqual([account, token, module])
  const [, approve, grant] = calls
  expect(decodeFunctionData({ abi: erc20Abi, data: approve?.data ?? '0x' })).toEqual({
    functionName: 'approve',
    args: [module, 5n],
  })
  expect(decodeFunctionData({ abi: sessionKeyValidatorAbi, data: grant?.data ?? '0x' })).toEqual({
    functionName: 'grant',
    args: [toContractTerms(terms)],
  })
  const again = encodeGrantSetup({ account, module, guardian: undefined, token, allowance: 5n, terms })
  expect(decodeExecute(again)?.calls.map(({ to }) => to)).toEqual([token, module])
})

test('the setup of a reserve grant deposits instead of allowing, and only what is said', () => {
  const { token } = terms
  const reserve = reserveOf(module)
  const prepaid = { ...terms, source: 'reserve' } as const
  const setup = { account, module, guardian: undefined, token, terms: prepaid, reserve }
  const [approve, deposit, grant] = grantSetupCalls({ ...setup, deposit: 7n })
  expect([approve?.to, deposit?.to, grant?.to]).toEqual([token, reserve, module])
  expect(decodeFunctionData({ abi: erc20Abi, data: approve?.data ?? '0x' })).toEqual({
    functionName: 'approve',
    args: [reserve, 7n],
  })
  expect(decodeFunctionData({ abi: prepaidReserveAbi, data: deposit?.data ?? '0x' })).toEqual({
    functionName: 'deposit',
    args: [account, token, 7n],
  })
  expect(grantSetupCalls({ ...setup, deposit: 0n }).map(({ to }) => to)).toEqual([module])
})

test('a setup whose money the grant could not use is refused', () => {
  const { token } = terms
  const setup = { account, module, guardian: undefined, token }
  const prepaid = { ...terms, source: 'reserve' } as const
  expect(() => grantSetupCalls({ ...setup, allowance: 5n, terms: prepaid })).toThrow(InvalidTermsError)
  expect(() => grantSetupCalls({ ...setup, reserve: reserveOf(module), deposit: 5n, terms })).toThrow(InvalidTermsError)
})

test('calls of the reserve are about the caller and its token', () => {
  const { token } = terms
  const reserve = reserveOf(module)
  const decode = ({ to, value, data }: Call) => [to, value, decodeFunctionData({ abi: prepaidReserveAbi, data })]
  expect(decode(requestWithdrawalCall({ reserve, token, amount: 5n }))).toEqual([
    reserve,
    0n,
    { functionName: 'requestWithdrawal', args: [token, 5n] },
  ])
  expect(decode(cancelWithdrawalCall({ reserve, token }))).toEqual([
    reserve,
    0n,
    { functionName: 'cancelWithdrawal', args: [token] },
  ])
  expect(decode(withdrawCall({ reserve, token, to: account }))).toEqual([
    reserve,
    0n,
    { functionName: 'withdraw', args: [token, account] },
  ])
})

test('control calls name the account wherever the module asks for it', () => {
  const decode = (data: `0x${string}`) => decodeFunctionData({ abi: sessionKeyValidatorAbi, data })
  expect(decode(freezeCall({ module, account, grantId }).data)).toEqual({
    functionName: 'freeze',
    args: [account, grantId],
  })
  expect(decode(unfreezeCall({ module, grantId }).data)).toEqual({ functionName: 'unfreeze', args: [grantId] })
  const stops = [{ account, grantId, revokes: true }]
  expect(decode(stopManyCall({ module, stops }).data)).toEqual({ functionName: 'stopMany', args: [stops] })
  expect(decode(revokeAllCall({ module, account }).data)).toEqual({ functionName: 'revokeAll', args: [account] })
  expect(decode(setGuardianCall({ module, guardian: account }).data)).toEqual({
    functionName: 'setGuardian',
    args: [account],
  })
})
