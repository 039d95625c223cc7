import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import {
  createVoucherHasher,
  type GrantTerms,
  grantIdOf,
  packClaims,
  packTerms,
  payeeRootOf,
  signVoucher,
  toContractTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { type Address, encodeFunctionData, type Hex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { deployContracts, deployTestUsdc } from './deployContracts.ts'
import { repositoryRoot } from './standardInput.ts'
import { startChain, type TestChain } from './testing/startChain.ts'

const run = promisify(execFile)
const forge = join(repositoryRoot, 'node_modules/.bin/forge')
const sessionKey = generatePrivateKey()
const payee = privateKeyToAccount(generatePrivateKey()).address
const budget = 1_000_000n

let chain: TestChain
let forgeDirectory: string
let module: Address
let token: Address
/** Calls the module as any account does. */
let account: Address

beforeAll(async () => {
  forgeDirectory = await mkdtemp(join(tmpdir(), 'stream-gas-'))
  chain = await startChain()
  account = chain.clients.walletClient.account.address
  module = (await deployContracts(chain.clients, { owner: account, signer: account })).sessionKeyValidator
  token = await deployTestUsdc(chain.clients)
  await send(module, encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'onInstall', args: ['0x'] }))
  await send(token, encodeFunctionData({ abi: testUsdcAbi, functionName: 'mint', args: [account, budget] }))
  await send(token, approve(budget))
})

afterAll(async () => {
  await chain.stop()
  await rm(forgeDirectory, { recursive: true, force: true })
})

test('what forge counts for a transaction is what its receipt says: a first and a later settlement, a freeze, a refund', async () => {
  const terms: GrantTerms = {
    sessionKey: privateKeyToAccount(sessionKey).address,
    settler: account,
    token,
    totalLimit: budget,
    periodLimit: 0n,
    period: 0,
    validAfter: 0,
    validUntil: 2 ** 40,
    payeeRoot: payeeRootOf([payee]),
    source: 'allowance',
    salt: `0x${'00'.repeat(24)}`,
  }
  const grantId = grantIdOf({ chainId: foundry.id, module, account, epoch: 0n }, terms)
  const settle = (cumulativeAmount: bigint) => {
    const voucher = { grantId, payee, cumulativeAmount }
    const { signature } = signVoucher(createVoucherHasher({ chainId: foundry.id, module }), sessionKey, voucher)
    const claims = packClaims([{ payee, amount: cumulativeAmount, cumulativeAmount, signature, proof: [] }])
    return encodeFunctionData({
      abi: sessionKeyValidatorAbi,
      functionName: 'settle',
      args: [account, packTerms(terms), claims],
    })
  }
  const grant = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'grant',
    args: [toContractTerms(terms)],
  })
  const freeze = encodeFunctionData({ abi: sessionKeyValidatorAbi, functionName: 'freeze', args: [account, grantId] })
  const transactions: [Address, Hex][] = [
    [module, grant],
    [module, settle(1_000n)],
    [module, settle(2_000n)],
    [module, freeze],
    [token, approve(0n)],
  ]
  for (const [to, data] of transactions) {
    const counted = await measure(to, data)
    expect(counted).toBe(await send(to, data))
    expect(counted).toBeGreaterThan(21_000n)
  }
}, 120_000)

function approve(amount: bigint): Hex {
  return encodeFunctionData({ abi: testUsdcAbi, functionName: 'approve', args: [module, amount] })
}

/** Mines the transaction. @returns the gas of its receipt */
async function send(to: Address, data: Hex): Promise<bigint> {
  const { publicClient, walletClient } = chain.clients
  const hash = await walletClient.sendTransaction({ to, data })
  const receipt = await publicClient.waitForTransactionReceipt({ hash })
  expect(receipt.status).toBe('success')
  return receipt.gasUsed
}

/** What forge counts for the same transaction, before it is mined. It compiles the scripts alone, not the contracts. */
async function measure(to: Address, data: Hex): Promise<bigint> {
  const call = ['--sig', 'run(address,address,bytes)', account, to, data]
  const { stdout } = await run(
    forge,
    [
      'script',
      'contracts/script/MeasureGas.s.sol',
      '--json',
      '--isolate',
      '--offline',
      '--fork-url',
      chain.url,
      ...call,
    ],
    {
      cwd: repositoryRoot,
      env: {
        ...process.env,
        FOUNDRY_SRC: 'contracts/script',
        FOUNDRY_OUT: forgeDirectory,
        FOUNDRY_CACHE_PATH: join(forgeDirectory, 'cache'),
      },
    },
  )
  const result = stdout.split('\n').find((line) => line.startsWith('{') && line.includes('"returns"'))
  const { returns } = JSON.parse(result ?? '{}') as { returns?: { gas?: { value?: string } } }
  if (returns?.gas?.value === undefined) throw new Error(`forge counted no gas: ${stdout}`)
  return BigInt(returns.gas.value)
}
