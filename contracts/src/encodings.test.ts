import {
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  hashVoucher,
  packClaims,
  packTerms,
  payeeProofOf,
  payeeRootOf,
  signVoucher,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import fc from 'fast-check'
import { type Address, bytesToHex, encodeFunctionData, getAddress, type Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deployContracts, deployTestUsdc } from './deployContracts.ts'
import { startChain, type TestChain } from './testing/startChain.ts'

const funds = 1_000_000_000n
const chainId = foundry.id
const sessionKey = generatePrivateKey()

let chain: TestChain
let module: Address
let token: Address
/** Calls the module as any account does; that it is no contract makes no difference to the module. */
let account: Address

beforeAll(async () => {
  chain = await startChain()
  account = chain.clients.walletClient.account.address
  module = (await deployContracts(chain.clients, { owner: account, signer: account })).sessionKeyValidator
  token = await deployTestUsdc(chain.clients)
  await send(module, encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'onInstall', args: ['0x'] }))
  await send(token, encodeFunctionData({ abi: testUsdcAbi, functionName: 'mint', args: [account, funds] }))
  await send(token, encodeFunctionData({ abi: testUsdcAbi, functionName: 'approve', args: [module, funds] }))
})

afterAll(() => chain.stop())

const bytes = (length: number) =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((value) => bytesToHex(value))
const address = bytes(20).map(getAddress)
const termsOf: fc.Arbitrary<GrantTerms> = fc.record({
  sessionKey: address,
  settler: address,
  token: address,
  totalLimit: fc.bigInt(1n, 2n ** 96n - 1n),
  periodLimit: fc.bigInt(1n, 2n ** 96n - 1n),
  period: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  validAfter: fc.integer({ min: 0, max: 2 ** 46 }),
  validUntil: fc.integer({ min: 2 ** 46, max: 2 ** 47 - 1 }),
  payeeRoot: bytes(32),
  source: fc.constantFrom('allowance', 'reserve'),
  salt: bytes(24),
})

test('packed terms, grant ids and voucher digests are the same in TypeScript and on the chain', async () => {
  const contract = { address: module, abi: sessionKeyValidatorAbi } as const
  await fc.assert(
    fc.asyncProperty(termsOf, address, fc.bigInt(0n, 2n ** 128n - 1n), async (terms, payee, cumulativeAmount) => {
      const packed = packTerms(terms)
      const grantId = grantIdOf({ chainId, module, account, epoch: 0n }, terms)
      const { publicClient } = chain.clients
      const args = [toContractTerms(terms)] as const
      expect(await publicClient.readContract({ ...contract, functionName: 'packTerms', args })).toBe(packed)
      expect(await publicClient.readContract({ ...contract, functionName: 'grantIdOf', args: [account, packed] })).toBe(
        grantId,
      )
      expect(
        await publicClient.readContract({
          ...contract,
          functionName: 'hashVoucher',
          args: [grantId, payee, cumulativeAmount],
        }),
      ).toBe(hashVoucher({ chainId, module }, { grantId, payee, cumulativeAmount }))
    }),
    { numRuns: 30 },
  )
})

test.each([1, 2, 7])(
  'claims packed and signed in TypeScript are paid on the chain, with %d payees, and later without proofs',
  async (count) => {
    const payees = Array.from({ length: count }, () => privateKeyToAccount(generatePrivateKey()).address)
    const { timestamp } = await chain.clients.publicClient.getBlock()
    const terms: GrantTerms = {
      sessionKey: privateKeyToAccount(sessionKey).address,
      settler: account,
      token,
      totalLimit: funds,
      periodLimit: 0n,
      period: 0,
      validAfter: Number(timestamp),
      validUntil: Number(timestamp) + 3600,
      payeeRoot: payeeRootOf(payees),
      source: 'allowance',
      salt: `0x${'00'.repeat(24)}`,
    }
    const grantId = grantIdOf({ chainId, module, account, epoch: 0n }, terms)
    const hash = createVoucherHasher({ chainId, module })
    await send(
      module,
      encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'grant', args: [toContractTerms(terms)] }),
    )
    for (const round of [1n, 2n]) {
      const claims = payees.map((payee, index) => {
        const amount = round * BigInt(index + 1) * 1000n
        const { signature } = signVoucher(hash, sessionKey, { grantId, payee, cumulativeAmount: amount })
        const proof = round > 1n && count > 1 ? 'known' : payeeProofOf(payees, payee)
        return { payee, amount, cumulativeAmount: amount, signature, proof } as const
      })
      const args = [account, packTerms(terms), packClaims(claims)] as const
      await send(module, encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'settle', args }))
      for (const { payee, amount } of claims) expect(await balanceOf(payee)).toBe(amount)
    }
  },
)

function balanceOf(owner: Address): Promise<bigint> {
  const { publicClient } = chain.clients
  return publicClient.readContract({ address: token, abi: testUsdcAbi, functionName: 'balanceOf', args: [owner] })
}

async function send(to: Address, data: Hex): Promise<void> {
  const { publicClient, walletClient } = chain.clients
  const hash = await walletClient.sendTransaction({ chain: foundry, to, data })
  const { status } = await publicClient.waitForTransactionReceipt({ hash, timeout: 120_000 })
  expect(status).toBe('success')
}
