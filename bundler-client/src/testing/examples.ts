import {
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  payeeProofOf,
  payeeRootOf,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { getAddress, keccak256, stringToHex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'

// One valid grant with two payees, and its parts, for the tests of this package.

const addressOf = (name: string) => getAddress(`0x${keccak256(stringToHex(name)).slice(-40)}`)

const sessionPrivateKey = keccak256(stringToHex('session key'))
const payees = [addressOf('payee a'), addressOf('payee b')] as const
const chainId = 31337
const module = addressOf('module')
const account = addressOf('account')

const terms: GrantTerms = {
  sessionKey: privateKeyToAccount(sessionPrivateKey).address,
  settler: addressOf('settler'),
  token: addressOf('token'),
  totalLimit: 100_000_000n,
  periodLimit: 10_000_000n,
  period: 86_400,
  validAfter: 1_700_000_000,
  validUntil: 1_900_000_000,
  payeeRoot: payeeRootOf(payees),
  source: 'allowance',
  salt: `0x${'01'.repeat(24)}`,
}
const grantId = grantIdOf({ chainId, module, account, epoch: 0n }, terms)
const hash = createVoucherHasher({ chainId, module })
const claims = payees.map((payee, index) => {
  const cumulativeAmount = 1_000_000n * BigInt(index + 1)
  const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee, cumulativeAmount })
  return { payee, amount: cumulativeAmount - 1n, cumulativeAmount, signature, proof: payeeProofOf(payees, payee) }
})

export const examples = { addressOf, chainId, module, account, terms, grantId, payees, claims }
