import { hashTypedData } from 'viem'
import { expect, test } from 'vitest'
import { entryPoint08 } from '../accounts/entryPoint.ts'
import { examples } from '../testing/examples.ts'
import { delegationMarker, type Eip7702Authorization } from './eip7702Authorization.ts'
import { hashUserOperation } from './hashUserOperation.ts'
import { packUserOperation } from './packUserOperation.ts'
import { fromRpcUserOperation, partialRpcUserOperationSchema, toRpcUserOperation } from './rpcUserOperation.ts'
import type { UserOperation } from './userOperation.ts'

const { account, addressOf, chainId } = examples
const context = { chainId, entryPoint: entryPoint08 }

const eip7702Auth: Eip7702Authorization = {
  address: addressOf('implementation'),
  chainId,
  nonce: 7,
  r: `0x${'0a'.repeat(32)}`,
  s: `0x${'00'.repeat(31)}0b`,
  yParity: 1,
}
const op: UserOperation = {
  sender: account,
  nonce: 3n,
  factory: delegationMarker,
  factoryData: '0x',
  callData: '0x1234',
  callGasLimit: 1n,
  verificationGasLimit: 2n,
  preVerificationGas: 3n,
  maxFeePerGas: 4n,
  maxPriorityFeePerGas: 5n,
  signature: '0x99',
  eip7702Auth,
}

test('an operation with its authorisation travels through JSON-RPC unchanged', () => {
  const json = toRpcUserOperation(op)
  expect(json).toMatchObject({ factory: '0x7702', eip7702Auth: { nonce: '0x7', chainId: '0x7a69', yParity: '0x1' } })
  expect(fromRpcUserOperation(JSON.parse(JSON.stringify(json)))).toMatchObject(op)
})

test('the EntryPoint gets the marker, and nothing of the authorisation', () => {
  const packed = packUserOperation(op)
  expect(packed.initCode).toBe('0x7702')
  expect(packed).toEqual(packUserOperation({ ...op, eip7702Auth: undefined }))
})

test('the hash names the code that is delegated to, as EntryPoint v0.8 computes it', () => {
  const { accountGasLimits, gasFees, paymasterAndData, callData, preVerificationGas } = packUserOperation(op)
  const expected = hashTypedData({
    domain: { name: 'ERC4337', version: '1', chainId, verifyingContract: entryPoint08.address },
    types: {
      PackedUserOperation: [
        { type: 'address', name: 'sender' },
        { type: 'uint256', name: 'nonce' },
        { type: 'bytes', name: 'initCode' },
        { type: 'bytes', name: 'callData' },
        { type: 'bytes32', name: 'accountGasLimits' },
        { type: 'uint256', name: 'preVerificationGas' },
        { type: 'bytes32', name: 'gasFees' },
        { type: 'bytes', name: 'paymasterAndData' },
      ],
    },
    primaryType: 'PackedUserOperation',
    message: {
      ...{ sender: op.sender, nonce: op.nonce, initCode: eip7702Auth.address, callData },
      ...{ accountGasLimits, preVerificationGas, gasFees, paymasterAndData },
    },
  })
  expect(hashUserOperation(context, op)).toBe(expected)
  const signedAgain = { ...eip7702Auth, nonce: 8, r: eip7702Auth.s }
  expect(hashUserOperation(context, { ...op, eip7702Auth: signedAgain })).toBe(expected)
  const elsewhere = { ...eip7702Auth, address: addressOf('somebody') }
  expect(hashUserOperation(context, { ...op, eip7702Auth: elsewhere })).not.toBe(expected)
})

test.each([
  ['yParity', '0x2'],
  ['yParity', '0x1b'],
  ['nonce', `0x${'f'.repeat(14)}`],
  ['chainId', `0x${'f'.repeat(64)}`],
  ['address', '0x7702'],
  ['r', `0x${'0'.repeat(66)}`],
  ['s', undefined],
])('an authorisation whose %s is %s is no authorisation', (name, value) => {
  const json = toRpcUserOperation(op)
  const broken = { ...json, eip7702Auth: { ...(json.eip7702Auth as object), [name]: value } }
  expect(partialRpcUserOperationSchema.safeParse(broken).success).toBe(false)
})
