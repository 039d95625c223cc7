import { deployContracts } from '@protocolbanks/stream-contracts'
import { type Anvil, createChainClients, deployEntryPoint, devAccounts, startAnvil } from '@protocolbanks/stream-dev'
import {
  type GrantTerms,
  grantIdOf,
  hashVoucher,
  maxUint96,
  maxUint128,
  packTerms,
  payeeRootOf,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import fc from 'fast-check'
import { type Address, bytesToHex, getAddress, type PublicClient } from 'viem'
import { afterAll, beforeAll, expect, test } from 'vitest'

// Every encoding that is hashed is written twice, in TypeScript and in Solidity. Here both meet.

let anvil: Anvil
let client: PublicClient
let module: Address

beforeAll(async () => {
  anvil = await startAnvil()
  const clients = createChainClients(anvil.url, devAccounts.operator.account)
  client = clients.publicClient
  const entryPoint = await deployEntryPoint(clients)
  const params = { owner: devAccounts.operator.address, signer: devAccounts.paymasterSigner.address, entryPoint }
  module = (await deployContracts(clients, params)).sessionKeyValidator
})
afterAll(() => anvil?.stop())

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => bytesToHex(value))
const address = bytes(20).map(getAddress)
const time = fc.integer({ min: 0, max: 2 ** 46 })
const terms: fc.Arbitrary<GrantTerms> = fc
  .record({
    sessionKey: address,
    settler: address,
    token: address,
    totalLimit: fc.bigInt(1n, maxUint96),
    limit: fc.option(
      fc.record({ periodLimit: fc.bigInt(1n, maxUint96), period: fc.integer({ min: 1, max: 2 ** 32 - 1 }) }),
    ),
    validAfter: time,
    duration: time,
    payees: fc.uniqueArray(address, { minLength: 1, maxLength: 5 }),
    source: fc.constantFrom('allowance', 'reserve'),
    salt: bytes(24),
  })
  .map(({ limit, duration, payees, ...rest }) => ({
    ...rest,
    ...(limit ?? { periodLimit: 0n, period: 0 }),
    validUntil: rest.validAfter + duration,
    payeeRoot: payeeRootOf(payees),
  }))

const options = { numRuns: 100 }

test('the contract packs any terms to the same 157 bytes', async () => {
  await fc.assert(
    fc.asyncProperty(terms, async (value) => {
      const packed = await client.readContract({
        address: module,
        abi: sessionKeyValidatorAbi,
        functionName: 'packTerms',
        args: [toContractTerms(value)],
      })
      expect(packTerms(value)).toBe(packed)
    }),
    options,
  )
})

test('the contract derives the same grant id from any terms and account', async () => {
  await fc.assert(
    fc.asyncProperty(terms, address, async (value, account) => {
      const grantId = await client.readContract({
        address: module,
        abi: sessionKeyValidatorAbi,
        functionName: 'grantIdOf',
        args: [account, packTerms(value)],
      })
      expect(grantIdOf({ chainId: anvil.chainId, module, account, epoch: 0n }, value)).toBe(grantId)
    }),
    options,
  )
})

test('the contract hashes any voucher to the same digest', async () => {
  await fc.assert(
    fc.asyncProperty(bytes(32), address, fc.bigInt(0n, maxUint128), async (grantId, payee, cumulativeAmount) => {
      const digest = await client.readContract({
        address: module,
        abi: sessionKeyValidatorAbi,
        functionName: 'hashVoucher',
        args: [grantId, payee, cumulativeAmount],
      })
      expect(hashVoucher({ chainId: anvil.chainId, module }, { grantId, payee, cumulativeAmount })).toBe(digest)
    }),
    options,
  )
})
