import {
  delegationMarker,
  encodeGrantSetup,
  encodeSettle,
  type PartialUserOperation,
  streamAccountFactoryData,
  toNonceKey,
} from '@protocolbanks/stream-bundler-client'
import type { Grant } from '@protocolbanks/stream-db'
import {
  type Address,
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  packTerms,
  payeeProofOf,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { getAddress, keccak256, stringToHex, zeroHash } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

// A grant with two payees, its settlement and its setup, for the tests of this package.

const addressOf = (name: string): Address => getAddress(`0x${keccak256(stringToHex(name)).slice(-40)}`)
const contracts = {
  module: addressOf('module'),
  token: addressOf('token'),
  factory: addressOf('factory'),
  delegate: addressOf('delegate'),
  safeProxyFactory: addressOf('safe proxy factory'),
}
const { module, token } = contracts
const account = addressOf('account')
const payees = [addressOf('payee a'), addressOf('payee b')] as const
const sessionPrivateKey = keccak256(stringToHex('session key'))
const chainId = 31_337

const terms: GrantTerms = {
  sessionKey: privateKeyToAccount(sessionPrivateKey).address,
  settler: addressOf('settler'),
  token,
  totalLimit: 100_000_000n,
  periodLimit: 0n,
  period: 0,
  validAfter: 1_700_000_000,
  validUntil: 1_900_000_000,
  payeeRoot: payeeRootOf(payees),
  source: 'allowance',
  salt: `0x${'01'.repeat(24)}`,
}
const grantId = grantIdOf({ chainId, module, account, epoch: 0n }, terms)
const grant: Grant = {
  ...terms,
  grantId,
  account,
  packedTerms: packTerms(terms),
  epoch: 0n,
  status: 'active',
  effectiveStatus: 'active',
  ownerFrozen: false,
  settled: 0n,
  periodIndex: 0,
  periodSettled: 0n,
  blockNumber: 1n,
  createdAt: new Date(0),
}
const hash = createVoucherHasher({ chainId, module })
const claims = payees.map((payee) => {
  const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee, cumulativeAmount: 5n })
  return { payee, amount: 5n, cumulativeAmount: 5n, signature, proof: payeeProofOf(payees, payee) }
})

const sizes = {
  callGasLimit: 100_000n,
  verificationGasLimit: 100_000n,
  preVerificationGas: 60_000n,
  maxFeePerGas: 1_000_000_000n,
  maxPriorityFeePerGas: 1_000_000n,
}
const none = {
  factory: undefined,
  factoryData: undefined,
  eip7702Auth: undefined,
  paymaster: undefined,
  paymasterData: undefined,
  paymasterVerificationGasLimit: undefined,
  paymasterPostOpGasLimit: undefined,
  signature: undefined,
}

const settlement: PartialUserOperation = {
  ...none,
  ...sizes,
  sender: account,
  nonce: toNonceKey(module, 0) << 64n,
  callData: encodeSettle({ module, account, terms, claims }),
}
const setup: PartialUserOperation = {
  ...none,
  ...sizes,
  sender: account,
  nonce: 0n,
  factory: contracts.factory,
  factoryData: streamAccountFactoryData({ owner: addressOf('owner'), salt: zeroHash }),
  callData: encodeGrantSetup({ account, module, guardian: addressOf('guardian'), token, allowance: 9n, terms }),
}

/** The setup of an EOA that delegates with it. */
const delegation: PartialUserOperation = {
  ...setup,
  factory: delegationMarker,
  factoryData: undefined,
  eip7702Auth: {
    address: contracts.delegate,
    chainId,
    nonce: 0,
    r: keccak256(stringToHex('r')),
    s: keccak256(stringToHex('s')),
    yParity: 1,
  },
}

export const examples = {
  ...{ addressOf, contracts, account, payees, terms, grant, grantId, claims },
  ...{ settlement, setup, delegation },
}
